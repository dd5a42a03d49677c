//! Room in a memtable, taken before the log is touched and filled after.
//!
//! # Invariants
//! R1. A reservation has exactly the bytes of its entries: their heights are drawn when it is made, and
//!     drawn again from the same seed when they arrive.
//! R2. The seed is the place where the reservation starts, so that one and the same history always
//!     builds one and the same memtable.

use std::sync::Arc;

use lsm_core::key::{Kind, SeqNo, pack_trailer};

use crate::arena::Region;
use crate::height::Heights;
use crate::memtable::Memtable;
use crate::node::node_bytes;
use crate::skiplist::Finger;

/// What a reservation has to know of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntrySize {
    /// What the entry does.
    pub kind: Kind,
    /// Bytes of the user key.
    pub key_bytes: usize,
    /// Bytes of the value, or of the end key of a range deletion.
    pub value_bytes: usize,
}

/// Exact bytes of `entries` with these heights; `usize::MAX` when one of them fits no arena.
pub(crate) fn bytes_of(mut heights: Heights, entries: impl Iterator<Item = EntrySize>) -> usize {
    entries.fold(0_usize, |sum, entry| {
        let bytes = node_bytes(heights.draw(), entry.key_bytes, entry.value_bytes).unwrap_or(usize::MAX);
        sum.saturating_add(bytes)
    })
}

/// Room for the entries of one batch, to be inserted in the order in which it was asked for.
///
/// Room that is dropped unused stays unused.
pub struct Reservation {
    memtable: Arc<Memtable>,
    region: Region,
    heights: Heights,
    points: Finger,
}

impl Reservation {
    pub(crate) fn new(memtable: &Arc<Memtable>, region: Region, heights: Heights) -> Reservation {
        Reservation { memtable: Arc::clone(memtable), region, heights, points: Finger::NONE }
    }

    /// Inserts the next entry; readers may see it before this returns.
    ///
    /// Cannot fail: the room is there. No two entries of a memtable have the same key and sequence
    /// number; which of such two a reader meets is left open.
    ///
    /// # Panics
    /// When the entry is not the next of those that the room was reserved for.
    pub fn insert(&mut self, user_key: &[u8], seq: SeqNo, kind: Kind, value: &[u8]) {
        let height = self.heights.draw();
        let room = node_bytes(height, user_key.len(), value.len())
            .and_then(|bytes| self.region.split(self.memtable.arena(), bytes))
            .expect("R1: entries come as they were reserved");
        let trailer = pack_trailer(seq, kind as u8);
        match kind {
            Kind::RangeDeletion => {
                let mut finger = Finger::NONE;
                self.memtable.ranges().insert(room, height, user_key, trailer, value, &mut finger);
                self.memtable.ranges().leave_finger(&finger);
            }
            Kind::Value | Kind::Deletion | Kind::Merge | Kind::SingleDeletion => {
                self.memtable.filter().add(user_key);
                self.memtable.points().insert(room, height, user_key, trailer, value, &mut self.points);
            }
        }
        self.memtable.count(kind);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memtable.points().leave_finger(&self.points);
    }
}
