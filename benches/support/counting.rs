//! A global allocator that counts the current thread's allocations.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
};

/// Forwards to the system's allocator.
#[derive(Debug)]
pub(crate) struct Counting;

/// The allocations of a thread so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocations {
    /// Includes reallocations.
    pub(crate) count: u64,
    /// Bytes allocated and not freed.
    pub(crate) live: i64,
}

thread_local! {
    // Neither a destructor nor an initializer that allocates: these are used from within the allocator.
    static SO_FAR: Cell<Allocations> = const { Cell::new(Allocations { count: 0, live: 0 }) };
    static MOST_LIVE: Cell<i64> = const { Cell::new(0) };
    static LIVE_BY_SIZE: [Cell<i64>; LARGEST + 1] = const { [const { Cell::new(0) }; LARGEST + 1] };
}

/// Larger allocations aren't counted by size.
const LARGEST: usize = 2048;

/// The allocations of the current thread so far.
pub(crate) fn so_far() -> Allocations {
    SO_FAR.get()
}

/// Runs `work` and returns its allocations on this thread.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> (T, Allocations) {
    let before = so_far();
    let result = work();
    (result, so_far().since(before))
}

/// Runs `work` and returns the largest number of bytes that it held at once on this thread.
pub(crate) fn most_during<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = so_far().live;
    MOST_LIVE.set(before);
    let result = work();
    (result, MOST_LIVE.get() - before)
}

/// Runs `work` and returns how many allocations of each size it left on this thread.
pub(crate) fn left_by_size<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<usize, i64>) {
    let counts = || LIVE_BY_SIZE.with(|sizes| sizes.each_ref().map(Cell::get));
    let before = counts();
    let result = work();
    let after = counts();
    let left = (0..=LARGEST).map(|size| (size, after[size] - before[size]));
    (result, left.filter(|(_, count)| *count != 0).collect())
}

fn note_size(size: usize, count: i64) {
    if size <= LARGEST {
        LIVE_BY_SIZE.with(|sizes| sizes[size].set(sizes[size].get() + count));
    }
}

fn note(count: u64, bytes: i64) {
    let Allocations { count: before, live } = SO_FAR.get();
    SO_FAR.set(Allocations { count: before + count, live: live + bytes });
    MOST_LIVE.set(MOST_LIVE.get().max(live + bytes));
}

// === impl Allocations ===

impl Allocations {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, live: self.live - earlier.live }
    }
}

// === impl Counting ===

// SAFETY: each method is the system allocator's with its own arguments; counting touches no allocated memory
// and doesn't allocate.
#[expect(unsafe_code, reason = "the allocator's interface is unsafe")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        note_size(layout.size(), 1);
        // SAFETY: the caller keeps this function's contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        note_size(layout.size(), 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        note_size(layout.size(), -1);
        note_size(size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        note_size(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
