//! Tells whether the code that runs now is a session's own refresher or hook.
//!
//! A refresher that asks its own session for a token would wait for itself. While it is polled, the session stands in
//! a list of this thread; a demand that is about to wait looks there.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

thread_local! {
    static SESSIONS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A future of the user's, polled as part of a session's work.
pub(super) struct Inside<F> {
    pub(super) session: usize,
    pub(super) future: F,
}

struct Entered;

/// Whether the current code is polled as part of the work of `session`.
pub(super) fn is_inside(session: usize) -> bool {
    SESSIONS.try_with(|sessions| sessions.borrow().contains(&session)).unwrap_or(false)
}

// === impl Inside ===

impl<F: Future + Unpin> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(self.session);
        Pin::new(&mut self.future).poll(cx)
    }
}

// === impl Entered ===

impl Entered {
    fn new(session: usize) -> Self {
        SESSIONS.with_borrow_mut(|sessions| sessions.push(session));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        SESSIONS.with_borrow_mut(|sessions| sessions.pop());
    }
}
