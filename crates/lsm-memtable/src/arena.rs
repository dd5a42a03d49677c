//! A fixed piece of memory that is handed out once, front to back, by an atomic fill mark.
//!
//! Nothing in an arena ever moves or is freed before the arena is, so a position is a plain number:
//! 32 bits that count [`UNIT_BYTES`], which reaches 32 GiB. Position 0 is never handed out and means
//! "none". The memory comes from outside (a `Vec`, a mapping with huge pages, a pooled buffer); its
//! contents do not matter, every byte is written before it is read.
//!
//! # Invariants
//! A1. The bytes of a [`Region`] belong to that region alone: regions come from disjoint advances of the
//!     fill mark, and are split but never copied.
//! A2. The fill mark never passes the end of the memory, also not for a moment: a reservation that does
//!     not fit changes nothing.
//! A3. After [`Arena::freeze`] the fill mark stands still.
//! A4. Between [`Arena::new`] and drop nobody but the arena reaches the memory.

#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::sync::{self, AtomicU64, Ordering};

/// What positions count, and the alignment of everything in an arena.
pub(crate) const UNIT_BYTES: usize = 8;

/// Largest capacity that 32-bit positions reach.
const CAPACITY_MAX: usize = (u32::MAX as usize).saturating_mul(UNIT_BYTES);

/// Bit of the fill mark that refuses all further reservations (A3).
const FROZEN: u64 = 1 << 63;

/// A reservation did not fit, or came after the freeze; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArenaFull {
    /// Bytes that the reservation asked for.
    pub needed: usize,
    /// Bytes that the arena has in all, used or not.
    pub capacity: usize,
}

impl fmt::Display for ArenaFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no room for {} more bytes in an arena of {}", self.needed, self.capacity)
    }
}

impl std::error::Error for ArenaFull {}

/// The fill mark has a cache line of its own: writers move it while readers use `base`.
#[repr(align(64))]
struct FillMark(AtomicU64);

/// Arenas that were made; their number tells them apart for ever, as an address would not.
static ARENAS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

pub(crate) struct Arena {
    id: u64,
    base: NonNull<u8>,
    capacity: usize,
    mark: FillMark,
    /// The owner of the memory behind `base`, freed on drop; never looked at before (A4).
    memory: NonNull<dyn AsMut<[u8]> + Send>,
    #[cfg(loom)]
    shadow: shadow::Shadow,
}

// SAFETY: the raw pointers stand for memory that the arena owns alone (A4), and its owner is Send.
unsafe impl Send for Arena {}

// SAFETY: through a shared arena one reaches bytes only by `Room` (exclusive, A1), by `bytes`, whose
// caller promises that they are no longer written, and by `word`, which are atomics. `memory` is not
// touched through a shared reference.
unsafe impl Sync for Arena {}

impl Arena {
    /// Takes over `memory`, less what it takes to align its start.
    pub(crate) fn new(memory: Box<dyn AsMut<[u8]> + Send>) -> Arena {
        let owner = Box::into_raw(memory);
        // SAFETY: `owner` came from a box just now and is dropped only in `Arena::drop`, so the borrow
        // may last as long as the arena; nobody else uses `owner` in between (A4).
        let bytes: &'static mut [u8] = unsafe { (*owner).as_mut() };
        let skipped = bytes.as_ptr().align_offset(UNIT_BYTES).min(bytes.len());
        let bytes = &mut bytes[skipped..];
        let capacity = bytes.len().min(CAPACITY_MAX) / UNIT_BYTES * UNIT_BYTES;
        Arena {
            id: ARENAS.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            base: NonNull::from(bytes).cast(),
            capacity,
            mark: FillMark(AtomicU64::new(UNIT_BYTES as u64)),
            memory: NonNull::new(owner).expect("a box is never null"),
            #[cfg(loom)]
            shadow: shadow::Shadow::new(capacity / UNIT_BYTES),
        }
    }

    /// The next `bytes` (a multiple of the unit), for the caller alone.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Region, ArenaFull> {
        let full = ArenaFull { needed: bytes, capacity: self.capacity };
        let mut mark = self.mark.0.load(Ordering::Relaxed);
        loop {
            // A frozen mark is larger than any capacity, so one comparison covers A2 and A3.
            let end = mark.checked_add(bytes as u64).filter(|&end| end <= self.capacity as u64).ok_or(full)?;
            debug_assert_eq!(bytes % UNIT_BYTES, 0, "positions count units");
            match sync::advance(&self.mark.0, mark, end) {
                Ok(()) => return Ok(Region { arena: self.id, start: mark as usize, end: end as usize }),
                Err(found) => mark = found,
            }
        }
    }

    pub(crate) fn freeze(&self) {
        self.mark.0.fetch_or(FROZEN, Ordering::Relaxed);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.mark.0.load(Ordering::Relaxed) & FROZEN != 0
    }

    /// Bytes handed out so far.
    pub(crate) fn used(&self) -> usize {
        (self.mark.0.load(Ordering::Relaxed) & !FROZEN) as usize
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where byte `at` of the arena lies.
    ///
    /// # Safety
    /// `at` is at most `capacity`.
    #[inline]
    unsafe fn address(&self, at: usize) -> NonNull<u8> {
        // SAFETY: `base` points to `capacity` bytes of one allocation (`Arena::new`), and the caller
        // stays inside.
        unsafe { self.base.add(at) }
    }

    /// `len` bytes from byte `at` on.
    ///
    /// # Safety
    /// - The range lies in a region of this arena that was turned into a node.
    /// - Its filling happened before this call, and no link lies in it: it is never written again.
    #[inline]
    pub(crate) unsafe fn bytes(&self, at: usize, len: usize) -> &[u8] {
        #[cfg(loom)]
        self.shadow.read(at);
        // SAFETY: a region lies inside the capacity (A2).
        let start = unsafe { self.address(at) };
        // SAFETY: the caller promises filled bytes that nobody writes while `self` lives.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// The link at byte `at`.
    ///
    /// # Safety
    /// - `at` is the aligned place of a link in a region of this arena that was turned into a node.
    /// - The filling of that region happened before this call.
    #[inline]
    pub(crate) unsafe fn word(&self, at: usize) -> &AtomicU64 {
        #[cfg(loom)]
        return self.shadow.word(at);
        #[cfg(not(loom))]
        {
            debug_assert_eq!(at % UNIT_BYTES, 0, "links are aligned");
            // SAFETY: a region lies inside the capacity (A2).
            let place = unsafe { self.address(at) };
            // SAFETY: `base` and `at` are multiples of 8, the memory outlives `&self`, and from the moment
            // that the region became a node all access to this word goes through here, atomically.
            unsafe { AtomicU64::from_ptr(place.cast().as_ptr()) }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `memory` came from `Box::into_raw` in `Arena::new`; every slice lent since then borrowed
        // from this arena or held it alive by its `Arc`.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// Bytes of an arena that belong to whoever holds this (A1). It does not keep the arena: counting its owners for each
/// write would be the dearest part of a reservation.
pub(crate) struct Region {
    /// The arena's number.
    arena: u64,
    start: usize,
    end: usize,
}

impl Region {
    /// Takes the first `bytes` (a multiple of the unit) off this region, if there are as many.
    ///
    /// # Panics
    /// When the region is of another arena.
    #[inline]
    pub(crate) fn split<'a>(&mut self, arena: &'a Arc<Arena>, bytes: usize) -> Option<Room<'a>> {
        assert_eq!(self.arena, arena.id, "A1: the region lies in this arena");
        debug_assert_eq!(bytes % UNIT_BYTES, 0, "positions count units");
        let middle = self.start.checked_add(bytes).filter(|&middle| middle <= self.end)?;
        let room = Room { arena, start: self.start, bytes };
        self.start = middle;
        Some(room)
    }
}

/// Bytes split off a region, for one node.
pub(crate) struct Room<'r> {
    arena: &'r Arc<Arena>,
    start: usize,
    bytes: usize,
}

impl Room<'_> {
    pub(crate) fn arena(&self) -> &Arc<Arena> {
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
        #[cfg(loom)]
        self.arena.shadow.write(self.start, self.start + self.bytes);
        // SAFETY: a region lies inside the capacity (A2), and this is part of one.
        let start = unsafe { self.arena.address(self.start) };
        // SAFETY: the bytes belong to this room alone (A1), which is borrowed mutably; the memory was
        // handed over as initialised bytes.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.bytes) }
    }
}

/// What loom sees of an arena: its atomics cannot overlay bytes, so links live in a vector beside them,
/// and reads and writes of plain bytes are told to cells, which report a race.
#[cfg(loom)]
mod shadow {
    use super::{AtomicU64, UNIT_BYTES};
    use loom::cell::UnsafeCell;

    pub(super) struct Shadow {
        words: Vec<AtomicU64>,
        cells: Vec<UnsafeCell<()>>,
    }

    impl Shadow {
        pub(super) fn new(units: usize) -> Shadow {
            Shadow {
                words: (0..units).map(|_| AtomicU64::new(crate::link::Link::NULL.to_bits())).collect(),
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
}
