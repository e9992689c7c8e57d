//! [`BufferedBody`].

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    NotReplayed,
    state::{BodyGuard, BufferState, PANICKED, Stopped, wake},
};
use crate::{error::BoxError, sync::lock};

/// The body sent by [`Buffered`](super::Buffered): buffered while it is sent, or replayed.
pub struct BufferedBody<B> {
    state: Arc<Mutex<BufferState<B>>>,
    has_declared_length: bool,
    is_replay: bool,
}

/// The upload was aborted because the token was rejected before the body had been read.
#[derive(Clone, Copy, Debug)]
pub struct UploadAborted;

// === impl BufferedBody ===

impl<B> BufferedBody<B> {
    pub(super) fn new(state: Arc<Mutex<BufferState<B>>>, has_declared_length: bool, is_replay: bool) -> Self {
        Self { state, has_declared_length, is_replay }
    }
}

impl<B> BufferedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_first(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut guard) = BodyGuard::take(&self.state, cx, false) else {
            return Poll::Ready(match lock(&self.state).stopped {
                Some(stopped) => stopped.last_frame(),
                None => Some(Err(PANICKED.into())),
            });
        };
        let polled = guard.poll(cx).map_err(Into::into);
        let (mut state, waker) = guard.put_back();
        let output = if let Poll::Ready(None) = polled {
            state.exhausted = true;
            polled
        } else if let Some(stopped) = state.stopped {
            // It was stopped during the poll: the result belongs to the replay.
            state.push_last(polled);
            Poll::Ready(stopped.last_frame())
        } else {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => state.push(frame),
                Poll::Ready(_) => state.discard(NotReplayed::Failed),
                // `stop` wakes it.
                Poll::Pending => state.first_waker = Some(cx.waker().clone()),
            }
            polled
        };
        drop(state);
        wake(waker);
        output
    }

    fn poll_replay(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = lock(&self.state);
        if let Some(frame) = state.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = state.error.take() {
            state.exhausted = true;
            return Poll::Ready(Some(Err(error)));
        }
        if state.exhausted {
            return Poll::Ready(None);
        }
        drop(state);
        // If the first attempt is polling the original, it puts it back and wakes this one.
        let Some(mut guard) = BodyGuard::take(&self.state, cx, true) else { return Poll::Pending };
        let polled = guard.poll(cx);
        let (mut state, waker) = guard.put_back();
        if let Poll::Ready(None) = polled {
            state.exhausted = true;
        }
        drop(state);
        wake(waker);
        polled.map_err(Into::into)
    }
}

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
        if self.is_replay { self.poll_replay(cx) } else { self.poll_first(cx) }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.state);
        if let (Some(stopped), false) = (state.stopped, self.is_replay) {
            return stopped == Stopped::End;
        }
        let original_ends =
            state.exhausted || state.original.as_ref().is_some_and(|original| original.is_end_stream());
        original_ends && state.error.is_none() && (!self.is_replay || state.frames.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.state);
        let rest = match &state.original {
            _ if state.stopped == Some(Stopped::End) && !self.is_replay => SizeHint::with_exact(0),
            _ if state.exhausted => SizeHint::with_exact(0),
            Some(original) => original.size_hint(),
            None => SizeHint::default(),
        };
        if !self.is_replay {
            return rest;
        }
        let buffered: u64 =
            state.frames.iter().map(|frame| frame.data_ref().map_or(0, |data| data.len() as u64)).sum();
        let mut hint = SizeHint::new();
        // A length that the first attempt didn't declare isn't declared now: an HTTP/1 body with a length has
        // no trailers.
        let upper = rest.upper().filter(|_| self.has_declared_length);
        if let Some(upper) = upper.and_then(|upper| upper.checked_add(buffered)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(buffered));
        hint
    }
}

impl<B> fmt::Debug for BufferedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedBody").field("is_replay", &self.is_replay).finish_non_exhaustive()
    }
}

// === impl Stopped ===

impl Stopped {
    fn last_frame(self) -> Option<Result<Frame<Bytes>, BoxError>> {
        match self {
            Self::End => None,
            Self::Abort => Some(Err(UploadAborted.into())),
        }
    }
}

// === impl UploadAborted ===

impl fmt::Display for UploadAborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("upload aborted: the server rejected the access token")
    }
}

impl StdError for UploadAborted {}
