//! The order of a leaf's slots, its length and its state in one word.
//!
//! ```text
//! 63     62       60           8        4       0
//! ┌──────┬────────┬─────┬──────┬────────┬───────┐
//! │ dead │ locked │  …  │ slot │ slot   │ len   │
//! │      │        │     │ at 1 │ at 0   │       │
//! └──────┴────────┴─────┴──────┴────────┴───────┘
//! ```
//!
//! Slots are filled in the order in which entries come and stay as they are; which one is the first, the
//! second … of the keys is told here, four bits each. So one store adds an entry in its right place, and a
//! word once read describes the leaf as it was then, for ever (Y. Mao, E. Kohler and R. Morris, "Cache Craftiness for
//! Fast Multicore Key-Value Storage", EuroSys 2012).
//!
//! # Invariants
//! W1. The first `len` ranks name the slots 0 to `len - 1`, each once; the other ranks are zero.

/// Entries that a leaf has room for: 14 times four bits leave two for its state.
#[cfg(not(loom))]
pub(crate) const SLOTS: usize = 14;

/// The fewest of which a split half has room for one more between its entries.
#[cfg(loom)]
pub(crate) const SLOTS: usize = 3;

const BITS: usize = 4;
const LEN: u64 = (1 << BITS) - 1;
const LOCKED: u64 = 1 << 62;
const DEAD: u64 = 1 << 63;
const _: () = assert!(SLOTS <= 14);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Perm(u64);

impl Perm {
    pub(crate) const EMPTY: Perm = Perm(0);

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Perm {
        Perm(bits)
    }

    #[inline]
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// The slots 0 to `len - 1`, in this order.
    pub(crate) fn in_order(len: usize) -> Perm {
        (0..len).fold(Perm::EMPTY, Perm::with)
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        (self.0 & LEN) as usize
    }

    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.len() == SLOTS
    }

    /// The slot of the entry that `rank` others precede.
    #[inline]
    pub(crate) fn slot(self, rank: usize) -> usize {
        debug_assert!(rank < self.len(), "W1: there is such a rank");
        (self.0 >> (BITS * (rank + 1)) & LEN) as usize
    }

    /// The order with slot `len`, too, at `rank`; what was there and behind moves up.
    #[inline]
    pub(crate) fn with(self, rank: usize) -> Perm {
        debug_assert!(rank <= self.len() && !self.is_full(), "W1: there is room");
        let shift = BITS * (rank + 1);
        let below = self.0 & ((1 << shift) - 1);
        let behind = (self.0 & !(LOCKED | DEAD)) >> shift << (shift + BITS);
        Perm((below | (self.len() as u64) << shift | behind) + 1)
    }

    #[inline]
    pub(crate) fn locked(self) -> Perm {
        Perm(self.0 | LOCKED)
    }

    /// The last state of a leaf that others have replaced.
    #[inline]
    pub(crate) fn dead(self) -> Perm {
        Perm(self.0 & !LOCKED | DEAD)
    }

    #[inline]
    pub(crate) fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    #[inline]
    pub(crate) fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn an_order_is_that_of_a_vector_with_the_same_insertions(ranks: Vec<u8>) -> bool {
            // Covers W1.
            let (mut perm, mut slots) = (Perm::EMPTY, Vec::new());
            ranks.into_iter().take(SLOTS).all(|rank| {
                let rank = usize::from(rank) % (slots.len() + 1);
                slots.insert(rank, slots.len());
                perm = perm.with(rank);
                perm.len() == slots.len() && (0..slots.len()).all(|rank| perm.slot(rank) == slots[rank])
            })
        }
    }

    #[test]
    fn the_state_leaves_the_order_alone() {
        let full = Perm::in_order(SLOTS);
        let slots = |perm: Perm| (0..perm.len()).map(|rank| perm.slot(rank)).collect::<Vec<_>>();
        assert!(full.is_full() && !full.is_locked() && !full.is_dead());
        for changed in [full.locked(), full.dead(), full.locked().dead()] {
            assert_eq!(slots(changed), (0..SLOTS).collect::<Vec<_>>());
        }
        assert!(full.locked().is_locked());
        assert!(full.locked().dead().is_dead() && !full.locked().dead().is_locked());
        assert_eq!(Perm::in_order(3).locked().with(3), Perm::in_order(4), "who publishes unlocks");
    }
}
