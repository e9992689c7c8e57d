//! Scripted bodies.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use tokio_test::{assert_pending, task};

use super::*;

mod properties;

/// What a scripted body does when it is polled.
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail(&'static str),
    /// Pending, but woken immediately.
    Wait,
    /// Pending until this is the only reference.
    Stall(Arc<()>),
    /// Runs something while it is polled.
    Run(Box<dyn FnOnce() + Send>),
    Panic,
}

/// A body that follows a script.
struct Scripted {
    steps: VecDeque<Step>,
    /// Its size hint is exact.
    has_declared_length: bool,
    /// `is_end_stream` is `true` before it yields `None`.
    announces_end: bool,
}

type Attempt = task::Spawn<BufferedBody<Scripted>>;

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), has_declared_length: false, announces_end: false }
    }

    fn declared(self) -> Self {
        Self { has_declared_length: true, ..self }
    }

    fn announces_end(self) -> Self {
        Self { announces_end: true, ..self }
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
                    // As other bodies do, it is at its end after an error.
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
                Some(Step::Run(act)) => act(),
                Some(Step::Panic) => panic!("a body panics"),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.announces_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut left = 0;
        for step in &self.steps {
            if let Step::Data(bytes) = step {
                left += bytes.len() as u64;
            }
        }
        if self.has_declared_length {
            return SizeHint::with_exact(left);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(left);
        hint
    }
}

/// What a frame costs beside its bytes.
const FRAME: usize = size_of::<Frame<Bytes>>();

fn data(text: &'static str) -> Step {
    // Not `from_static`, so that `is_unique` shows whether it is still buffered.
    Step::Data(Bytes::from(text.to_owned().into_bytes()))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("7"))])
}

/// Polls once and describes the result.
fn poll<B>(body: &mut task::Spawn<BufferedBody<B>>) -> String
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    describe(body.enter(|cx, body| body.poll_frame(cx)))
}

fn describe(polled: Poll<Option<Result<Frame<Bytes>, BoxError>>>) -> String {
    match polled {
        Poll::Pending => "pending".to_owned(),
        Poll::Ready(None) => "end".to_owned(),
        Poll::Ready(Some(Err(error))) if error.is::<UploadAborted>() => "aborted".to_owned(),
        Poll::Ready(Some(Err(error))) => format!("error: {error}"),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => String::from_utf8_lossy(&data).into_owned(),
            Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
        },
    }
}

/// Everything that a body yields, described.
fn all<B>(body: &mut task::Spawn<BufferedBody<B>>) -> Vec<String>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut frames = Vec::new();
    for _ in 0..1000 {
        match poll(body) {
            frame if frame == "pending" => {}
            frame if frame == "end" => return frames,
            frame if frame.starts_with("error") || frame == "aborted" => {
                frames.push(frame);
                return frames;
            }
            frame => frames.push(frame),
        }
    }
    panic!("the body doesn't end: {frames:?}")
}

fn split(limit: usize, body: Scripted) -> (Attempt, Option<Retained<Scripted>>) {
    let (first, retained) = Buffered::new(limit).split(body);
    (task::spawn(first), retained)
}

fn stop(retained: Option<Retained<Scripted>>) -> Option<Retained<Scripted>> {
    stop_over(Version::HTTP_2, retained).ok()
}

fn stop_over(
    version: Version,
    retained: Option<Retained<Scripted>>,
) -> Result<Retained<Scripted>, NotReplayed> {
    Buffered::default().stop(retained.expect("something is always retained"), version)
}

fn replay(retained: Option<Retained<Scripted>>) -> Attempt {
    task::spawn(Buffered::default().replay(retained.expect("it can be replayed")))
}

/// Both attempts of a body whose first one is stopped during its last poll of the original.
fn stopped_during_a_poll(limit: usize, steps: Vec<Step>, rest: Vec<Step>) -> (Attempt, Attempt) {
    let slot = Arc::new(Mutex::new(None));
    let run = {
        let slot = Arc::clone(&slot);
        Box::new(move || {
            let retained = slot.lock().unwrap().take();
            *slot.lock().unwrap() = stop(retained);
        })
    };
    let polls = steps.len();
    let steps = steps.into_iter().chain([Step::Run(run)]).chain(rest);
    let (mut first, retained) = split(limit, Scripted::new(steps));
    *slot.lock().unwrap() = retained;
    for _ in 0..polls {
        poll(&mut first);
    }
    let caught = catch_unwind(AssertUnwindSafe(|| poll(&mut first)));
    assert!(caught.is_err() || caught.is_ok_and(|frame| frame == "end"), "a stopped attempt ends");
    let retained = slot.lock().unwrap().take();
    (first, replay(retained))
}

#[test]
fn p16_a_body_is_replayed_frame_by_frame_with_its_trailers() {
    let steps = [data("one"), Step::Wait, data("two"), Step::Trailers(trailers())];
    let (mut first, retained) = split(1000, Scripted::new(steps));
    let sent = all(&mut first);
    assert_eq!(sent, ["one", "two", r#"{"x-sum": "7"}"#]);
    assert_eq!(all(&mut replay(stop(retained))), sent);
}

#[test]
fn p16_the_replay_reads_the_rest_of_the_original() {
    let held = Arc::new(());
    let steps = [data("one"), Step::Stall(Arc::clone(&held)), data("two"), Step::Trailers(trailers())];
    let (mut first, retained) = split(1000, Scripted::new(steps));
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", "pending"]);
    let mut second = replay(stop(retained));
    assert!(first.is_woken(), "it is woken when it is stopped");
    assert_eq!(poll(&mut first), "end");
    assert_eq!([poll(&mut second), poll(&mut second)], ["one", "pending"]);
    drop(held);
    // The first attempt doesn't touch the original any more.
    assert_eq!(poll(&mut first), "end");
    assert_eq!(all(&mut second), ["two", r#"{"x-sum": "7"}"#]);
}

#[test]
fn p16_a_body_that_was_never_read_is_replayed_completely() {
    let (first, retained) = split(0, Scripted::new([data("one"), data("two")]));
    drop(first);
    assert_eq!(all(&mut replay(stop(retained))), ["one", "two"]);
}

/// Over HTTP/1 a part that ends cleanly looks like the whole.
#[test]
fn d28_an_upload_is_stopped_by_an_error_over_http_1_or_with_a_declared_length_else_cleanly() {
    for (version, declared, expected) in [
        (Version::HTTP_10, false, "aborted"),
        (Version::HTTP_11, false, "aborted"),
        (Version::HTTP_2, false, "end"),
        (Version::HTTP_3, false, "end"),
        (Version::HTTP_11, true, "aborted"),
        (Version::HTTP_2, true, "aborted"),
    ] {
        let body = Scripted::new([data("one"), data("two")]);
        let (mut first, retained) = split(1000, if declared { body.declared() } else { body });
        poll(&mut first);
        let second = replay(stop_over(version, retained).ok());
        assert_eq!([poll(&mut first), poll(&mut first)], [expected, expected]);
        assert_eq!(first.is_end_stream(), expected == "end");
        drop(second);
        assert_eq!(poll(&mut first), expected, "also when the replay is over");
    }
}

#[test]
fn d28_an_upload_that_is_complete_is_not_aborted() {
    for declared in [false, true] {
        let body = Scripted::new([data("one")]);
        let (mut first, retained) = split(1000, if declared { body.declared() } else { body });
        assert_eq!(all(&mut first), ["one"]);
        let _retained = stop_over(Version::HTTP_11, retained);
        assert_eq!(poll(&mut first), "end");
        assert!(first.is_end_stream());
    }
}

#[test]
fn p16_an_upload_above_the_limit_is_stopped_too() {
    let held = Arc::new(());
    let (mut first, retained) =
        split(2, Scripted::new([data("one"), Step::Stall(Arc::clone(&held)), data("two")]));
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", "pending"]);
    assert!(stop(retained).is_none());
    assert!(first.is_woken());
    assert_eq!(poll(&mut first), "end");
}

#[test]
fn p16_nothing_is_copied() {
    let chunk = Bytes::from(vec![7; 100]);
    let (mut first, retained) = split(64 * 1024, Scripted::new([Step::Data(chunk.clone())]));
    let mut pointers = Vec::new();
    let mut poll = |body: &mut Attempt| {
        let Poll::Ready(Some(Ok(frame))) = body.enter(|cx, body| body.poll_frame(cx)) else {
            panic!("a chunk")
        };
        pointers.push(frame.into_data().unwrap().as_ptr());
    };
    poll(&mut first);
    poll(&mut replay(stop(retained)));
    assert_eq!(pointers, [chunk.as_ptr(), chunk.as_ptr()]);
}

#[test]
fn p16_exactly_the_limit_is_buffered() {
    let cost = 2 * (FRAME + 3);
    for (limit, is_replayable) in [(cost, true), (cost - 1, false)] {
        let (mut first, retained) = split(limit, Scripted::new([data("one"), data("two")]));
        assert_eq!(all(&mut first), ["one", "two"], "the first attempt continues");
        assert_eq!(stop(retained).is_some(), is_replayable, "{limit}");
    }
}

/// The memory of a frame of one byte is that of the frame.
#[test]
fn d30_each_frame_counts_with_its_size_in_memory() {
    let limit = 64 * 1024;
    let fit = limit / (FRAME + 1);
    for (frames, is_replayable) in [(fit, true), (fit + 1, false)] {
        let (mut first, retained) = split(limit, Scripted::new((0..frames).map(|_| data("1"))));
        for _ in 0..frames {
            assert_eq!(poll(&mut first), "1");
        }
        assert_eq!(stop(retained).is_some(), is_replayable, "{frames}");
    }
}

#[test]
fn d30_empty_frames_are_not_retained() {
    let steps = (0..10_000).map(|_| data("")).chain([data("one"), data("")]);
    let (mut first, retained) = split(FRAME + 3, Scripted::new(steps));
    for _ in 0..10_000 {
        assert_eq!(poll(&mut first), "", "they are sent");
    }
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", ""]);
    let retained = stop(retained);
    assert_eq!(lock(&retained.as_ref().unwrap().state).frames.len(), 1);
    assert_eq!(all(&mut replay(retained)), ["one"]);
}

#[test]
fn d30_trailers_count() {
    let many: HeaderMap = (0..100)
        .map(|at| {
            (http::HeaderName::try_from(format!("x-{at}")).unwrap(), http::HeaderValue::from_static("1"))
        })
        .collect();
    let large = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::try_from("7".repeat(2000)).unwrap(),
    )]);
    for (trailers, is_replayable) in [(trailers(), true), (many, false), (large, false)] {
        let steps = [data("one"), Step::Trailers(trailers)];
        let (mut first, retained) = split(2000, Scripted::new(steps));
        assert_eq!(all(&mut first).len(), 2);
        assert_eq!(stop(retained).is_some(), is_replayable);
    }
}

/// Above the limit the buffer is freed at once, and a small frame that follows isn't buffered by itself.
#[test]
fn p16_nothing_is_buffered_above_the_limit() {
    let chunks = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 100]), Bytes::from(vec![3; 1])];
    let (mut first, retained) = split(FRAME + 50, Scripted::new(chunks.iter().cloned().map(Step::Data)));
    poll(&mut first);
    assert!(!chunks[0].is_unique());
    poll(&mut first);
    assert!(chunks[0].is_unique() && chunks[1].is_unique());
    poll(&mut first);
    assert!(chunks[2].is_unique());
    assert!(stop(retained).is_none());
}

/// If there will be no replay, the buffer is freed at once and nothing more is buffered.
#[test]
fn p16_nothing_is_buffered_without_a_replay() {
    for is_stopped in [false, true] {
        let chunks = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 10])];
        let (mut first, retained) = split(FRAME + 50, Scripted::new(chunks.iter().cloned().map(Step::Data)));
        poll(&mut first);
        assert!(!chunks[0].is_unique());
        let retained = if is_stopped { stop(retained) } else { retained };
        drop(retained);
        assert!(chunks[0].is_unique());
        if !is_stopped {
            poll(&mut first);
            assert!(chunks[1].is_unique());
        }
    }
}

#[test]
fn p16_the_replay_frees_the_buffer_as_it_goes() {
    let chunk = Bytes::from(vec![1; 10]);
    let (mut first, retained) = split(FRAME + 50, Scripted::new([Step::Data(chunk.clone())]));
    poll(&mut first);
    let mut second = replay(stop(retained));
    poll(&mut second);
    assert!(chunk.is_unique());
}

#[test]
fn p16_a_body_that_failed_is_not_replayed() {
    let (mut first, retained) = split(1000, Scripted::new([data("one"), Step::Fail("the disk is gone")]));
    assert_eq!([poll(&mut first), poll(&mut first)], ["one", "error: the disk is gone"]);
    assert_eq!(stop_over(Version::HTTP_2, retained).unwrap_err(), NotReplayed::Failed);
}

#[test]
fn p16_a_body_that_fails_during_the_replay_fails_the_replay() {
    let (mut first, retained) = split(1000, Scripted::new([data("one"), data("two"), Step::Fail("gone")]));
    poll(&mut first);
    assert_eq!(all(&mut replay(stop(retained))), ["one", "two", "error: gone"]);
}

#[test]
fn p16_a_frame_polled_while_the_upload_is_stopped_goes_to_the_replay() {
    let (_first, mut second) =
        stopped_during_a_poll(1000, vec![data("one")], vec![data("two"), data("three")]);
    assert_eq!(all(&mut second), ["one", "two", "three"]);
}

/// The replay was already decided on: the limit must not make it incomplete.
#[test]
fn p16_a_frame_above_the_limit_polled_while_the_upload_is_stopped_goes_to_the_replay() {
    let (_first, mut second) =
        stopped_during_a_poll(FRAME + 4, vec![data("one")], vec![data("two"), data("three")]);
    assert_eq!(all(&mut second), ["one", "two", "three"]);
}

#[test]
fn p16_an_error_polled_while_the_upload_is_stopped_goes_to_the_replay() {
    let (_first, mut second) = stopped_during_a_poll(1000, vec![data("one")], vec![Step::Fail("gone")]);
    assert_eq!(all(&mut second), ["one", "error: gone"]);
}

#[test]
fn p16_an_end_reached_while_the_upload_is_stopped_ends_the_replay_too() {
    let (_first, mut second) = stopped_during_a_poll(1000, vec![data("one")], vec![]);
    assert_eq!(all(&mut second), ["one"]);
}

/// A body that panicked never ends cleanly: the server would take it for complete.
#[test]
fn p16_a_panic_is_an_error_of_both_attempts() {
    let (mut first, mut second) = stopped_during_a_poll(1000, vec![data("one")], vec![Step::Panic]);
    assert!(all(&mut second).last().unwrap().starts_with("error"));
    drop(second);
    assert_ne!(poll(&mut first), "pending");

    let (mut first, retained) = split(1000, Scripted::new([data("one"), Step::Panic]));
    poll(&mut first);
    catch_unwind(AssertUnwindSafe(|| poll(&mut first))).unwrap_err();
    assert!(!first.is_end_stream());
    assert!(poll(&mut first).starts_with("error"));
    assert_eq!(stop_over(Version::HTTP_2, retained).unwrap_err(), NotReplayed::Failed);
}

/// The replay starts while the first attempt polls the original, and is woken when that is back. Its waker
/// polls at once, as another thread may do: the frame of the running poll comes before the next.
#[test]
fn p16_frames_stay_in_order_if_the_replay_starts_during_a_poll() {
    struct PollAtOnce(Mutex<Option<BufferedBody<Scripted>>>, Mutex<Vec<String>>, AtomicUsize);

    impl Wake for PollAtOnce {
        fn wake(self: Arc<Self>) {
            self.2.fetch_add(1, Ordering::SeqCst);
            let mut second = self.0.lock().unwrap();
            let Some(second) = second.as_mut() else { return };
            let frame = describe(Pin::new(second).poll_frame(&mut Context::from_waker(Waker::noop())));
            self.1.lock().unwrap().push(frame);
        }
    }

    let slot = Arc::new(Mutex::new(None));
    let other = Arc::new(PollAtOnce(Mutex::default(), Mutex::default(), AtomicUsize::new(0)));
    let run = {
        let (slot, other) = (Arc::clone(&slot), Arc::clone(&other));
        Box::new(move || {
            let retained = slot.lock().unwrap().take();
            let mut second = Buffered::default().replay(stop(retained).unwrap());
            let waker = Waker::from(Arc::clone(&other));
            assert_pending!(Pin::new(&mut second).poll_frame(&mut Context::from_waker(&waker)));
            *other.0.lock().unwrap() = Some(second);
        })
    };
    let (mut first, retained) = split(1000, Scripted::new([Step::Run(run), data("one"), data("two")]));
    *slot.lock().unwrap() = retained;
    assert_eq!(poll(&mut first), "end");
    assert_eq!(other.2.load(Ordering::SeqCst), 1, "it is woken");
    let mut second = task::spawn(other.0.lock().unwrap().take().unwrap());
    let mut frames = other.1.lock().unwrap().clone();
    frames.extend(all(&mut second));
    assert_eq!(frames, ["one", "two"]);
}

#[test]
fn p16_size_hints_and_ends_are_true_for_both_attempts_at_every_frame() {
    let hints = |body: &Attempt| (body.size_hint().lower(), body.size_hint().upper(), body.is_end_stream());
    let steps = || [data("four"), data("seven"), data("one")];
    let (mut first, retained) = split(1000, Scripted::new(steps()).declared().announces_end());
    assert_eq!(hints(&first), (12, Some(12), false));
    poll(&mut first);
    assert_eq!(hints(&first), (8, Some(8), false));
    poll(&mut first);
    assert_eq!(hints(&first), (3, Some(3), false));
    let mut second = replay(stop(retained));
    for expected in [12, 8, 3] {
        assert_eq!(hints(&second), (expected, Some(expected), false));
        poll(&mut second);
    }
    assert_eq!(hints(&second), (0, Some(0), true));

    // Read completely: the replay isn't at its end before the last buffered frame is sent.
    let (mut first, retained) = split(1000, Scripted::new(steps()).declared().announces_end());
    all(&mut first);
    assert_eq!(hints(&first), (0, Some(0), true));
    let mut second = replay(stop(retained));
    for expected in [12, 8, 3] {
        assert_eq!(hints(&second), (expected, Some(expected), false));
        poll(&mut second);
    }
    assert_eq!(hints(&second), (0, Some(0), true));

    // Without a declared length there is only a lower bound.
    let (mut first, retained) = split(1000, Scripted::new(steps()));
    poll(&mut first);
    assert_eq!(hints(&first), (8, None, false));
    let second = replay(stop(retained));
    assert_eq!(hints(&second), (12, None, false));
    assert_eq!(hints(&first), (0, Some(0), true), "it was stopped");
}

#[test]
fn p16_a_size_hint_that_overflows_does_not_panic() {
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
    let (first, retained) = replay.split(Endless);
    let mut first = task::spawn(first);
    poll(&mut first);
    let retained = Replay::<Endless>::stop(&replay, retained.unwrap(), Version::HTTP_2);
    let second = replay.replay(retained.unwrap());
    assert_eq!((second.size_hint().lower(), second.size_hint().upper()), (u64::MAX, None));
}

#[test]
fn a_body_that_is_send_stays_send_and_becomes_sync() {
    fn is_send_and_sync<T: Send + Sync>() {}

    type Original = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
    is_send_and_sync::<BufferedBody<Original>>();
    is_send_and_sync::<Retained<Original>>();
}
