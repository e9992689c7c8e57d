//! One load of a session, which any number of callers wait for.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::select;
use tokio::sync::Notify;

use crate::{
    error::Error,
    rt::{Clock, Nanos, Timestamp, duration},
};

/// A load in progress.
pub(super) struct Load<S> {
    /// `None`: the key was removed meanwhile.
    result: OnceLock<Option<Result<S, Error>>>,
    done: Notify,
    started: Timestamp,
    /// When this elapses, the load is given up: it should have ended by its own timeout, so its task isn't being polled.
    timeout: Nanos,
    is_unwanted: AtomicBool,
}

// === impl Load ===

impl<S: Clone> Load<S> {
    pub(super) fn new(started: Timestamp, timeout: Nanos) -> Self {
        Self {
            result: OnceLock::new(),
            done: Notify::new(),
            started,
            timeout,
            is_unwanted: AtomicBool::new(false),
        }
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        now.since(self.started) >= self.timeout
    }

    /// The key was removed: the loaded session is discarded.
    pub(super) fn discard(&self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed)
    }

    /// Ends it. Only the first end counts.
    pub(super) fn end(&self, result: Option<Result<S, Error>>) {
        let _ = self.result.set(result);
        self.done.notify_waiters();
    }

    /// Waits for its end. `None`: look again.
    pub(super) async fn wait(&self, clock: &dyn Clock) -> Option<Result<S, Error>> {
        // Created before the check: it notices an end from here on.
        let done = self.done.notified();
        if let Some(result) = self.result.get() {
            return result.clone();
        }
        let left = self.timeout.saturating_sub(clock.now().since(self.started));
        match clock.sleep(duration(left)) {
            Ok(timer) => drop(select(Box::pin(done), timer).await),
            Err(_) => done.await,
        }
        self.result.get().cloned().flatten()
    }
}
