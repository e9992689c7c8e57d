//! The first attempt is stopped in the middle of a poll.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use http_body::{Frame, SizeHint};

use super::*;
use crate::{error::BoxError, request::replay::UploadAborted};

mod scripted;

type Slot = Arc<Mutex<Option<Retained<Original>>>>;

/// Yields its frames one by one. While it is polled for the second one, the attempt is stopped and `during`
/// runs.
struct Original {
    during: fn(&Slot),
    frames: VecDeque<Step>,
    polls: usize,
    slot: Slot,
}

enum Step {
    Yield(&'static str),
    Fail,
    Panic,
}

#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source failed")
    }
}

impl StdError for Failed {}

impl Body for Original {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        self.polls += 1;
        if self.polls == 2 {
            let retained = lock(&self.slot).take().unwrap();
            let stopped = Replay::<Original>::stop(&Buffered::default(), retained, Version::HTTP_2).ok();
            *lock(&self.slot) = stopped;
            (self.during)(&self.slot);
        }
        Poll::Ready(match self.frames.pop_front() {
            Some(Step::Yield(text)) => Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
            Some(Step::Fail) => Some(Err(Failed)),
            Some(Step::Panic) => panic!("the source panics"),
            None => None,
        })
    }
}

/// Sends two frames of a body, stops the attempt during the second one's poll, and replays the body.
fn replayed(limit: usize, frames: impl IntoIterator<Item = Step>) -> Result<String, BoxError> {
    let slot = Slot::default();
    let original =
        Original { during: |_| {}, frames: frames.into_iter().collect(), polls: 0, slot: Arc::clone(&slot) };
    let (mut first, retained) = Buffered::new(limit).split(original);
    *lock(&slot) = retained;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    let second_frame = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut first).poll_frame(&mut cx)));
    assert!(matches!(second_frame, Ok(Poll::Ready(None)) | Err(_)), "the upload is stopped");
    let retained = lock(&slot).take().expect("what was sent is within the limit");
    let mut second = Replay::<Original>::replay(&Buffered::default(), retained);
    let mut all = String::new();
    loop {
        match Pin::new(&mut second).poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => {
                let data = frame?.into_data().unwrap();
                all.push_str(std::str::from_utf8(&data)?);
            }
            Poll::Ready(None) => return Ok(all),
            Poll::Pending => panic!("the body never waits"),
        }
    }
}

#[test]
fn p16_a_frame_above_the_limit_that_was_polled_during_the_rejection_is_replayed() {
    let frames = ["ab", "cdefgh", "ij"].map(Step::Yield);
    assert_eq!(replayed(size_of::<Frame<Bytes>>() + 4, frames).unwrap(), "abcdefghij");
}

#[test]
fn p16_an_error_during_the_rejection_fails_the_replay() {
    let error = replayed(1000, [Step::Yield("ab"), Step::Fail, Step::Yield("cd")]).unwrap_err();
    assert!(error.is::<Failed>(), "{error}");
}

#[test]
fn p16_a_panic_during_the_rejection_fails_the_replay() {
    assert!(replayed(1000, [Step::Yield("ab"), Step::Panic]).is_err());
}

/// A replay whose waker polls it at once, as another thread might do.
struct Second {
    body: Mutex<BufferedBody<Original>>,
    received: Mutex<String>,
}

static WOKEN: Mutex<Option<Arc<Second>>> = Mutex::new(None);

impl Second {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        let mut body = lock(&self.body);
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut cx) {
            let data = frame.into_data().unwrap();
            lock(&self.received).push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

impl Wake for Second {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}

#[test]
fn p16_a_replay_that_waits_for_the_body_gets_the_frame_of_the_running_poll_first() {
    let slot = Slot::default();
    let original = Original {
        during: |slot| {
            let retained = lock(slot).take().unwrap();
            let body = Mutex::new(Replay::<Original>::replay(&Buffered::default(), retained));
            let second = Arc::new(Second { body, received: Mutex::default() });
            *lock(&WOKEN) = Some(Arc::clone(&second));
            second.poll();
        },
        frames: ["ab", "cd", "ef"].map(Step::Yield).into(),
        polls: 0,
        slot: Arc::clone(&slot),
    };
    let (mut first, retained) = Buffered::default().split(original);
    *lock(&slot) = retained;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx), Poll::Ready(None)));
    let second = lock(&WOKEN).take().unwrap();
    assert_eq!(*lock(&second.received), "abcdef");
}
