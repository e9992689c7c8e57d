//! The first sending is in the middle of a poll when its request is refused.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Wake,
};

use super::*;

mod scripted;

type Slot = Arc<Mutex<Option<Kept<Original>>>>;

/// Gives its frames one by one; while it gives the second one, its sending is refused, and something else is done.
struct Original {
    meanwhile: fn(&Slot),
    frames: VecDeque<Step>,
    given: usize,
    slot: Slot,
}

enum Step {
    Give(&'static str),
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
        self.given += 1;
        if self.given == 2 {
            let kept = lock_slot(&self.slot).take().unwrap();
            let possible = Replay::<Original>::end(&Buffered::default(), kept);
            *lock_slot(&self.slot) = possible;
            (self.meanwhile)(&self.slot);
        }
        Poll::Ready(match self.frames.pop_front() {
            Some(Step::Give(text)) => Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
            Some(Step::Fail) => Some(Err(Failed)),
            Some(Step::Panic) => panic!("the source panics"),
            None => None,
        })
    }
}

fn lock_slot(slot: &Slot) -> MutexGuard<'_, Option<Kept<Original>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends two frames of a body, is refused in the second one's poll, and sends it again.
fn sent_again(limit: usize, frames: impl IntoIterator<Item = Step>) -> Result<String, BoxError> {
    let slot = Slot::default();
    let original = Original {
        meanwhile: |_| {},
        frames: frames.into_iter().collect(),
        given: 0,
        slot: Arc::clone(&slot),
    };
    let (mut first, kept) = Buffered::new(limit).keep(original);
    *lock_slot(&slot) = kept;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    let second_frame = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut first).poll_frame(&mut cx)));
    assert!(matches!(second_frame, Ok(Poll::Ready(None)) | Err(_)), "the upload is ended");
    let kept = lock_slot(&slot).take().expect("what went out was within the limit");
    let mut second = Replay::<Original>::again(&Buffered::default(), kept);
    let mut all = String::new();
    loop {
        match Pin::new(&mut second).poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => {
                let data = frame?.into_data().unwrap();
                all.push_str(std::str::from_utf8(&data)?);
            }
            Poll::Ready(None) => return Ok(all),
            Poll::Pending => panic!("the body is there"),
        }
    }
}

#[test]
fn p16_a_frame_over_the_limit_at_the_moment_of_the_refusal_is_sent_again() {
    let frames = ["ab", "cdefgh", "ij"].map(Step::Give);
    assert_eq!(sent_again(4, frames).unwrap(), "abcdefghij");
}

#[test]
fn p16_a_failure_at_the_moment_of_the_refusal_is_the_second_sendings() {
    let error = sent_again(64, [Step::Give("ab"), Step::Fail, Step::Give("cd")]).unwrap_err();
    assert!(error.is::<Failed>(), "{error}");
}

#[test]
fn p16_a_panic_at_the_moment_of_the_refusal_is_no_end_of_the_body() {
    assert!(sent_again(64, [Step::Give("ab"), Step::Panic]).is_err());
}

/// A second sending that is polled by whoever wakes it, as another thread might.
struct Second {
    body: Mutex<BufferedBody<Original>>,
    got: Mutex<String>,
}

static WOKEN: Mutex<Option<Arc<Second>>> = Mutex::new(None);

impl Second {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        let mut body = lock_any(&self.body);
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut cx) {
            let data = frame.into_data().unwrap();
            lock_any(&self.got).push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

impl Wake for Second {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}

fn lock_any<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn p16_a_second_sending_that_waits_for_the_body_gets_what_was_just_given_first() {
    let slot = Slot::default();
    let original = Original {
        meanwhile: |slot| {
            let kept = lock_slot(slot).take().unwrap();
            let body = Mutex::new(Replay::<Original>::again(&Buffered::default(), kept));
            let second = Arc::new(Second { body, got: Mutex::default() });
            *lock_any(&WOKEN) = Some(Arc::clone(&second));
            second.poll();
        },
        frames: ["ab", "cd", "ef"].map(Step::Give).into(),
        given: 0,
        slot: Arc::clone(&slot),
    };
    let (mut first, kept) = Buffered::default().keep(original);
    *lock_slot(&slot) = kept;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx), Poll::Ready(None)));
    let second = lock_any(&WOKEN).take().unwrap();
    assert_eq!(*lock_any(&second.got), "abcdef");
}
