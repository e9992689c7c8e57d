//! A global allocator that counts, and that searches freed memory for secrets, separately for each thread.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

use crate::support::counting::Counting;

/// `Counting`, and a look at each block before it is freed.
pub(crate) struct Inspecting;

/// What no freed block may contain: the start of the client's secrets and of R1, the client's secrets in
/// base64, and the start of the tokens in a response.
pub(crate) const NEEDLES: [&[u8]; 3] = [b"NEEDLE-1", b"d2ViOk5FRURMRS0x", b"NEEDLE-2"];

thread_local! {
    // Without a destructor or an allocating initialiser, as the allocator itself uses it.
    static INSPECTS: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<[usize; NEEDLES.len()]> = const { Cell::new([0; NEEDLES.len()]) };
}

/// Runs `work`, and counts how many blocks that it freed on this thread contain each needle.
pub(crate) fn found_in_freed(work: impl FnOnce()) -> [usize; NEEDLES.len()] {
    FOUND.set([0; NEEDLES.len()]);
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
        let mut found = FOUND.get();
        for (needle, found) in NEEDLES.iter().zip(&mut found) {
            *found += usize::from(block.windows(needle.len()).any(|window| window == *needle));
        }
        FOUND.set(found);
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
