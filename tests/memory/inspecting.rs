//! A global allocator that counts, and that searches freed memory for secrets, separately for each thread.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

use crate::support::counting::Counting;

/// `Counting`, and a look at each block before it is freed.
pub(crate) struct Inspecting;

/// What no freed block may contain: the start of every secret in these tests.
const NEEDLE: &[u8] = b"NEEDLE-";

thread_local! {
    // Without a destructor or an allocating initialiser, as the allocator itself uses it.
    static INSPECTS: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`, and counts how many of the blocks that it freed on this thread contain a secret.
pub(crate) fn found_in_freed(work: impl FnOnce()) -> usize {
    FOUND.set(0);
    INSPECTS.set(true);
    work();
    INSPECTS.set(false);
    FOUND.get()
}

impl Inspecting {
    fn inspect(block: *const u8, layout: Layout) {
        // SAFETY: the block is still allocated, and all of it was written: `alloc` and `realloc` zero what is
        // new.
        let block = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        let is_found = block.windows(NEEDLE.len()).any(|window| window == NEEDLE);
        FOUND.set(FOUND.get() + usize::from(is_found));
    }
}

// SAFETY: each method is that of `Counting` with its own arguments, but for memory that is zeroed or read
// before it is freed.
unsafe impl GlobalAlloc for Inspecting {
    /// Zeroed, so that a new block has no needles of an earlier one.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps this function's contract, which is that of `Counting`.
        unsafe { Counting.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if INSPECTS.get() {
            // Moved, so that the old block is seen. SAFETY: as the caller promises, for both blocks.
            unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                return moved;
            }
        }
        // SAFETY: as above; what is written is the end of the new block.
        unsafe {
            let grown = Counting.realloc(block, layout, size);
            if !grown.is_null() && size > layout.size() {
                grown.add(layout.size()).write_bytes(0, size - layout.size());
            }
            grown
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if INSPECTS.get() {
            Self::inspect(block, layout);
        }
        // SAFETY: as above.
        unsafe { Counting.dealloc(block, layout) }
    }
}
