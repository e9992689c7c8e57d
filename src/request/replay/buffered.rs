//! [`Buffered`] and what it retains of a body.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::Version;
use http_body::Body;

use super::{
    NotReplayed, Replay,
    body::BufferedBody,
    sealed::Sealed,
    state::{BufferState, Stopped, wake},
};
use crate::sync::lock;

/// Buffers a streamed body while it is sent, to replay it frame by frame, trailers included.
///
/// Nothing is copied ([`Bytes`] are shared), and the first attempt isn't delayed. Empty frames aren't
/// buffered.
///
/// Above the limit the buffer is discarded, and a rejected request gets the original response. The limit is
/// on memory: each frame counts with an overhead of about 100 bytes, and each trailer with its own.
///
/// # Early rejections
///
/// If a request is rejected while its upload is still running, the upload is stopped. Over HTTP/1, or if the
/// body has a declared length, the body fails with [`UploadAborted`](super::UploadAborted): the server must
/// not mistake a part for the whole, and the client must not reuse that connection. Otherwise the body just
/// ends.
///
/// If the caller then gets that 401, because no newer token was obtained or the request's body exceeded the
/// limit, the *body* of the 401 may be truncated. Its status and headers are complete, and the
/// [`AuthReport`](crate::future::AuthReport) has the reason.
#[derive(Clone, Copy, Debug)]
pub struct Buffered {
    limit: usize,
}

/// What [`Buffered`] retains of a body: its buffer, and the rest of the original.
pub struct Retained<B> {
    state: Arc<Mutex<BufferState<B>>>,
    has_declared_length: bool,
    is_replayed: bool,
}

// === impl Buffered ===

impl Buffered {
    /// Buffers up to `limit` bytes, counted as in [`Buffered`]. `Buffered::default()` buffers 64 KiB.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl Default for Buffered {
    fn default() -> Self {
        Self::new(64 * 1024)
    }
}

impl Sealed for Buffered {}

#[diagnostic::do_not_recommend]
impl<B> Replay<B> for Buffered
where
    B: Body<Data = Bytes>,
{
    type Body = BufferedBody<B>;
    type Retained = Retained<B>;

    fn split(&self, body: B) -> (BufferedBody<B>, Option<Retained<B>>) {
        let has_declared_length = body.size_hint().exact().is_some();
        let state = Arc::new(Mutex::new(BufferState::new(body, self.limit)));
        let retained = Retained { state: Arc::clone(&state), has_declared_length, is_replayed: false };
        (BufferedBody::new(state, has_declared_length, false), Some(retained))
    }

    fn stop(&self, retained: Retained<B>, version: Version) -> Result<Retained<B>, NotReplayed> {
        // The response's version is the actual one: a request's is HTTP/1.1 by default, even over HTTP/2.
        // There each request has its own stream, which can end without an effect on the connection.
        let may_end = version >= Version::HTTP_2 && !retained.has_declared_length;
        let mut state = lock(&retained.state);
        let ends = may_end || state.exhausted;
        state.stopped = Some(if ends { Stopped::End } else { Stopped::Abort });
        // If the first attempt is waiting for more of the body, it has to see that it was stopped.
        let waker = state.first_waker.take();
        let remaining = state.remaining;
        drop(state);
        wake(waker);
        remaining.map(|_| retained)
    }

    fn replay(&self, mut retained: Retained<B>) -> BufferedBody<B> {
        retained.is_replayed = true;
        BufferedBody::new(Arc::clone(&retained.state), retained.has_declared_length, true)
    }
}

// === impl Retained ===

impl<B> fmt::Debug for Retained<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retained").finish_non_exhaustive()
    }
}

impl<B> Drop for Retained<B> {
    fn drop(&mut self) {
        // There will be no replay, so nothing needs to be buffered from now on.
        if !self.is_replayed {
            lock(&self.state).discard(NotReplayed::SingleUse);
        }
    }
}

#[cfg(test)]
mod tests;
