//! The shared future of a flight's outcome.
//!
//! Waiters poll clones of one [`Shared`]. It wraps a cell that is set once, not the refresh itself. The
//! wrapped future registers no waker, so a poll that begins after the cell was set is ready.
//!
//! Completing sets the cell, then polls a clone of the `Shared` until it is ready. A single poll isn't
//! enough: a concurrent poll that began earlier may have missed the cell, and nothing would wake its waiters.
//! It is a loop, not an `await`, because an awaiting clone could be lost to the same race
//! (rust-lang/futures-rs#2706).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::sync::{OnceLock, Shared, shared, yield_now};

use super::machine::Outcome;

/// One waiter's clone of the shared future.
pub(super) type Awaited = Shared<Completed>;

/// The outcome of a flight, to be awaited by any number of waiters.
#[derive(Clone)]
pub(super) struct Completion {
    cell: Arc<OnceLock<Arc<Outcome>>>,
    shared: Shared<Completed>,
}

/// Ready once the cell is set. Registers no waker: completing polls it.
pub(super) struct Completed {
    cell: Arc<OnceLock<Arc<Outcome>>>,
}

// === impl Completion ===

impl Completion {
    pub(super) fn new() -> Self {
        let cell = Arc::default();
        let completed = Completed { cell: Arc::clone(&cell) };
        Self { cell, shared: shared(completed) }
    }

    pub(super) fn awaited(self) -> Awaited {
        self.shared
    }

    /// Wakes the waiters. Only the first outcome counts.
    pub(super) fn complete(self, outcome: Arc<Outcome>) {
        if self.cell.set(outcome).is_err() {
            return;
        }
        let mut shared = self.shared;
        let mut cx = Context::from_waker(Waker::noop());
        // Each poll that begins from here on is ready; the module docs say why this is a loop.
        while Pin::new(&mut shared).poll(&mut cx).is_pending() {
            yield_now();
        }
    }
}

// === impl Completed ===

impl Future for Completed {
    type Output = Arc<Outcome>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Arc<Outcome>> {
        let outcome = self.cell.get().map(Arc::clone);
        #[cfg(test)]
        tests::slow_down();
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests;
