//! Who owns which part of an arena.
//!
//! A [`Region`] has the bytes of a reservation's entries, an [`Escrow`] the right to so much memory of the
//! index. Neither keeps the arena: counting its owners for each write would be the dearest part of a reservation.

use super::mark::{Need, Taken, Unused};
use super::{Arena, UNIT_BYTES};
use crate::sync::AtomicU64;

/// Bytes of an arena that belong to whoever holds this (A1), for entries.
pub(crate) struct Region {
    /// The arena's number.
    arena: u64,
    start: usize,
    end: usize,
}

impl Region {
    /// For [`Arena::reserve`], which has just taken these bytes.
    pub(super) fn new(arena: &Arena, start: usize, bytes: usize) -> Region {
        Region { arena: arena.id(), start, end: start + bytes }
    }

    /// Takes the first `bytes` (a multiple of the unit) off this region, if there are as many.
    ///
    /// # Panics
    /// When the region is of another arena.
    #[inline]
    pub(crate) fn split<'a>(&mut self, arena: &'a Arena, bytes: usize) -> Option<Room<'a>> {
        assert_eq!(self.arena, arena.id(), "A1: the region lies in this arena");
        debug_assert_eq!(bytes % UNIT_BYTES, 0, "positions count units");
        let middle = self.start.checked_add(bytes).filter(|&middle| middle <= self.end)?;
        let room = Room { arena, start: self.start, bytes };
        self.start = middle;
        Some(room)
    }

    /// Leaves nothing to be split off.
    pub(super) fn close(&mut self) {
        self.end = self.start;
    }
}

/// Bytes split off a region, for one entry.
pub(crate) struct Room<'r> {
    arena: &'r Arena,
    start: usize,
    bytes: usize,
}

impl<'r> Room<'r> {
    pub(crate) fn arena(&self) -> &'r Arena {
        self.arena
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The bytes, to be filled.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes belong to this room alone (A1), which is borrowed mutably.
        unsafe { self.arena.bytes_mut(self.start, self.bytes) }
    }
}

/// The right to extend an arena's index by so many bytes, which were put aside (E2).
pub(crate) struct Escrow {
    /// The arena's number.
    arena: u64,
    bytes: usize,
    used_bytes: usize,
    /// The amortised need (E3).
    amortised_bytes: usize,
    is_first: bool,
}

impl Escrow {
    /// For [`Arena::reserve`], which has just put this aside.
    pub(super) fn new(arena: &Arena, taken: &Taken, need: &Need) -> Escrow {
        Escrow {
            arena: arena.id(),
            bytes: taken.index_bytes,
            used_bytes: 0,
            amortised_bytes: need.amortised_index_bytes,
            is_first: taken.is_first,
        }
    }

    /// What this and `region`, which came with it, have not used.
    ///
    /// # Panics
    /// When they are of another arena.
    pub(super) fn unused(&self, region: &Region, arena: &Arena) -> Unused {
        assert!(self.arena == arena.id() && region.arena == arena.id(), "A1: both are of this arena");
        Unused {
            entry_bytes: region.end - region.start,
            end: region.end,
            index_bytes: self.bytes.saturating_sub(self.used_bytes),
            shared_index_bytes: self.bytes.saturating_sub(self.used_bytes.max(self.amortised_bytes)),
            // E3: what it took from others' parts, those must not give back.
            is_first: self.is_first && self.used_bytes <= self.bytes,
        }
    }

    /// Leaves nothing to be taken.
    pub(super) fn close(&mut self) {
        self.bytes = self.used_bytes;
        self.is_first = false;
    }

    /// Memory for `bytes` of the index.
    ///
    /// # Panics
    /// When so much was not put aside.
    pub(crate) fn take<'a>(&mut self, arena: &'a Arena, bytes: usize) -> Words<'a> {
        assert_eq!(self.arena, arena.id(), "A1: the escrow is of this arena");
        self.used_bytes += bytes;
        // The first reservation may come to use what others leave for it (E3).
        assert!(self.is_first || self.used_bytes <= self.bytes, "E2: the bytes were put aside");
        Words { arena, start: arena.extend_index(bytes), bytes }
    }
}

/// Memory of the index that nobody has seen yet.
pub(crate) struct Words<'r> {
    arena: &'r Arena,
    start: usize,
    bytes: usize,
}

impl<'r> Words<'r> {
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Takes the first `bytes` off.
    pub(crate) fn split(&mut self, bytes: usize) -> Words<'r> {
        assert!(bytes <= self.bytes, "A1: there are so many");
        let words = Words { arena: self.arena, start: self.start, bytes };
        self.start += bytes;
        self.bytes -= bytes;
        words
    }

    /// The `nth` word.
    #[inline]
    pub(crate) fn word(&self, nth: usize) -> &AtomicU64 {
        assert!((nth + 1) * UNIT_BYTES <= self.bytes, "A1: there are so many");
        // SAFETY: the words belong to this piece of the index.
        unsafe { self.arena.word(self.start + nth * UNIT_BYTES) }
    }
}
