//! How far an arena is filled from both ends, in one word.
//!
//! ```text
//! 63       62       61          31 30           0
//! ┌────────┬────────┬─────────────┬─────────────┐
//! │ frozen │ shared │ back units  │ front units │
//! └────────┴────────┴─────────────┴─────────────┘
//! ```
//!
//! Entries take the front, the index takes the back: a reservation puts aside what its inserts may need at worst,
//! and gives back what they did not ([`super::Escrow`]). What it did not use of the front goes back, too, if nobody has
//! taken more since: a batch that was refused elsewhere leaves no trace.
//!
//! At worst each insert splits a leaf, but many inserts cannot all do so: it takes some to fill a leaf again.
//! The *amortised* need of `n` inserts is therefore several times smaller. It holds for all inserts together and not
//! for those of one reservation, which may find the leaves that others filled. So only the first
//! reservation of an arena puts aside no more than that, marks the arena as *shared*, and while it lives the others keep
//! back their part of the common need. If it has taken of theirs, the arena stays so.
//!
//! # Invariants
//! E1. Front and back never pass each other, also not for a moment: what does not fit changes nothing.
//! E2. The back covers the index: bytes that the index has and those that living reservations may still take.
//! E3. While the arena is shared, whoever came after the first reservation leaves at least the amortised
//!     need of its entries at the back. That this is enough for all inserts is for others to see to: none inserts more
//!     entries than it asked for (R1 in [`crate::reservation`]), and these take no more than T3 in [`crate::insert`] says.

use super::UNIT_BYTES;
use crate::sync::{self, AtomicU64, Ordering};

const BITS: u32 = 31;
const FRONT: u64 = (1 << BITS) - 1;
const SHARED: u64 = 1 << 62;
const FROZEN: u64 = 1 << 63;

/// Units that either end can count.
pub(super) const UNITS_MAX: usize = FRONT as usize;

/// What a reservation asks for, in bytes that are multiples of the unit.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// How many may be inserted (R1 in [`crate::reservation`]); the arena itself counts bytes.
    pub(crate) entries: usize,
    pub(crate) entry_bytes: usize,
    /// What the index may take if each insert finds a full leaf.
    pub(crate) worst_index_bytes: usize,
    /// What the index may take if these are the first entries.
    pub(crate) amortised_index_bytes: usize,
}

/// What a reservation got.
pub(super) struct Taken {
    /// Where its entries begin, in bytes.
    pub(super) start: usize,
    pub(super) index_bytes: usize,
    /// Whether it put aside the amortised need only (E3).
    pub(super) is_first: bool,
}

/// What a reservation leaves.
pub(super) struct Unused {
    /// Bytes of its entries, the last that it has.
    pub(super) entry_bytes: usize,
    /// Where they end.
    pub(super) end: usize,
    pub(super) index_bytes: usize,
    /// Of these, what can be given back while another one counts with its amortised need (E3).
    pub(super) shared_index_bytes: usize,
    pub(super) is_first: bool,
}

/// It has a cache line of its own: writers move it while readers use what lies beside it.
#[repr(align(64))]
pub(super) struct Mark(AtomicU64);

#[derive(Clone, Copy)]
struct Filled(u64);

impl Filled {
    fn front_bytes(self) -> usize {
        (self.0 & FRONT) as usize * UNIT_BYTES
    }

    fn back_bytes(self) -> usize {
        (self.0 >> BITS & FRONT) as usize * UNIT_BYTES
    }

    fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }

    fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }
}

/// So many bytes at the back, as a part of the word.
fn at_back(bytes: usize) -> u64 {
    debug_assert_eq!(bytes % UNIT_BYTES, 0, "the mark counts units");
    ((bytes / UNIT_BYTES) as u64) << BITS
}

impl Mark {
    /// Position 0 is taken: it means "none".
    pub(super) fn new() -> Mark {
        Mark(AtomicU64::new(1))
    }

    fn filled(&self) -> Filled {
        Filled(self.0.load(Ordering::Relaxed))
    }

    /// Takes what is needed from an arena of this capacity, or nothing (E1).
    pub(super) fn take(&self, capacity: usize, need: &Need) -> Option<Taken> {
        let mut seen = self.filled();
        loop {
            let is_first = seen.front_bytes() == UNIT_BYTES && !seen.is_shared();
            let index_bytes = if is_first { need.amortised_index_bytes } else { need.worst_index_bytes };
            let filled = seen.front_bytes() + seen.back_bytes();
            let end = filled.checked_add(need.entry_bytes)?.checked_add(index_bytes)?;
            if end > capacity || seen.is_frozen() {
                return None;
            }
            let shared = if is_first { SHARED } else { 0 };
            let next = (seen.0 | shared) + (need.entry_bytes / UNIT_BYTES) as u64 + at_back(index_bytes);
            match sync::advance(&self.0, seen.0, next) {
                Ok(()) => return Some(Taken { start: seen.front_bytes(), index_bytes, is_first }),
                Err(found) => seen = Filled(found),
            }
        }
    }

    /// Ends a reservation. Its bytes at the front go back only if nothing was taken behind them.
    pub(super) fn give_back(&self, unused: &Unused) {
        let mut seen = self.filled();
        loop {
            let is_shared_by_another = seen.is_shared() && !unused.is_first;
            let back = if is_shared_by_another { unused.shared_index_bytes } else { unused.index_bytes };
            let is_topmost = seen.front_bytes() == unused.end;
            let front = if is_topmost { unused.entry_bytes / UNIT_BYTES } else { 0 };
            let shared = if unused.is_first { SHARED } else { 0 };
            match sync::advance(&self.0, seen.0, seen.0 - shared - at_back(back) - front as u64) {
                Ok(()) => return,
                Err(found) => seen = Filled(found),
            }
        }
    }

    pub(super) fn freeze(&self) {
        self.0.fetch_or(FROZEN, Ordering::Relaxed);
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.filled().is_frozen()
    }

    /// Bytes at the back.
    pub(super) fn back_bytes(&self) -> usize {
        self.filled().back_bytes()
    }

    /// Bytes at both ends.
    pub(super) fn used_bytes(&self) -> usize {
        let filled = self.filled();
        filled.front_bytes() + filled.back_bytes()
    }
}
