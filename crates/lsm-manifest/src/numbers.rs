//! Numbers for new files.
//!
//! Shared by everyone who creates files; the manifest writes the next free one into every edit, so a number is
//! never given out twice in the life of a store.

use std::sync::atomic::{AtomicU64, Ordering};

use lsm_core::filename::FileNumber;

/// Gives every new file its number.
#[derive(Debug)]
pub struct FileNumbers {
    next: AtomicU64,
}

impl FileNumbers {
    /// Numbers from `next` on, which no file has had.
    pub fn new(next: u64) -> FileNumbers {
        FileNumbers { next: AtomicU64::new(next) }
    }

    /// A number that no file has had.
    pub fn allocate(&self) -> FileNumber {
        // Relaxed: only distinctness counts. Whoever puts a number into an edit has it from this call, so
        // `next` reads a later value by then.
        FileNumber(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives out no number below `next` from now on.
    pub(crate) fn raise_to(&self, next: u64) {
        self.next.fetch_max(next, Ordering::Relaxed);
    }

    /// The number that the next file will get.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}
