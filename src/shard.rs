//! Copies of one thing, so that threads which use it at once don't contend for one counter.

use std::{
    array,
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// One copy for each of a few threads; beyond that, threads share them in turn.
pub(crate) struct Sharded<T> {
    copies: [Apart<T>; SHARDS],
}

/// Lies in cache lines of its own (processors fetch them in pairs).
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

const SHARDS: usize = 8;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

// === impl Sharded ===

impl<T> Sharded<T> {
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        Self { copies: array::from_fn(|_| Apart(make())) }
    }

    /// This thread's copy.
    #[inline]
    pub(crate) fn mine(&self) -> &T {
        &self.copies[index()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.copies.iter().map(|copy| &copy.0)
    }
}

#[inline]
fn index() -> usize {
    let mine = MINE.get();
    if mine < SHARDS { mine } else { choose() }
}

#[cold]
fn choose() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mine = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    MINE.set(mine);
    mine
}
