//! [`Gate`].

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// A barrier: closed for a number of requests, which pass together.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Option<Closed>>);

#[derive(Debug)]
struct Closed {
    missing: usize,
    /// Those that wait pass when it is dropped.
    waiting: watch::Sender<()>,
}

// === impl Gate ===

impl Gate {
    pub(super) fn close(&self, count: usize) {
        let closed = Closed { missing: count, waiting: watch::Sender::new(()) };
        let closed = (count > 0).then_some(closed);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = closed;
    }

    pub(super) async fn pass(&self) {
        let mut waiting = {
            let mut gate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(closed) = gate.as_mut() else { return };
            closed.missing -= 1;
            if closed.missing == 0 {
                *gate = None;
                return;
            }
            closed.waiting.subscribe()
        };
        // Nothing is ever sent: this is the error of the dropped sender.
        let _ = waiting.changed().await;
    }
}
