//! A buffered body whose request is rejected while the upload is being polled.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame};
use tower_reauth::replay::{Buffered, BufferedBody, Replay};

type Kept = <Buffered as Replay<Upload>>::Retained;
type Slot = Arc<Mutex<Option<Kept>>>;

/// A body whose second poll runs `during` before it returns.
struct Upload {
    frames: std::vec::IntoIter<Result<&'static str, io::Error>>,
    polls: usize,
    during: Option<Box<dyn FnOnce() + Send>>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polls += 1;
        if self.polls == 2 {
            (self.during.take().unwrap())();
        }
        let frame = self.frames.next();
        Poll::Ready(frame.map(|frame| frame.map(|data| Frame::data(Bytes::from_static(data.as_bytes())))))
    }
}

fn upload(
    frames: impl IntoIterator<Item = Result<&'static str, io::Error>>,
    during: impl FnOnce() + Send + 'static,
) -> Upload {
    let frames: Vec<_> = frames.into_iter().collect();
    Upload { frames: frames.into_iter(), polls: 0, during: Some(Box::new(during)) }
}

/// The first attempt's body. What is kept for a retry goes into the slot.
fn keep(replay: Buffered, body: Upload, slot: &Slot) -> BufferedBody<Upload> {
    let (first, kept) = replay.split(body);
    *slot.lock().unwrap() = kept;
    first
}

/// Stops the upload, as a rejection does.
fn stop(replay: Buffered, slot: &Slot) {
    let mut slot = slot.lock().unwrap();
    *slot =
        slot.take().and_then(|kept| <Buffered as Replay<Upload>>::stop(&replay, kept, Version::HTTP_2).ok());
}

/// The body of the retry; none if it can't be replayed.
fn retry(replay: Buffered, slot: &Slot) -> Option<BufferedBody<Upload>> {
    let kept = slot.lock().unwrap().take()?;
    Some(<Buffered as Replay<Upload>>::replay(&replay, kept))
}

fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Option<String> {
    match Pin::new(body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()),
        _ => None,
    }
}

fn on_another_thread(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work).join().unwrap();
}

#[test]
fn p16_a_body_is_replayed_whole_or_not_at_all() {
    // Enough for the first frame, with what each frame costs.
    let replay = Buffered::new(size_of::<Frame<Bytes>>() + 10);
    let slot = Slot::default();
    let shared = Arc::clone(&slot);
    let body = upload(["aaaaaaaa", "bbbbbbbb", "cccccccc"].map(Ok), move || {
        on_another_thread(move || stop(replay, &shared));
    });
    let mut first = keep(replay, body, &slot);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aaaaaaaa"));
    let _ = next(&mut first, &mut cx);
    let Some(mut retry) = retry(replay, &slot) else { return };
    let sent: Vec<_> = std::iter::from_fn(|| next(&mut retry, &mut cx)).collect();
    assert_eq!(sent, ["aaaaaaaa", "bbbbbbbb", "cccccccc"]);
}

#[test]
fn p16_frames_are_replayed_in_order_by_a_waker_that_polls_at_once() {
    type Retry = Arc<Mutex<(Option<BufferedBody<Upload>>, Vec<String>)>>;

    /// Another thread polls the body before `wake` returns.
    struct PollsAtOnce(Retry);

    impl Wake for PollsAtOnce {
        fn wake(self: Arc<Self>) {
            let retry = Arc::clone(&self.0);
            on_another_thread(move || {
                let mut cx = Context::from_waker(Waker::noop());
                let (body, sent) = &mut *retry.lock().unwrap();
                for _ in 0..2 {
                    sent.extend(next(body.as_mut().unwrap(), &mut cx));
                }
            });
        }
    }

    let replay = Buffered::new(1000);
    let (slot, state) = (Slot::default(), Retry::default());
    let (from, to) = (Arc::clone(&slot), Arc::clone(&state));
    let body = upload(["aa", "bb", "cc"].map(Ok), move || {
        on_another_thread(move || {
            stop(replay, &from);
            let mut body = retry(replay, &from).unwrap();
            let waker = Waker::from(Arc::new(PollsAtOnce(Arc::clone(&to))));
            let mut cx = Context::from_waker(&waker);
            let sent = Vec::from_iter(next(&mut body, &mut cx));
            assert!(next(&mut body, &mut cx).is_none(), "the second frame is not there yet");
            *to.lock().unwrap() = (Some(body), sent);
        });
    });
    let mut first = keep(replay, body, &slot);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aa"));
    let _ = next(&mut first, &mut cx);
    let (body, sent) = &mut *state.lock().unwrap();
    sent.extend(std::iter::from_fn(|| next(body.as_mut().unwrap(), &mut cx)));
    assert_eq!(*sent, ["aa", "bb", "cc"]);
}

#[test]
fn p16_a_retry_that_waits_for_the_upload_is_woken_when_the_upload_panics() {
    struct CountsWakes(AtomicUsize);

    impl Wake for CountsWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let replay = Buffered::new(1000);
    let (slot, second) = (Slot::default(), Arc::<Mutex<Option<BufferedBody<Upload>>>>::default());
    let wakes = Arc::new(CountsWakes(AtomicUsize::new(0)));
    let (from, to, waker) = (Arc::clone(&slot), Arc::clone(&second), Waker::from(Arc::clone(&wakes)));
    let body = upload(["aa", "bb", "cc"].map(Ok), move || {
        stop(replay, &from);
        let mut body = retry(replay, &from).unwrap();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(next(&mut body, &mut cx).as_deref(), Some("aa"));
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
        *to.lock().unwrap() = Some(body);
        panic!("in the upload");
    });
    let mut first = keep(replay, body, &slot);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aa"));
    catch_unwind(AssertUnwindSafe(|| next(&mut first, &mut cx))).unwrap_err();
    let mut second = second.lock().unwrap().take().unwrap();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert!(matches!(Pin::new(&mut second).poll_frame(&mut cx), Poll::Ready(Some(Err(_)))));
}

#[test]
fn p16_a_failed_upload_is_not_replayed_as_an_empty_body() {
    let replay = Buffered::new(1000);
    let slot = Slot::default();
    let shared = Arc::clone(&slot);
    let body = upload([Ok("aa"), Err(io::Error::other("disk"))], move || stop(replay, &shared));
    let mut first = keep(replay, body, &slot);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aa"));
    let _ = next(&mut first, &mut cx);
    let Some(mut retry) = retry(replay, &slot) else { return };
    let polled = Pin::new(&mut retry).poll_frame(&mut cx);
    assert!(!matches!(polled, Poll::Ready(None)), "the retry's body must not end cleanly");
}
