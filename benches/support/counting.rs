//! A global allocator that counts what the current thread does.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Passes everything on to the system's allocator.
#[derive(Debug)]
pub(crate) struct Counting;

/// What a thread has allocated so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocations {
    /// How often, reallocations included.
    pub(crate) count: u64,
    /// How many bytes more than it freed.
    pub(crate) live: i64,
}

thread_local! {
    // Without a destructor and without an initialiser that allocates: it is used from within the allocator.
    static SO_FAR: Cell<Allocations> = const { Cell::new(Allocations { count: 0, live: 0 }) };
    static MOST_LIVE: Cell<i64> = const { Cell::new(0) };
}

/// What the current thread has allocated so far.
pub(crate) fn so_far() -> Allocations {
    SO_FAR.get()
}

/// Runs `work` and says what it allocated on this thread.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> (T, Allocations) {
    let before = so_far();
    let result = work();
    (result, so_far().since(before))
}

/// Runs `work` and says how many bytes more than before it had at once on this thread.
pub(crate) fn most_during<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = so_far().live;
    MOST_LIVE.set(before);
    let result = work();
    (result, MOST_LIVE.get() - before)
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

// SAFETY: each method is the system allocator's with its own arguments; counting touches no allocated memory and
// doesn't allocate.
#[expect(unsafe_code, reason = "the allocator's interface is unsafe")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller keeps this function's contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
