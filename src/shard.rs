//! Copies of a value, so that threads don't contend for one reference count.

use std::{array, cell::Cell, ops::Deref, sync::Arc};

use crate::sync::{AtomicUsize, Ordering, thread_local};

/// A value for each of a few threads; beyond that, threads share.
pub(crate) struct Sharded<T> {
    shards: [T; SHARDS],
}

/// An `Arc` with several reference counts: each thread clones the [`Handle`] of its own.
pub(crate) struct SpreadArc<T> {
    handles: Arc<Sharded<Handle<T>>>,
}

/// A reference to the value of a [`SpreadArc`].
pub(crate) struct Handle<T> {
    inner: Arc<Padded<T>>,
}

/// In cache lines of its own, with its reference count (processors fetch them in pairs).
#[repr(align(128))]
struct Padded<T> {
    value: Arc<T>,
}

const SHARDS: usize = 8;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

// === impl Sharded ===

impl<T> Sharded<T> {
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        Self { shards: array::from_fn(|_| make()) }
    }

    /// This thread's shard.
    #[inline]
    pub(crate) fn get(&self) -> &T {
        &self.shards[index()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter()
    }
}

// === impl SpreadArc ===

impl<T> SpreadArc<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = Arc::new(value);
        let handle = || Handle { inner: Arc::new(Padded { value: Arc::clone(&value) }) };
        Self { handles: Arc::new(Sharded::new(handle)) }
    }

    /// This thread's handle, to be cloned.
    #[inline]
    pub(crate) fn handle(&self) -> &Handle<T> {
        self.handles.get()
    }
}

impl<T> Clone for SpreadArc<T> {
    fn clone(&self) -> Self {
        Self { handles: Arc::clone(&self.handles) }
    }
}

// === impl Handle ===

impl<T> Clone for Handle<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner.value
    }
}

#[inline]
fn index() -> usize {
    let index = SHARD.with(Cell::get);
    if index < SHARDS { index } else { assign() }
}

#[cold]
fn assign() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let index = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.with(|shard| shard.set(index));
    index
}
