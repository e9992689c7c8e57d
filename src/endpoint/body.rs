//! The body of a token request, which knows whether it was sent.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a token request.
///
/// What is in it, the refresh token above all, has left only if it was taken from it: so whatever the transport is, it
/// is known whether a request that failed had been sent.
pub struct RequestBody {
    bytes: Bytes,
    taken: Arc<AtomicBool>,
}

/// Tells whether a body was taken.
#[derive(Clone)]
pub(super) struct Taken {
    taken: Arc<AtomicBool>,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(bytes: Bytes) -> (Self, Taken) {
        let taken = Arc::new(AtomicBool::new(false));
        (Self { bytes, taken: Arc::clone(&taken) }, Taken { taken })
    }

    /// Takes all of it: for a transport whose bodies are of another type.
    pub fn into_bytes(self) -> Bytes {
        self.taken.store(true, Ordering::Relaxed);
        self.bytes
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Relaxed);
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}

// === impl Taken ===

impl Taken {
    pub(super) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}
