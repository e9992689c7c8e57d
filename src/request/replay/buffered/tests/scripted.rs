//! Bodies that do as they are told.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use http::HeaderMap;
use tokio_test::{assert_pending, task};

use super::super::*;

mod properties;

/// What a scripted body does when it is polled.
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail(&'static str),
    /// Pending, and woken at once.
    Wait,
    /// Pending, until this is the only one left that holds it.
    Stall(Arc<()>),
    /// Something else happens while it is polled.
    Meanwhile(Box<dyn FnOnce() + Send>),
    Panic,
}

/// A body that does as it is told.
struct Scripted {
    steps: VecDeque<Step>,
    /// It says how long it is.
    declared: bool,
    /// It knows that it is at its end before it says so.
    knows_its_end: bool,
}

type Boxed = Scripted;
type First = task::Spawn<BufferedBody<Boxed>>;

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), declared: false, knows_its_end: false }
    }

    fn declared(self) -> Self {
        Self { declared: true, ..self }
    }

    fn knows_its_end(self) -> Self {
        Self { knows_its_end: true, ..self }
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Trailers(map)) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Some(Step::Fail(message)) => {
                    // As bodies are: after an error they say that they are at their end.
                    self.steps.clear();
                    return Poll::Ready(Some(Err(message.into())));
                }
                Some(Step::Wait) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Stall(held)) if Arc::strong_count(&held) > 1 => {
                    self.steps.push_front(Step::Stall(held));
                    return Poll::Pending;
                }
                Some(Step::Stall(_)) => {}
                Some(Step::Meanwhile(act)) => act(),
                Some(Step::Panic) => panic!("a body panics"),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut left = 0;
        for step in &self.steps {
            if let Step::Data(bytes) = step {
                left += bytes.len() as u64;
            }
        }
        if self.declared {
            return SizeHint::with_exact(left);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(left);
        hint
    }
}

fn data(text: &'static str) -> Step {
    // Not from_static: it is to be seen whether somebody holds it.
    Step::Data(Bytes::from(text.to_owned().into_bytes()))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("7"))])
}

/// One poll, told in words.
fn poll<B>(body: &mut task::Spawn<BufferedBody<B>>) -> String
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    tell(body.enter(|cx, body| body.poll_frame(cx)))
}

fn tell(polled: Poll<Option<Result<Frame<Bytes>, BoxError>>>) -> String {
    match polled {
        Poll::Pending => "pending".to_owned(),
        Poll::Ready(None) => "end".to_owned(),
        Poll::Ready(Some(Err(error))) if error.is::<UploadAborted>() => "ended".to_owned(),
        Poll::Ready(Some(Err(error))) => format!("error: {error}"),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => String::from_utf8_lossy(&data).into_owned(),
            Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
        },
    }
}

/// All that a body gives, in words.
fn all<B>(body: &mut task::Spawn<BufferedBody<B>>) -> Vec<String>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut told = Vec::new();
    for _ in 0..1000 {
        match poll(body) {
            frame if frame == "pending" => {}
            frame if frame == "end" => return told,
            frame if frame.starts_with("error") || frame == "ended" => {
                told.push(frame);
                return told;
            }
            frame => told.push(frame),
        }
    }
    panic!("it goes on and on: {told:?}")
}

fn keep(limit: usize, body: Scripted) -> (First, Option<Kept<Boxed>>) {
    let (first, kept) = Buffered::new(limit).keep(body);
    (task::spawn(first), kept)
}

fn end(kept: Option<Kept<Boxed>>) -> Option<Kept<Boxed>> {
    Buffered::default().end(kept.expect("it was kept"))
}

fn again(kept: Option<Kept<Boxed>>) -> First {
    task::spawn(Buffered::default().again(kept.expect("it can be sent again")))
}

/// Two bodies, the first of which is ended by a refusal while the original is in the middle of a poll: its last.
fn ended_in_mid_poll(limit: usize, steps: Vec<Step>, rest: Vec<Step>) -> (First, First) {
    let slot = Arc::new(Mutex::new(None));
    let meanwhile = {
        let slot = Arc::clone(&slot);
        Box::new(move || {
            let kept = slot.lock().unwrap().take();
            *slot.lock().unwrap() = end(kept);
        })
    };
    let polls = steps.len();
    let steps = steps.into_iter().chain([Step::Meanwhile(meanwhile)]).chain(rest);
    let (mut first, kept) = keep(limit, Scripted::new(steps));
    *slot.lock().unwrap() = kept;
    for _ in 0..polls {
        poll(&mut first);
    }
    let caught = catch_unwind(AssertUnwindSafe(|| poll(&mut first)));
    assert!(caught.is_err() || caught.is_ok_and(|told| told == "end"), "what was ended gives no more");
    let kept = slot.lock().unwrap().take();
    (first, again(kept))
}

#[test]
fn p16_a_body_is_given_again_chunk_for_chunk_with_its_trailers() {
    let steps = [data("one"), Step::Wait, data("two"), data(""), Step::Trailers(trailers())];
    let (mut first, kept) = keep(64, Scripted::new(steps));
    let told = all(&mut first);
    assert_eq!(told, ["one", "two", "", r#"{"x-sum": "7"}"#]);
    assert_eq!(all(&mut again(end(kept))), told);
}

/// What wasn't read yet is read from the original.
#[test]
fn p16_the_rest_is_read_by_the_second_sending() {
    let held = Arc::new(());
    let steps = [data("one"), Step::Stall(Arc::clone(&held)), data("two"), Step::Trailers(trailers())];
    let (mut first, kept) = keep(64, Scripted::new(steps));
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", "pending"]);
    let mut second = again(end(kept));
    assert!(first.is_woken(), "it is told that it was ended");
    assert_eq!(poll(&mut first), "end");
    assert_eq!([poll(&mut second), poll(&mut second)], ["one", "pending"]);
    drop(held);
    // The first one leaves it alone from now on.
    assert_eq!(poll(&mut first), "end");
    assert_eq!(all(&mut second), ["two", r#"{"x-sum": "7"}"#]);
}

/// Nothing was read at all.
#[test]
fn p16_a_body_of_which_nothing_was_read_is_given_whole() {
    let (first, kept) = keep(0, Scripted::new([data("one"), data("two")]));
    drop(first);
    assert_eq!(all(&mut again(end(kept))), ["one", "two"]);
}

#[test]
fn p16_an_upload_is_ended_cleanly_where_no_length_was_declared_else_by_an_error() {
    for (declared, expected) in [(false, "end"), (true, "ended")] {
        let body = Scripted::new([data("one"), data("two")]);
        let (mut first, kept) = keep(64, if declared { body.declared() } else { body });
        poll(&mut first);
        let second = again(end(kept));
        assert_eq!([poll(&mut first), poll(&mut first)], [expected, expected]);
        drop(second);
        assert_eq!(poll(&mut first), expected, "also when the second sending is over");
    }
}

/// One that can't be sent again is ended just so.
#[test]
fn p16_an_upload_past_the_limit_is_ended_too() {
    let held = Arc::new(());
    let (mut first, kept) =
        keep(2, Scripted::new([data("one"), Step::Stall(Arc::clone(&held)), data("two")]));
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", "pending"]);
    assert!(end(kept).is_none());
    assert!(first.is_woken());
    assert_eq!(poll(&mut first), "end");
}

/// The very bytes go out, at once.
#[test]
fn p16_nothing_is_copied() {
    let chunk = Bytes::from(vec![7; 100]);
    let (mut first, kept) = keep(64 * 1024, Scripted::new([Step::Data(chunk.clone())]));
    let mut pointers = Vec::new();
    let mut poll = |body: &mut First| {
        let Poll::Ready(Some(Ok(frame))) = body.enter(|cx, body| body.poll_frame(cx)) else {
            panic!("a chunk")
        };
        pointers.push(frame.into_data().unwrap().as_ptr());
    };
    poll(&mut first);
    poll(&mut again(end(kept)));
    assert_eq!(pointers, [chunk.as_ptr(), chunk.as_ptr()]);
}

/// The limit is what may be kept, not one less, and trailers don't count.
#[test]
fn p16_exactly_the_limit_is_kept() {
    for (limit, possible) in [(6, true), (5, false)] {
        let steps = [data("one"), data("two"), Step::Trailers(trailers())];
        let (mut first, kept) = keep(limit, Scripted::new(steps));
        assert_eq!(all(&mut first), ["one", "two", r#"{"x-sum": "7"}"#], "the first sending goes on");
        assert_eq!(end(kept).is_some(), possible, "{limit}");
    }
}

/// Past the limit what was kept is let go at once, and a small chunk that follows isn't kept for itself.
#[test]
fn p16_nothing_is_kept_past_the_limit() {
    let chunks = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 100]), Bytes::from(vec![3; 1])];
    let (mut first, kept) = keep(50, Scripted::new(chunks.iter().cloned().map(Step::Data)));
    poll(&mut first);
    assert!(!chunks[0].is_unique());
    poll(&mut first);
    assert!(chunks[0].is_unique() && chunks[1].is_unique());
    poll(&mut first);
    assert!(chunks[2].is_unique());
    assert!(end(kept).is_none());
}

/// The request was answered, or can't be sent again: what was kept is let go at once, and nothing more is kept.
#[test]
fn p16_nothing_is_kept_for_nobody() {
    for refused in [false, true] {
        let chunks = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 10])];
        let (mut first, kept) = keep(50, Scripted::new(chunks.iter().cloned().map(Step::Data)));
        poll(&mut first);
        assert!(!chunks[0].is_unique());
        let kept = if refused { end(kept) } else { kept };
        drop(kept);
        assert!(chunks[0].is_unique());
        if !refused {
            poll(&mut first);
            assert!(chunks[1].is_unique());
        }
    }
}

/// The second sending gives away what was kept.
#[test]
fn p16_the_second_sending_keeps_nothing() {
    let chunk = Bytes::from(vec![1; 10]);
    let (mut first, kept) = keep(50, Scripted::new([Step::Data(chunk.clone())]));
    poll(&mut first);
    let mut second = again(end(kept));
    poll(&mut second);
    assert!(chunk.is_unique());
}

/// An error of the original ends it: there is nothing to be sent again.
#[test]
fn p16_a_body_that_failed_is_not_given_again() {
    let (mut first, kept) = keep(64, Scripted::new([data("one"), Step::Fail("the disk is gone")]));
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", "error: the disk is gone"]);
    assert!(end(kept).is_none());
}

/// An error that comes later ends the second sending at the same place.
#[test]
fn p16_a_body_that_fails_in_the_second_sending_fails_there() {
    let (mut first, kept) = keep(64, Scripted::new([data("one"), data("two"), Step::Fail("gone")]));
    poll(&mut first);
    assert_eq!(all(&mut again(end(kept))), ["one", "two", "error: gone"]);
}

/// A chunk that was just being made when the upload was ended isn't lost.
#[test]
fn p16_a_chunk_made_in_mid_poll_goes_to_the_second_sending() {
    let (_first, mut second) = ended_in_mid_poll(64, vec![data("one")], vec![data("two"), data("three")]);
    assert_eq!(all(&mut second), ["one", "two", "three"]);
}

/// It was decided that the request is sent again: the limit can't break it any more, least of all by half a body.
#[test]
fn p16_a_chunk_past_the_limit_made_in_mid_poll_goes_to_the_second_sending() {
    let (_first, mut second) = ended_in_mid_poll(4, vec![data("one")], vec![data("two"), data("three")]);
    assert_eq!(all(&mut second), ["one", "two", "three"]);
}

#[test]
fn p16_an_error_made_in_mid_poll_goes_to_the_second_sending() {
    let (_first, mut second) = ended_in_mid_poll(64, vec![data("one")], vec![Step::Fail("gone")]);
    assert_eq!(all(&mut second), ["one", "error: gone"]);
}

#[test]
fn p16_an_end_reached_in_mid_poll_is_the_second_sendings_too() {
    let (_first, mut second) = ended_in_mid_poll(64, vec![data("one")], vec![]);
    assert_eq!(all(&mut second), ["one"]);
}

/// A body that panicked is never ended cleanly: that would be half a body.
#[test]
fn p16_a_panic_in_mid_poll_is_an_error_of_both_sendings() {
    let (mut first, mut second) = ended_in_mid_poll(64, vec![data("one")], vec![Step::Panic]);
    assert!(all(&mut second).last().unwrap().starts_with("error"));
    drop(second);
    assert_ne!(poll(&mut first), "pending");

    let (mut first, kept) = keep(64, Scripted::new([data("one"), Step::Panic]));
    poll(&mut first);
    catch_unwind(AssertUnwindSafe(|| poll(&mut first))).unwrap_err();
    assert!(!first.is_end_stream());
    assert!(poll(&mut first).starts_with("error"));
    assert!(end(kept).is_none());
}

/// The second sending comes while the original is polled for the first, and is told when it can have it.
///
/// Its waker polls at once, as another thread may: the chunk of that poll comes before the next.
#[test]
fn p16_the_order_is_kept_where_both_sendings_meet() {
    struct PollAtOnce(Mutex<Option<BufferedBody<Scripted>>>, Mutex<Vec<String>>, AtomicUsize);

    impl Wake for PollAtOnce {
        fn wake(self: Arc<Self>) {
            self.2.fetch_add(1, Ordering::SeqCst);
            let mut second = self.0.lock().unwrap();
            let Some(second) = second.as_mut() else { return };
            let told = tell(Pin::new(second).poll_frame(&mut Context::from_waker(Waker::noop())));
            self.1.lock().unwrap().push(told);
        }
    }

    // Only to please the waker, which must be `Send`: the script has nothing in it that isn't, and one thread.
    struct Sendable<T>(T);

    let slot = Arc::new(Mutex::new(None));
    let other = Arc::new(PollAtOnce(Mutex::default(), Mutex::default(), AtomicUsize::new(0)));
    let meanwhile = {
        let (slot, other) = (Arc::clone(&slot), Arc::clone(&other));
        Box::new(move || {
            let Sendable(kept) = slot.lock().unwrap().take().unwrap();
            let mut second = Buffered::default().again(end(kept).unwrap());
            let waker = Waker::from(Arc::clone(&other));
            assert_pending!(Pin::new(&mut second).poll_frame(&mut Context::from_waker(&waker)));
            *other.0.lock().unwrap() = Some(second);
        })
    };
    let (mut first, kept) = keep(64, Scripted::new([Step::Meanwhile(meanwhile), data("one"), data("two")]));
    *slot.lock().unwrap() = Some(Sendable(kept));
    assert_eq!(poll(&mut first), "end");
    assert_eq!(other.2.load(Ordering::SeqCst), 1, "it is woken");
    let mut second = task::spawn(other.0.lock().unwrap().take().unwrap());
    let mut told = other.1.lock().unwrap().clone();
    told.extend(all(&mut second));
    assert_eq!(told, ["one", "two"]);
}

/// What it says of itself is true before, in and after each frame, of both sendings.
#[test]
fn p16_size_hints_and_ends_are_true() {
    let hints = |body: &First| (body.size_hint().lower(), body.size_hint().upper(), body.is_end_stream());
    let steps = || [data("four"), data("seven"), data("one")];
    let (mut first, kept) = keep(64, Scripted::new(steps()).declared().knows_its_end());
    assert_eq!(hints(&first), (12, Some(12), false));
    poll(&mut first);
    assert_eq!(hints(&first), (8, Some(8), false));
    poll(&mut first);
    assert_eq!(hints(&first), (3, Some(3), false));
    let mut second = again(end(kept));
    for expected in [12, 8, 3] {
        assert_eq!(hints(&second), (expected, Some(expected), false));
        poll(&mut second);
    }
    assert_eq!(hints(&second), (0, Some(0), true));

    // Read whole: the end isn't said before the last frame that was kept is out.
    let (mut first, kept) = keep(64, Scripted::new(steps()).declared().knows_its_end());
    all(&mut first);
    assert_eq!(hints(&first), (0, Some(0), true));
    let mut second = again(end(kept));
    for expected in [12, 8, 3] {
        assert_eq!(hints(&second), (expected, Some(expected), false));
        poll(&mut second);
    }
    assert_eq!(hints(&second), (0, Some(0), true));

    // Without a length: what is surely to come.
    let (mut first, kept) = keep(64, Scripted::new(steps()));
    poll(&mut first);
    assert_eq!(hints(&first), (8, None, false));
    let second = again(end(kept));
    assert_eq!(hints(&second), (12, None, false));
    assert_eq!(hints(&first), (0, Some(0), true), "it was ended, and says so");
}

/// A size that can't be counted is no panic.
#[test]
fn p16_a_size_hint_near_the_end_of_numbers_is_no_panic() {
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(u64::MAX)
        }
    }

    let replay = Buffered::default();
    let (first, kept) = replay.keep(Endless);
    let mut first = task::spawn(first);
    poll(&mut first);
    let kept = Replay::<Endless>::end(&replay, kept.unwrap());
    let second = replay.again(kept.unwrap());
    assert_eq!((second.size_hint().lower(), second.size_hint().upper()), (u64::MAX, None));
}

/// Both sendings and what is kept are as `Send` as the original.
#[test]
fn what_is_kept_can_cross_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}

    type Original = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
    is_send_and_sync::<BufferedBody<Original>>();
    is_send_and_sync::<Kept<Original>>();
}
