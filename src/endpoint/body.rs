//! The body of a token request, which records whether it was sent.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a token request.
///
/// The request counts as sent once its body has been read, so it is known for every transport whether a
/// failed request was sent. Nothing reads the empty body of a GET, which counts as sent once the transport asks
/// whether it is at its end, as hyper does before it sends. A transport that uses only the head must call
/// [`into_bytes`](Self::into_bytes).
///
/// After the exchange was cancelled, an unread body yields an error, or nothing.
pub struct RequestBody {
    bytes: Bytes,
    state: Arc<AtomicU8>,
}

/// Cancels a body, unless it was sent.
pub(super) struct SentHandle {
    state: Arc<AtomicU8>,
}

/// Whether a request may have been sent. Dropping it cancels a request that wasn't.
#[derive(Default)]
pub(super) struct SentFlag {
    handle: Mutex<Option<SentHandle>>,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(bytes: Bytes) -> (Self, SentHandle) {
        let state = Arc::new(AtomicU8::new(UNREAD));
        (Self { bytes, state: Arc::clone(&state) }, SentHandle { state })
    }

    /// Returns the content, for transports with another body type.
    ///
    /// The request then counts as sent. Empty if it was cancelled.
    pub fn into_bytes(self) -> Bytes {
        if self.begin_read() { self.bytes } else { Bytes::new() }
    }

    /// Returns `false` if the request was cancelled.
    fn begin_read(&self) -> bool {
        leave_unread(&self.state, SENT) == SENT
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.begin_read() {
            return Poll::Ready(Some(Err(io::Error::other(
                "the token request was cancelled before it was sent",
            ))));
        }
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && self.begin_read()
    }

    fn size_hint(&self) -> SizeHint {
        let is_cancelled = self.state.load(Ordering::Acquire) == CANCELLED;
        // A cancelled body is never empty, so that it is read, and fails.
        SizeHint::with_exact(self.bytes.len().max(usize::from(is_cancelled)) as u64)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}

// === impl SentHandle ===

impl SentHandle {
    /// Returns whether it was too late.
    fn cancel(&self) -> bool {
        leave_unread(&self.state, CANCELLED) == SENT
    }
}

// === impl SentFlag ===

impl SentFlag {
    /// Cancels the request, as a transport may continue in its own task. Returns whether it was sent already.
    pub(super) fn cancel(&self) -> bool {
        self.lock().as_ref().is_some_and(SentHandle::cancel)
    }

    /// Follows the body of the next attempt.
    pub(super) fn follow(&self, handle: SentHandle) {
        *self.lock() = Some(handle);
    }

    fn lock(&self) -> MutexGuard<'_, Option<SentHandle>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SentFlag {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Sets the final state, unless the other side was first. Returns the one that holds.
fn leave_unread(state: &AtomicU8, to: u8) -> u8 {
    state
        .compare_exchange(UNREAD, to, Ordering::AcqRel, Ordering::Acquire)
        .map_or_else(|earlier| earlier, |_| to)
}

const UNREAD: u8 = 0;
const SENT: u8 = 1;
const CANCELLED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unread_body_has_a_length_unless_it_is_empty_and_not_cancelled() {
        for (content, is_cancelled, length) in
            [("", false, 0), ("", true, 1), ("grant", false, 5), ("grant", true, 5)]
        {
            let (body, handle) = RequestBody::new(Bytes::from_static(content.as_bytes()));
            if is_cancelled {
                assert!(!handle.cancel());
            }
            assert_eq!(body.size_hint().exact(), Some(length), "{content} {is_cancelled}");
        }
    }
}
