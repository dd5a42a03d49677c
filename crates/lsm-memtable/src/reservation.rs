//! Room in a memtable, taken before the log is touched and filled after.
//!
//! # Invariants
//! R1. A reservation has exactly the bytes of its entries, and at least those of the index that its inserts need
//!     ([`crate::arena`]): no more of them than it was made for, whatever their size, or the index would outgrow what T3
//!     puts aside for them. What was not needed is given back when the reservation is dropped.
//! R2. Nothing is drawn at random but from the places of entries, so that one and the same history always
//!     builds one and the same memtable.

use std::sync::Arc;

use lsm_core::key::{Kind, SeqNo, pack_trailer};

use crate::arena::{Escrow, Need, Region, UNIT_BYTES};
use crate::entry::entry_bytes;
use crate::insert::{Hint, INSERTS_PER_SPLIT, SPLIT_BYTES};
use crate::memtable::Memtable;

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

impl Need {
    /// What `entries` need; an entry that fits no arena needs more than any has.
    pub(crate) fn of(entries: impl Iterator<Item = EntrySize>) -> Need {
        let (mut len, mut bytes) = (0_usize, 0_usize);
        for entry in entries {
            len += 1;
            bytes = bytes.saturating_add(entry_bytes(entry.key_bytes, entry.value_bytes).unwrap_or(usize::MAX));
        }
        let worst = len.saturating_mul(SPLIT_BYTES);
        Need {
            entries: len,
            entry_bytes: bytes,
            worst_index_bytes: worst,
            // T3; the mark counts units.
            amortised_index_bytes: (worst / INSERTS_PER_SPLIT).next_multiple_of(UNIT_BYTES),
        }
    }
}

/// Room for the entries of one batch, to be inserted in the order in which it was asked for.
///
/// Room that is dropped unused can be reserved again if nobody has reserved more since; else it stays unused.
pub struct Reservation {
    memtable: Arc<Memtable>,
    region: Region,
    escrow: Escrow,
    /// How many entries are still to come (R1).
    entries: usize,
    points: Hint,
}

impl Reservation {
    /// Room in `memtable` for `entries` entries, which its arena has just given.
    pub(crate) fn new(memtable: &Arc<Memtable>, (region, escrow): (Region, Escrow), entries: usize) -> Reservation {
        Reservation { memtable: Arc::clone(memtable), region, escrow, entries, points: Hint::NONE }
    }

    /// Inserts the next entry; readers may see it before this returns.
    ///
    /// Cannot fail: the room is there. No two entries of a memtable have the same key and sequence
    /// number; which of such two a reader meets is left open.
    ///
    /// # Panics
    /// When the entry is not the next of those that the room was reserved for, as far as that shows: it is one more than
    /// there are, or takes more than what is left of their bytes (R1).
    pub fn insert(&mut self, user_key: &[u8], seq: SeqNo, kind: Kind, value: &[u8]) {
        let Reservation { memtable, region, escrow, entries, points } = self;
        *entries = entries.checked_sub(1).expect("R1: no more entries come than were reserved");
        let room = entry_bytes(user_key.len(), value.len())
            .and_then(|bytes| region.split(memtable.arena(), bytes))
            .expect("R1: entries come as they were reserved");
        let key = (user_key, pack_trailer(seq, kind as u8));
        match kind {
            Kind::RangeDeletion => {
                let mut hint = Hint::NONE;
                memtable.ranges().insert(room, key, value, escrow, &mut hint);
                memtable.ranges().leave_hint(&hint);
            }
            Kind::Value | Kind::Deletion | Kind::Merge | Kind::SingleDeletion => {
                memtable.filter().add(user_key);
                memtable.points().insert(room, key, value, escrow, points);
            }
        }
        memtable.count(kind);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memtable.points().leave_hint(&self.points);
        self.memtable.arena().settle(&mut self.region, &mut self.escrow);
    }
}
