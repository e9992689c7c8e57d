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
    /// On the monotonic clock: the wall clock may be set, and a suspended machine loads nothing.
    started: Nanos,
    /// When this elapses, the load is given up: it should have ended by its own timeout, so its task isn't being polled.
    timeout: Nanos,
    is_unwanted: AtomicBool,
}

/// What has become of a load.
pub(super) enum Waited<S> {
    Ended(Result<S, Error>),
    /// The key was removed: look again.
    Discarded,
    /// Its task isn't being polled: look again, as another load may take its place.
    Overdue,
}

// === impl Load ===

impl<S: Clone> Load<S> {
    pub(super) fn new(started: Nanos, timeout: Nanos) -> Self {
        Self {
            result: OnceLock::new(),
            done: Notify::new(),
            started,
            timeout,
            is_unwanted: AtomicBool::new(false),
        }
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.time_left(now) <= 0
    }

    pub(super) fn time_left(&self, now: Timestamp) -> Nanos {
        self.timeout.saturating_sub(now.monotonic.saturating_sub(self.started))
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

    /// Waits for its end.
    pub(super) async fn wait(&self, clock: &dyn Clock) -> Waited<S> {
        // Created before the check: it notices an end from here on.
        let done = self.done.notified();
        if self.result.get().is_some() {
            return self.waited();
        }
        match clock.sleep(duration(self.time_left(clock.now()))) {
            Ok(timer) => drop(select(Box::pin(done), timer).await),
            Err(_) => done.await,
        }
        self.waited()
    }

    fn waited(&self) -> Waited<S> {
        match self.result.get() {
            Some(Some(result)) => Waited::Ended(result.clone()),
            Some(None) => Waited::Discarded,
            None => Waited::Overdue,
        }
    }
}
