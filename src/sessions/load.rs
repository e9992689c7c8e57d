//! One load of a session, which any number of callers wait for.

use std::sync::OnceLock;

use tokio::sync::Notify;

use crate::error::Error;

/// A load in progress.
pub(super) struct Load<S> {
    /// `None`: it is no longer wanted.
    result: OnceLock<Option<Result<S, Error>>>,
    done: Notify,
}

// === impl Load ===

impl<S: Clone> Load<S> {
    pub(super) fn new() -> Self {
        Self { result: OnceLock::new(), done: Notify::new() }
    }

    /// Ends it. Only the first end counts.
    pub(super) fn end(&self, result: Option<Result<S, Error>>) {
        // The callers look only once it is set.
        let _ = self.result.set(result);
        self.done.notify_waiters();
    }

    /// Waits for its end. `None`: look again, as the key was removed.
    pub(super) async fn wait(&self) -> Option<Result<S, Error>> {
        loop {
            // Created before the check: it notices an end from here on.
            let done = self.done.notified();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            done.await;
        }
    }
}
