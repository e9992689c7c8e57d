//! What synchronises threads: one place, so that the model checker in `proof/model` can put its own here.
//!
//! The files of `session/` and `shard.rs` take from here all that one thread can observe of another, except `Arc`.

use std::{future::Future, sync::PoisonError};

use futures_util::FutureExt;

pub(crate) use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::yield_now,
    thread_local,
};

pub(crate) use arc_swap::ArcSwapOption;
pub(crate) use futures_util::future::Shared;
pub(crate) use tokio::sync::{Notify, futures::Notified};

/// Locks a mutex, also after a panic while it was locked.
///
/// The data stays consistent: the only user code that runs under a lock of this crate is the clone of an inner
/// service, which changes nothing, and a map's use of its keys (hash, comparison, clone and drop).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A future whose clones share its output.
pub(crate) fn shared<F>(future: F) -> Shared<F>
where
    F: Future<Output: Clone>,
{
    future.shared()
}
