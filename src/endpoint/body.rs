//! The body of a token request, which knows whether it was sent, and which isn't sent once it was given up.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a token request.
///
/// What is in it, the refresh token above all, has left only if it was taken from it: so whatever the transport is, it
/// is known whether a request that failed had been sent.
///
/// A body that was not taken when its exchange was given up can't be taken any more: it is an error then, or empty.
pub struct RequestBody {
    bytes: Bytes,
    state: Arc<AtomicU8>,
}

/// The other end of a body.
pub(super) struct Hold {
    state: Arc<AtomicU8>,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(bytes: Bytes) -> (Self, Hold) {
        let state = Arc::new(AtomicU8::new(HELD));
        (Self { bytes, state: Arc::clone(&state) }, Hold { state })
    }

    /// Takes all of it: for a transport whose bodies are of another type. It counts as sent from then on: better late than
    /// early. Nothing, if it was given up.
    pub fn into_bytes(self) -> Bytes {
        if self.take() { self.bytes } else { Bytes::new() }
    }

    /// False: it was given up.
    fn take(&self) -> bool {
        leave(&self.state, TAKEN) == TAKEN
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.take() {
            return Poll::Ready(Some(Err(io::Error::other(
                "the token request was given up before it was sent",
            ))));
        }
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

// === impl Hold ===

impl Hold {
    /// Keeps the body from being taken. Says whether that came too late.
    pub(super) fn give_up(&self) -> bool {
        leave(&self.state, GIVEN_UP) == TAKEN
    }
}

/// The body is taken or given up, once and for good, as a transport may work on in a task of its own. Says which.
fn leave(state: &AtomicU8, to: u8) -> u8 {
    state
        .compare_exchange(HELD, to, Ordering::AcqRel, Ordering::Acquire)
        .map_or_else(|earlier| earlier, |_| to)
}

const HELD: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;
