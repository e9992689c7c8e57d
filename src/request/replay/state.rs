//! What the two attempts of a buffered body share.
//!
//! An attempt takes the original out to poll it, so that no lock is held while the user's code runs, and puts
//! it back when it stores the result.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::{Body, Frame};

use super::NotReplayed;
use crate::{error::BoxError, sync::lock};

/// The buffer and the original body.
pub(super) struct BufferState<B> {
    /// `None` while it is polled.
    pub(super) original: Option<Pin<Box<B>>>,
    pub(super) frames: VecDeque<Frame<Bytes>>,
    /// How much more may be buffered, or why the buffer was discarded.
    pub(super) remaining: Result<usize, NotReplayed>,
    /// The original has ended.
    pub(super) exhausted: bool,
    /// The original's error, if the replay has to report it.
    pub(super) error: Option<BoxError>,
    /// The first attempt is over.
    pub(super) stopped: Option<Stopped>,
    /// The first attempt, if it waits for more of the original.
    pub(super) first_waker: Option<Waker>,
    /// The replay, if it waits for the first attempt to put the original back.
    pub(super) replay_waker: Option<Waker>,
}

/// How the body of a stopped attempt ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    End,
    Abort,
}

/// The original, taken out for a poll.
pub(super) struct BodyGuard<'a, B> {
    state: &'a Mutex<BufferState<B>>,
    original: Option<Pin<Box<B>>>,
}

// === impl BufferState ===

impl<B> BufferState<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self {
            original: Some(Box::pin(body)),
            frames: VecDeque::new(),
            remaining: Ok(limit),
            exhausted: false,
            error: None,
            stopped: None,
            first_waker: None,
            replay_waker: None,
        }
    }

    /// Buffers a frame that is about to be sent.
    pub(super) fn push(&mut self, frame: &Frame<Bytes>) {
        let Ok(remaining) = self.remaining else { return };
        if frame.data_ref().is_some_and(Bytes::is_empty) {
            return;
        }
        let copy = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Frame::data(data.clone()),
            (None, Some(trailers)) => Frame::trailers(trailers.clone()),
            (None, None) => return self.discard(NotReplayed::SingleUse),
        };
        match remaining.checked_sub(cost(&copy)) {
            Some(remaining) => {
                self.remaining = Ok(remaining);
                self.frames.push_back(copy);
            }
            None => self.discard(NotReplayed::TooLarge),
        }
    }

    /// Keeps the result of a poll during which the attempt was stopped, whatever its size: it was never sent.
    pub(super) fn push_last(&mut self, polled: Poll<Option<Result<Frame<Bytes>, BoxError>>>) {
        match polled {
            Poll::Ready(Some(Ok(frame))) => self.frames.push_back(frame),
            Poll::Ready(Some(Err(error))) => self.error = Some(error),
            Poll::Ready(None) | Poll::Pending => {}
        }
    }

    /// Rules out a replay and frees the buffer.
    pub(super) fn discard(&mut self, reason: NotReplayed) {
        self.remaining = Err(reason);
        self.frames = VecDeque::new();
    }
}

// === impl BodyGuard ===

impl<'a, B: Body<Data = Bytes>> BodyGuard<'a, B> {
    /// `None`: the original belongs to the other attempt now, or that one is polling it.
    pub(super) fn take(
        state: &'a Mutex<BufferState<B>>,
        cx: &mut Context<'_>,
        is_replay: bool,
    ) -> Option<Self> {
        let mut locked = lock(state);
        if locked.stopped.is_some() != is_replay {
            return None;
        }
        let original = locked.original.take();
        if original.is_none() {
            locked.replay_waker = Some(cx.waker().clone());
            return None;
        }
        Some(Self { state, original })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.original {
            Some(original) => original.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    /// The caller stores the result and releases the lock before it wakes the replay, which must not see the
    /// original without the frame that came before.
    pub(super) fn put_back(mut self) -> (MutexGuard<'a, BufferState<B>>, Option<Waker>) {
        let mut locked = lock(self.state);
        locked.original = self.original.take();
        let waker = locked.replay_waker.take();
        (locked, waker)
    }
}

impl<B> Drop for BodyGuard<'_, B> {
    fn drop(&mut self) {
        // The original panicked: it isn't polled again. A replay that has already begun must fail, as it
        // would send an incomplete body.
        if mem::take(&mut self.original).is_some() {
            let mut locked = lock(self.state);
            locked.error = Some(PANICKED.into());
            locked.discard(NotReplayed::Failed);
            let waker = locked.replay_waker.take();
            drop(locked);
            wake(waker);
        }
    }
}

/// A frame's size in memory. If only its data counted, small frames could take many times the limit.
fn cost(frame: &Frame<Bytes>) -> usize {
    let trailer = |(name, value): (&HeaderName, &HeaderValue)| {
        size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
    };
    let data = frame.data_ref().map_or(0, Bytes::len);
    let trailers: usize = frame.trailers_ref().map_or(0, |trailers| trailers.iter().map(trailer).sum());
    size_of::<Frame<Bytes>>() + data + trailers
}

pub(super) const PANICKED: &str = "the body panicked";

/// Wakes a task. Call it without the lock, as the task may be polled immediately.
pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn p16_a_frame_costs_its_own_size_and_each_byte() {
        let empty = size_of::<Frame<Bytes>>();
        assert_eq!(cost(&Frame::data(Bytes::from_static(b"12345"))), empty + 5);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("etag", "abcdefg".parse().unwrap());
        let each = size_of::<(HeaderName, HeaderValue)>();
        assert_eq!(cost(&Frame::trailers(trailers)), empty + 2 * each + 11 + 1 + 4 + 7);
    }
}
