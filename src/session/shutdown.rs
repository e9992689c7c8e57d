//! Waiting for what runs before a process ends.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use futures_util::future::{Either, select};

use crate::error::{Error, ErrorKind};

use super::{Session, reentrancy::is_entered};

// === impl Session ===

impl Session {
    /// Waits for the refresh in flight and its save before the program exits.
    ///
    /// No further refresh starts. Callers can still join the one in flight, and a valid token is still
    /// returned. An unsaved change is passed to the save hook again, without a delay.
    ///
    /// # Errors
    ///
    /// - [`is_shutdown_timeout`](Error::is_shutdown_timeout): timed out; the refresh continues.
    /// - [`is_unsaved`](Error::is_unsaved): the token, or the sign-out, couldn't be saved.
    /// - [`is_reentrant`](Error::is_reentrant): called from the refresher, a hook or a listener.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait; the session stays shut down.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        shared.turn(|turn| turn.shut_down());
        if is_entered(shared.id()) {
            return Err(Error::new(ErrorKind::Reentrant));
        }
        let mut timer =
            shared.settings.clock.sleep(timeout).map_err(|_| Error::new(ErrorKind::MissingRuntime))?;
        let mut has_retried = false;
        loop {
            let changed = shared.changed();
            let (done, next_timeout) = shared.turn(|turn| {
                let done = match () {
                    () if !turn.is_at_rest() => None,
                    () if !has_retried && turn.save_now() => {
                        has_retried = true;
                        None
                    }
                    () => Some(turn.is_unsaved()),
                };
                (done, turn.next_timeout())
            });
            match done {
                Some(true) => return Err(Error::new(ErrorKind::Unsaved)),
                Some(false) => return Ok(()),
                None => {}
            }
            let mut changed = pin!(changed);
            let changed = select(&mut changed, shared.sleep_or_forever(next_timeout));
            if let Either::Right(_) = select(changed, &mut timer).await {
                return Err(Error::new(ErrorKind::ShutdownTimeout));
            }
        }
    }

    /// Waits until no refresh, save or revocation is in progress, ignoring those that are past their
    /// timeouts.
    ///
    /// Returns immediately when called from the refresher, a hook or a listener.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait.
    pub async fn idle(&self) {
        while !is_entered(self.shared.id()) {
            let changed = self.shared.changed();
            let Some(left) = self.shared.turn(|turn| turn.next_timeout()) else { return };
            select(pin!(changed), self.shared.sleep_or_forever(Some(left))).await;
            // A task that is still driven ends by its own timer, which fires at the same time: let it.
            yield_once().await;
        }
    }
}

/// On a current-thread runtime, lets tasks that have been woken run first.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}
