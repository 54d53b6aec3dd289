//! What a case may cost: memory, counted by the allocator, and time of its own thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nix::libc;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
pub struct Counting;

fn count(change: isize) {
    // at the end of a thread there is nothing to count in any more
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A case may have so much memory at once: many times what the longest of them is.
const MEMORY: isize = 96 << 20;
/// And so many seconds of a processor: no case is meant to need a hundredth of that, on whatever machine.
const SECONDS: i64 = 20;

fn seconds() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // fills what it is given
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec
}

/// Runs a case; it must not need too much.
pub fn bounded<T>(case: impl FnOnce() -> T) -> T {
    let (before, begun) = (NOW.get(), seconds());
    MOST.set(before);
    let result = case();
    let (memory, time) = (MOST.get() - before, seconds() - begun);
    assert!(memory < MEMORY, "{memory} bytes of memory");
    assert!(time < SECONDS, "{time} seconds");
    result
}
