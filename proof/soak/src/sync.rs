//! What `src/sync.rs` has in the crate, with threads that are held up at random: before they take a lock or publish a
//! token, and when they look whether a flight is complete.

use std::{
    future::Future,
    hint,
    sync::{Arc, PoisonError},
    thread,
    time::Duration,
};

use futures_util::FutureExt;

pub(crate) use std::{
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::yield_now,
    thread_local,
};

pub(crate) use futures_util::future::Shared;
pub(crate) use tokio::sync::{Notify, futures::Notified};

/// A cell that is set once.
pub(crate) struct OnceLock<T> {
    inner: std::sync::OnceLock<T>,
}

pub(crate) struct ArcSwapOption<T> {
    inner: arc_swap::ArcSwapOption<T>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    hold_up();
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn shared<F>(future: F) -> Shared<F>
where
    F: Future<Output: Clone>,
{
    future.shared()
}

/// Holds this thread up, sometimes.
fn hold_up() {
    match fastrand::u8(..) {
        0 => thread::sleep(Duration::from_micros(1)),
        1..32 => thread::yield_now(),
        32..64 => (0..fastrand::u16(..1000)).for_each(|_| hint::spin_loop()),
        _ => {}
    }
}

// === impl OnceLock ===

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { inner: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        let value = self.inner.get();
        hold_up();
        value
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        hold_up();
        self.inner.set(value)
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        self.inner.get_or_init(init)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

// === impl ArcSwapOption ===

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        Self { inner: arc_swap::ArcSwapOption::empty() }
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Option<Arc<T>>> {
        self.inner.load()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        hold_up();
        self.inner.store(value);
    }
}
