//! An allocator that counts: how often one stretch of code allocates, and how much it holds.
//!
//! Given: a program that makes it its global allocator and says what is watched. Decides: nothing. Refuses: to see what AWS-LC and libopus take from C's allocator.
//!
//! JUSTIFICATION: only a global allocator sees every allocation, and its trait is unsafe to implement.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with counters of what happens while [`watched`].
pub struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn note(allocations: u64, bytes: i64) {
    // A thread that is ending has no counters any more, and none of ours is measured then.
    let _ = WATCHED.try_with(|watched| {
        if watched.get() {
            COUNT.set(COUNT.get() + allocations);
            HELD.set(HELD.get() + bytes);
        }
    });
}

// SAFETY: every call goes to the system's allocator with the arguments it came with; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: the caller's promise is passed on; `place` came from the system's allocator, as all do.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(1, bytes as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on; `place` came from the system's allocator, as all do.
        unsafe { System.realloc(place, layout, bytes) }
    }
}

/// Counts what this thread does from now on.
pub fn watch() {
    WATCHED.set(true);
}

/// Counts what `run` does on this thread.
pub fn watched<T>(run: impl FnOnce() -> T) -> T {
    WATCHED.set(true);
    let value = run();
    WATCHED.set(false);
    value
}

/// Allocations of this thread so far, while watched.
pub fn allocations() -> u64 {
    COUNT.get()
}

/// Bytes that this thread took less those it gave back, while watched, since [`forget`].
pub fn held_bytes() -> i64 {
    HELD.get()
}

/// Begins anew with what is held.
pub fn forget() {
    HELD.set(0);
}
