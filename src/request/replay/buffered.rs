//! Bodies that are kept as they go out.
//!
//! The original body lives in a place that both sendings share. Whoever polls it takes it out for the time of the
//! poll, so that no lock is held over the user's code, and puts it back with what it gave.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Replay;
use crate::error::BoxError;

/// Keeps what goes out of a streamed body, to send it again chunk for chunk, with its trailers.
///
/// Nothing is copied ([`Bytes`] are shared) and the first sending isn't delayed. Beyond the limit nothing is kept any
/// more: such a request gets the server's own answer.
#[derive(Clone, Copy, Debug)]
pub struct Buffered {
    limit: usize,
}

/// [`Buffered`], for an inner service with one fixed body type. Made by [`Buffered::map_body`].
#[derive(Clone, Copy)]
pub struct MapBody<F> {
    buffered: Buffered,
    map_body: F,
}

/// A body that is kept as it goes out, or its second sending.
pub struct BufferedBody<B> {
    shared: Arc<Mutex<Shared<B>>>,
    second: bool,
    /// The first sending said how long it would be.
    declared: bool,
}

/// The upload was ended, as its request's token was refused before the body was read.
#[derive(Clone, Copy, Debug)]
pub struct UploadAborted;

/// What is kept of a body.
pub struct Kept<B> {
    shared: Arc<Mutex<Shared<B>>>,
    declared: bool,
    /// It has become the second sending.
    used: bool,
}

struct Shared<B> {
    /// None while it is polled.
    original: Option<Pin<Box<B>>>,
    /// What went out, in order.
    frames: VecDeque<Frame<Bytes>>,
    /// How many bytes may still be kept; None: nothing is kept any more.
    room: Option<usize>,
    /// The original has given all.
    finished: bool,
    /// What it failed with, for the second sending.
    failed: Option<BoxError>,
    /// The first sending is over.
    ended: bool,
    /// The first sending, while it waits for more of the original.
    first: Option<Waker>,
    /// The second sending, while it waits for the first to put the original back.
    second: Option<Waker>,
}

/// The original, taken out for a poll.
struct Taken<'a, B> {
    shared: &'a Mutex<Shared<B>>,
    original: Option<Pin<Box<B>>>,
}

// === impl Buffered ===

impl Buffered {
    /// Keeps at most `limit` bytes of a body.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Makes the body that goes out into another type: that of an inner service with one fixed body.
    pub fn map_body<F>(self, map_body: F) -> MapBody<F> {
        MapBody { buffered: self, map_body }
    }
}

impl Default for Buffered {
    fn default() -> Self {
        Self::new(64 * 1024)
    }
}

impl<B> Replay<B> for Buffered
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Body = BufferedBody<B>;
    type Kept = Kept<B>;

    fn keep(&self, body: B) -> (BufferedBody<B>, Option<Kept<B>>) {
        let declared = body.size_hint().exact().is_some();
        let shared = Arc::new(Mutex::new(Shared {
            original: Some(Box::pin(body)),
            frames: VecDeque::new(),
            room: Some(self.limit),
            finished: false,
            failed: None,
            ended: false,
            first: None,
            second: None,
        }));
        let kept = Kept { shared: Arc::clone(&shared), declared, used: false };
        (BufferedBody { shared, second: false, declared }, Some(kept))
    }

    fn end(&self, kept: Kept<B>) -> Option<Kept<B>> {
        let mut shared = lock(&kept.shared);
        shared.ended = true;
        // Who sends the first one is told at once, if it waits for more of it.
        let waiting = shared.first.take();
        let possible = shared.room.is_some();
        drop(shared);
        wake(waiting);
        possible.then_some(kept)
    }

    fn again(&self, mut kept: Kept<B>) -> BufferedBody<B> {
        kept.used = true;
        BufferedBody { shared: Arc::clone(&kept.shared), second: true, declared: kept.declared }
    }
}

// === impl MapBody ===

impl<B, F, Out> Replay<B> for MapBody<F>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    F: Fn(BufferedBody<B>) -> Out + Send + Sync + 'static,
{
    type Body = Out;
    type Kept = Kept<B>;

    fn keep(&self, body: B) -> (Out, Option<Kept<B>>) {
        let (body, kept) = self.buffered.keep(body);
        ((self.map_body)(body), kept)
    }

    fn end(&self, kept: Kept<B>) -> Option<Kept<B>> {
        Replay::<B>::end(&self.buffered, kept)
    }

    fn again(&self, kept: Kept<B>) -> Out {
        (self.map_body)(self.buffered.again(kept))
    }
}

impl<F> fmt::Debug for MapBody<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapBody").field("buffered", &self.buffered).finish_non_exhaustive()
    }
}

// === impl BufferedBody ===

impl<B> BufferedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn poll_first(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut taken) = Taken::take(&self.shared, cx, false) else {
            if !lock(&self.shared).ended {
                return Poll::Ready(Some(Err(PANICKED.into())));
            }
            // It was ended, and the second sending has it.
            return self.poll_ended();
        };
        let polled = taken.poll(cx).map_err(Into::into);
        let (mut shared, waiting) = taken.put_back();
        let given = match polled {
            Poll::Ready(None) => {
                shared.finished = true;
                Some(Poll::Ready(None))
            }
            // It was ended in the middle of the poll: what that gave is the second sending's.
            polled if shared.ended => {
                shared.hand_over(polled);
                None
            }
            polled => {
                match &polled {
                    Poll::Ready(Some(Ok(frame))) => {
                        shared.keep(frame);
                    }
                    Poll::Ready(_) => shared.forget(),
                    // Whoever ends the upload wakes it.
                    Poll::Pending => shared.first = Some(cx.waker().clone()),
                }
                Some(polled)
            }
        };
        drop(shared);
        wake(waiting);
        given.unwrap_or_else(|| self.poll_ended())
    }

    fn poll_ended(&self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.declared { Poll::Ready(Some(Err(UploadAborted.into()))) } else { Poll::Ready(None) }
    }

    fn poll_second(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut shared = lock(&self.shared);
        if let Some(frame) = shared.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = shared.failed.take() {
            shared.finished = true;
            return Poll::Ready(Some(Err(error)));
        }
        if shared.finished {
            return Poll::Ready(None);
        }
        drop(shared);
        // The first sending is in the middle of a poll: it puts the original back.
        let Some(mut taken) = Taken::take(&self.shared, cx, true) else { return Poll::Pending };
        let polled = taken.poll(cx);
        let (mut shared, waiting) = taken.put_back();
        if let Poll::Ready(None) = polled {
            shared.finished = true;
        }
        drop(shared);
        wake(waiting);
        polled.map_err(Into::into)
    }
}

const PANICKED: &str = "the body panicked";

impl<B> Body for BufferedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.second { self.poll_second(cx) } else { self.poll_first(cx) }
    }

    fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        if shared.ended && !self.second {
            return !self.declared;
        }
        let original_ends =
            shared.finished || shared.original.as_ref().is_some_and(|original| original.is_end_stream());
        original_ends && shared.failed.is_none() && (!self.second || shared.frames.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.shared);
        let rest = match &shared.original {
            _ if shared.ended && !self.second && !self.declared => SizeHint::with_exact(0),
            _ if shared.finished => SizeHint::with_exact(0),
            Some(original) => original.size_hint(),
            None => SizeHint::default(),
        };
        if !self.second {
            return rest;
        }
        let kept: u64 =
            shared.frames.iter().map(|frame| frame.data_ref().map_or(0, |data| data.len() as u64)).sum();
        let mut hint = SizeHint::new();
        // A length that was not declared then isn't now: an HTTP/1 body with a length has no trailers.
        let upper = rest.upper().filter(|_| self.declared);
        if let Some(upper) = upper.and_then(|upper| upper.checked_add(kept)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(kept));
        hint
    }
}

impl<B> fmt::Debug for BufferedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedBody").field("second", &self.second).finish_non_exhaustive()
    }
}

// === impl Kept ===

impl<B> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<B> Drop for Kept<B> {
    fn drop(&mut self) {
        // Without a second sending nothing is kept, from now on.
        if !self.used {
            lock(&self.shared).forget();
        }
    }
}

// === impl Shared ===

impl<B> Shared<B> {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(room) = self.room else { return };
        let copy = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if data.len() <= room => {
                self.room = Some(room - data.len());
                Frame::data(data.clone())
            }
            (None, Some(trailers)) => Frame::trailers(trailers.clone()),
            _ => return self.forget(),
        };
        self.frames.push_back(copy);
    }

    /// Takes what a poll gave that the upload's end came into, whatever its size.
    fn hand_over(&mut self, polled: Poll<Option<Result<Frame<Bytes>, BoxError>>>) {
        match polled {
            _ if self.room.is_none() => {}
            Poll::Ready(Some(Ok(frame))) => self.frames.push_back(frame),
            Poll::Ready(Some(Err(error))) => self.failed = Some(error),
            Poll::Ready(None) | Poll::Pending => {}
        }
    }

    /// It can't be sent again: what was kept is given back.
    fn forget(&mut self) {
        self.room = None;
        self.frames = VecDeque::new();
    }
}

// === impl Taken ===

impl<'a, B: Body<Data = Bytes>> Taken<'a, B> {
    fn take(shared: &'a Mutex<Shared<B>>, cx: &mut Context<'_>, second: bool) -> Option<Self> {
        let mut locked = lock(shared);
        if locked.ended != second {
            return None;
        }
        let original = locked.original.take();
        if original.is_none() {
            locked.second = Some(cx.waker().clone());
            return None;
        }
        Some(Self { shared, original })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.original {
            Some(original) => original.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    /// Who waits for it is to be woken when what the poll gave is in its place and the lock is free.
    fn put_back(mut self) -> (MutexGuard<'a, Shared<B>>, Option<Waker>) {
        let mut locked = lock(self.shared);
        locked.original = self.original.take();
        let waiting = locked.second.take();
        (locked, waiting)
    }
}

impl<B> Drop for Taken<'_, B> {
    fn drop(&mut self) {
        // The original panicked: it is not polled again, and can't be sent again.
        if mem::take(&mut self.original).is_some() {
            let mut locked = lock(self.shared);
            // A second sending that has begun has no whole body.
            locked.failed = Some(PANICKED.into());
            locked.forget();
            let waiting = locked.second.take();
            drop(locked);
            wake(waiting);
        }
    }
}

// === impl UploadAborted ===

impl fmt::Display for UploadAborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upload was ended: the request's token was refused")
    }
}

impl StdError for UploadAborted {}

fn wake(waiting: Option<Waker>) {
    if let Some(waker) = waiting {
        waker.wake();
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
