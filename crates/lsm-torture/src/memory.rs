//! How much memory a piece of work asks for, counted at the allocator.
//!
//! A length that is read from a damaged file must not become a buffer that the file does not warrant. Each thread counts
//! for itself, so that lanes on other threads do not disturb; work that hands over to a thread of its own is not seen,
//! nor is what a C library takes past Rust's allocator.
//!
//! # Invariants
//! H1. Counting changes nothing: every request goes on to the system's allocator as it came.
//! H2. A request counts before it is answered, so one that the system refuses shows in the peak all the same.
//! H3. The counters are plain cells without a destructor: counting never allocates.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count for each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread took and not gave back. What it frees for another thread may bring this below zero.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// The most that `HELD` was since [`peak`] began.
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Runs `work` and says how many bytes it held, at most, beyond those that were held before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, u64::try_from(PEAK.get() - before).unwrap_or(0))
}

fn taken(bytes: usize) {
    // A thread that is ending counts no more.
    let held = HELD.try_with(|held| {
        held.set(held.get().saturating_add_unsigned(bytes as u64));
        held.get()
    });
    if let Ok(held) = held {
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held)));
    }
}

fn given_back(bytes: usize) {
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub_unsigned(bytes as u64)));
}

/// What was asked for, or nothing: then it was not taken after all.
fn answered(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        given_back(bytes);
    }
    pointer
}

// SAFETY: every call goes to the system's allocator with its arguments unchanged (H1); counting neither allocates (H3)
// nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps what `GlobalAlloc::alloc` asks of it.
        answered(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps what `GlobalAlloc::alloc_zeroed` asks of it.
        answered(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // The old and the new piece may exist together for a moment.
        taken(bytes);
        // SAFETY: `pointer` came from the same method of the system's allocator, with this layout; the caller keeps the rest.
        let moved = answered(unsafe { System.realloc(pointer, layout, bytes) }, bytes);
        if !moved.is_null() {
            given_back(layout.size());
        }
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: `pointer` came from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_was_held_at_once() {
        let (_, one_by_one) = peak(|| (0..8).for_each(|_| drop(std::hint::black_box(vec![1_u8; 1 << 20]))));
        assert!((1 << 20..2 << 20).contains(&one_by_one), "{one_by_one}");
        let (kept, together) = peak(|| (0..8).map(|_| vec![1_u8; 1 << 20]).collect::<Vec<_>>());
        assert!(together >= 8 << 20, "{together}");
        let (_, after) = peak(|| drop(kept));
        assert_eq!(after, 0);
    }

    #[test]
    fn zeroed_growing_and_refused_memory_counts() {
        let (_, zeroed) = peak(|| std::hint::black_box(vec![0_u8; 4 << 20]));
        assert!(zeroed >= 4 << 20, "{zeroed}");
        let (_, grown) = peak(|| {
            let mut bytes = vec![1_u8; 1 << 20];
            bytes.reserve_exact(3 << 20);
            std::hint::black_box(bytes)
        });
        assert!(grown >= 4 << 20, "{grown}");
        let (refused, asked) = peak(|| Vec::<u8>::new().try_reserve_exact(1 << 60).is_err());
        assert!(refused && asked >= 1 << 60, "{asked}");
    }

    #[test]
    fn threads_count_for_themselves() {
        let other = || std::thread::spawn(|| drop(std::hint::black_box(vec![1_u8; 8 << 20]))).join();
        let (_, here) = peak(other);
        assert!(here < 1 << 20, "{here}");
    }
}
