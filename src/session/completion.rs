//! Where a flight's waiters meet its outcome.
//!
//! Waiters share a [`Shared`], not over the refresh but over a cell that is set once: such a future registers no waker
//! of its own, so a poll that begins after the cell is set is ready whatever else happens.
//!
//! Who opens the gate sets the cell, and then polls a clone of the `Shared` until it is ready: a poll by somebody else
//! that began before the cell was set may hold the `Shared` for a moment, and nobody would wake the others after it.
//! It is a loop and no `await`, as an awaiting clone could itself be put to sleep by that poll
//! (rust-lang/futures-rs#2706).

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    thread,
};

use futures_util::{FutureExt, future::Shared};

use super::machine::Outcome;

/// The place where a flight's waiters meet its outcome.
#[derive(Clone)]
pub(super) struct Gate {
    cell: Arc<OnceLock<Arc<Outcome>>>,
    shared: Shared<Landed>,
}

/// Ready once the cell is set. Registers no waker: who sets the cell polls it.
pub(super) struct Landed {
    cell: Arc<OnceLock<Arc<Outcome>>>,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new() -> Self {
        let cell = Arc::default();
        let landed = Landed { cell: Arc::clone(&cell) };
        Self { cell, shared: landed.shared() }
    }

    pub(super) fn wait(&self) -> Shared<Landed> {
        self.shared.clone()
    }

    /// Lets the waiters go. Only the first outcome counts.
    pub(super) fn open(self, outcome: Arc<Outcome>) {
        if self.cell.set(outcome).is_err() {
            return;
        }
        let mut shared = self.shared;
        let mut cx = Context::from_waker(Waker::noop());
        // Each poll that begins from here on is ready; see the module docs for why this is a loop.
        while Pin::new(&mut shared).poll(&mut cx).is_pending() {
            thread::yield_now();
        }
    }
}

// === impl Landed ===

impl Future for Landed {
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
