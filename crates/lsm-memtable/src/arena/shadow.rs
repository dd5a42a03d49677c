//! What loom sees of an arena: its atomics cannot overlay bytes, so words live in a vector beside them,
//! and reads and writes of plain bytes are told to cells, which report a race.

use loom::cell::UnsafeCell;

use super::UNIT_BYTES;
use crate::sync::AtomicU64;

/// What a word holds that was not written yet. The arena promises nothing about it; a leaf that looks
/// locked would only make a model wait.
const UNWRITTEN: u64 = 0;

pub(super) struct Shadow {
    words: Vec<AtomicU64>,
    cells: Vec<UnsafeCell<()>>,
}

impl Shadow {
    pub(super) fn new(units: usize) -> Shadow {
        Shadow {
            words: (0..units).map(|_| AtomicU64::new(UNWRITTEN)).collect(),
            cells: (0..units).map(|_| UnsafeCell::new(())).collect(),
        }
    }

    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at / UNIT_BYTES]
    }

    pub(super) fn read(&self, at: usize) {
        self.cells[at / UNIT_BYTES].with(|_| ());
    }

    pub(super) fn write(&self, start: usize, end: usize) {
        self.cells[start / UNIT_BYTES..end / UNIT_BYTES].iter().for_each(|cell| cell.with_mut(|_| ()));
    }
}
