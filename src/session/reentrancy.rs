//! Detects re-entrancy. While a refresher, a hook or a listener runs, its session is on a thread-local stack,
//! which is checked before anything waits.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::sync::thread_local;

thread_local! {
    static SESSIONS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A user's future, polled as part of a session's work.
pub(super) struct Tracked<F> {
    pub(super) session: usize,
    pub(super) future: F,
}

/// User code of a session is running until this is dropped.
pub(super) struct Entered(());

/// Whether the current code runs as part of the work of `session`.
pub(super) fn is_entered(session: usize) -> bool {
    SESSIONS.try_with(|sessions| sessions.borrow().contains(&session)).unwrap_or(false)
}

// === impl Tracked ===

impl<F: Future + Unpin> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _guard = Entered::new(self.session);
        Pin::new(&mut self.future).poll(cx)
    }
}

// === impl Entered ===

impl Entered {
    /// At the end of its thread, a runtime in a thread-local drops its tasks after the stack is gone. Nothing is
    /// tracked then.
    pub(super) fn new(session: usize) -> Self {
        let _ = SESSIONS.try_with(|sessions| sessions.borrow_mut().push(session));
        Self(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = SESSIONS.try_with(|sessions| sessions.borrow_mut().pop());
    }
}
