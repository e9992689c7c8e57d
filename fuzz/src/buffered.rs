//! Bodies that are buffered while they are sent, and replayed.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use http_body::{Body, Frame, SizeHint};
use tower_reauth::replay::{Buffered, BufferedBody, Replay, UploadAborted};

#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// So many bytes of this letter.
    Data(u8, usize),
    Wait,
    Trailers,
    Fail,
    /// The server rejects the request while the body is polled.
    Reject,
}

/// What a request looks like, and when it is rejected.
struct Case<'a> {
    limit: usize,
    flags: &'a str,
    before: Vec<Step>,
    after: Vec<Step>,
    /// The rejection comes during a poll.
    during_a_poll: bool,
}

/// A body that follows a script.
struct Scripted {
    steps: VecDeque<Step>,
    has_declared_length: bool,
    announces_end: bool,
    upload: Arc<Upload>,
}

/// What the layer keeps of an upload.
struct Upload {
    replay: Buffered,
    version: Version,
    is_rejected: AtomicBool,
    kept: Mutex<Option<Retained>>,
}

type Retained = <Buffered as Replay<Scripted>>::Retained;

/// A replay sends the frames of the original, all of them or none.
///
/// The first line of the input is the limit; the second has letters: `1` is HTTP/1, `d` a declared length, `e` a
/// body that reports its end. The third is the body: small letters are frames of 1 to 26 bytes, capital ones of 64 times as
/// many, `0` is an empty frame, `.` a pending poll, `=` trailers, `!` an error. The rejection is `|` between two polls,
/// and `^` during one.
pub fn buffered(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let mut lines = input.lines();
    let (Some(limit), Some(flags), Some(script)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(limit), Some(at)) = (limit.parse(), script.find(['|', '^'])) else { return };
    let (before, after) = script.split_at(at);
    let steps = |script: &str| script.bytes().filter_map(step).take(100).collect();
    let during_a_poll = after.starts_with('^');
    Case { limit, flags, before: steps(before), after: steps(after), during_a_poll }.check();
}

// === impl Case ===

impl Case<'_> {
    fn check(&self) {
        let version = if self.flags.contains('1') { Version::HTTP_11 } else { Version::HTTP_2 };
        let replay = Buffered::new(self.limit);
        let upload =
            Arc::new(Upload { replay, version, is_rejected: AtomicBool::default(), kept: Mutex::default() });
        let (mut first, kept) = replay.split(self.body(&upload, self.during_a_poll));
        *upload.kept() = kept;

        let whole = all(&mut self.body(&upload, false));
        let sent = self.send(&mut first, &whole);
        // Has no effect after a rejection during a poll.
        upload.reject();
        let failed = sent.last().is_some_and(|frame| frame == FAILED);
        let size: usize = sent.iter().map(|frame| cost(frame)).sum();
        let is_replayed = !failed && size <= self.limit;
        let retained = upload.kept().take();
        assert_eq!(retained.is_some(), is_replayed, "{size} bytes were sent");
        let Some(retained) = retained else { return };

        let mut second = Replay::<Scripted>::replay(&replay, retained);
        let again: Vec<_> =
            sent.iter().filter(|frame| !frame.is_empty()).chain(&whole[sent.len()..]).cloned().collect();
        assert_eq!(all_checked(&mut second, &again), again);
        // What is left of the first attempt doesn't look like a whole body of a declared length.
        let last = poll(&mut first);
        let is_complete = sent.len() == whole.len();
        let may_end = is_complete || (version == Version::HTTP_2 && !self.flags.contains('d'));
        assert!(last.as_deref() == Some(ABORTED) || (last.is_none() && may_end), "{last:?}");
    }

    fn body(&self, upload: &Arc<Upload>, rejects: bool) -> Scripted {
        let reject = rejects.then_some(Step::Reject);
        Scripted {
            steps: self.before.iter().copied().chain(reject).chain(self.after.iter().copied()).collect(),
            has_declared_length: self.flags.contains('d'),
            announces_end: self.flags.contains('e'),
            upload: Arc::clone(upload),
        }
    }

    /// The frames that the first attempt sends before it is rejected.
    fn send(&self, first: &mut BufferedBody<Scripted>, whole: &[String]) -> Vec<String> {
        let mut sent = Vec::new();
        for _ in 0..self.before.len() {
            if first.is_end_stream() {
                return sent;
            }
            match poll(first) {
                Some(frame) if frame == PENDING => {}
                Some(frame) => {
                    sent.push(frame);
                    assert!(whole.starts_with(&sent), "{sent:?} isn't the beginning of {whole:?}");
                    if sent.ends_with(&[FAILED.to_owned()]) {
                        return sent;
                    }
                }
                None => return sent,
            }
        }
        if self.during_a_poll && !first.is_end_stream() {
            let last = poll(first);
            assert!(last.is_none() || last.as_deref() == Some(ABORTED), "{last:?} is the replay's");
        }
        sent
    }
}

// === impl Upload ===

impl Upload {
    fn reject(&self) {
        if !self.is_rejected.swap(true, Ordering::Relaxed) {
            let kept = self.kept().take().expect("something is kept of every body");
            let stopped = Replay::<Scripted>::stop(&self.replay, kept, self.version);
            *self.kept() = stopped.ok();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Retained>> {
        self.kept.lock().expect("nothing panics with it")
    }
}

// === impl Scripted ===

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let frame = match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(letter, size)) => Frame::data(Bytes::from(vec![letter; size])),
                Some(Step::Trailers) => Frame::trailers(trailers()),
                Some(Step::Wait) => return Poll::Pending,
                Some(Step::Reject) => {
                    self.upload.reject();
                    continue;
                }
                Some(Step::Fail) => {
                    // As other bodies do, it is at its end after an error.
                    self.steps.clear();
                    return Poll::Ready(Some(Err(io::Error::other("gone"))));
                }
            };
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.announces_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let size = |step: &Step| if let Step::Data(_, size) = step { *size as u64 } else { 0 };
        let left = self.steps.iter().map(size).sum();
        if self.has_declared_length {
            return SizeHint::with_exact(left);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(left);
        hint
    }
}

fn step(letter: u8) -> Option<Step> {
    Some(match letter {
        b'a'..=b'z' => Step::Data(letter, usize::from(letter - b'a') + 1),
        b'A'..=b'Z' => Step::Data(letter, 64 * (usize::from(letter - b'A') + 1)),
        b'0' => Step::Data(b'0', 0),
        b'.' => Step::Wait,
        b'=' => Step::Trailers,
        b'!' => Step::Fail,
        _ => return None,
    })
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))])
}

/// What a frame counts (see [`Buffered`]).
fn cost(frame: &str) -> usize {
    match frame {
        "" | FAILED => 0,
        TRAILERS => size_of::<Frame<Bytes>>() + size_of::<(HeaderName, HeaderValue)>() + "x-sum7".len(),
        data => size_of::<Frame<Bytes>>() + data.len(),
    }
}

/// Polls once and describes the result. `None`: the end.
fn poll<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin>(body: &mut B) -> Option<String> {
    let frame = match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => return Some(PENDING.to_owned()),
        Poll::Ready(frame) => frame?,
    };
    Some(match frame.map(Frame::into_data) {
        Ok(Ok(data)) => String::from_utf8_lossy(&data).into_owned(),
        Ok(Err(_trailers)) => TRAILERS.to_owned(),
        Err(error) => (if error.into().is::<UploadAborted>() { ABORTED } else { FAILED }).to_owned(),
    })
}

/// Everything that a body yields.
fn all(body: &mut Scripted) -> Vec<String> {
    std::iter::from_fn(|| poll(body)).filter(|frame| frame != PENDING).collect()
}

/// The same, and the body's size hints must hold.
fn all_checked(body: &mut BufferedBody<Scripted>, expected: &[String]) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        let rest = expected.get(frames.len()..).unwrap_or_default();
        let is_data = |frame: &&String| !matches!(&***frame, FAILED | TRAILERS);
        let size: usize = rest.iter().filter(is_data).map(String::len).sum();
        let hint = body.size_hint();
        let fails = rest.iter().any(|frame| frame == FAILED);
        assert!(fails || hint.lower() <= size as u64, "{hint:?}, but {rest:?}");
        assert!(fails || hint.upper().is_none_or(|upper| upper >= size as u64), "{hint:?}, but {rest:?}");
        assert!(!body.is_end_stream() || rest.is_empty(), "{rest:?} is left");
        match poll(body) {
            Some(frame) if frame == PENDING => {}
            Some(frame) => frames.push(frame),
            None => return frames,
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const PENDING: &str = "pending";
const TRAILERS: &str = "trailers";
const FAILED: &str = "failed";
const ABORTED: &str = "aborted";
