//! A fixed piece of memory that is handed out once: entries from its front, an index of them from its back.
//!
//! Nothing in an arena ever moves or is freed before the arena is, so a position is a plain number:
//! 31 bits that count [`UNIT_BYTES`], which reaches 16 GiB. Position 0 is never handed out and means
//! "none". The memory comes from outside (a `Vec`, a mapping with huge pages, a pooled buffer); its
//! contents do not matter, everything is written before it is read.
//!
//! # Invariants
//! A1. What is handed out belongs to its owner alone: regions come from disjoint advances of the front, and
//!     are split but never copied; the index grows down from the end, within what the mark has put
//!     aside for it (E1, E2).
//! A2. What is handed out lies inside of the memory (E1).
//! A3. After [`Arena::freeze`] nothing is reserved any more. What was reserved before can be used, and given back.
//! A4. Between [`Arena::new`] and drop nobody but the arena reaches the memory.
//! A5. Memory of the index is used only as atomic words, that of entries only as bytes.
//! A6. Positions are at least 1 and fit 31 bits.

#![allow(unsafe_code)]

// What is allowed above holds for modules below as well; of these only `room` needs it.
#[deny(unsafe_code)]
mod mark;
mod room;
#[cfg(loom)]
#[deny(unsafe_code)]
mod shadow;

use std::fmt;
use std::ptr::NonNull;

use lsm_core::memory;

pub(crate) use mark::Need;
use mark::{Mark, UNITS_MAX};
pub(crate) use room::{Escrow, Region, Room, Words};

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// What positions count, and the alignment of everything in an arena.
pub(crate) const UNIT_BYTES: usize = 8;

/// Largest capacity that positions reach (A6).
pub(crate) const CAPACITY_MAX: usize = UNITS_MAX.saturating_mul(UNIT_BYTES);

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

/// Arenas that were made; their number tells them apart for ever, as an address would not.
static ARENAS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

pub(crate) struct Arena {
    id: u64,
    base: NonNull<u8>,
    capacity: usize,
    mark: Mark,
    /// Bytes that the index has taken from the end.
    index_bytes: AtomicUsize,
    /// The owner of the memory behind `base`, freed on drop; never looked at before (A4).
    memory: NonNull<dyn AsMut<[u8]> + Send>,
    #[cfg(loom)]
    shadow: shadow::Shadow,
}

// SAFETY: the raw pointers stand for memory that the arena owns alone (A4), and its owner is Send.
unsafe impl Send for Arena {}

// SAFETY: through a shared arena one reaches memory only by `bytes_mut`, whose caller has the bytes for itself,
// by `bytes`, whose caller promises that they are no longer written, and by `word`, which are atomics. `memory` is
// not touched through a shared reference.
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
            mark: Mark::new(),
            index_bytes: AtomicUsize::new(0),
            memory: NonNull::new(owner).expect("a box is never null"),
            #[cfg(loom)]
            shadow: shadow::Shadow::new(capacity / UNIT_BYTES),
        }
    }

    fn id(&self) -> u64 {
        self.id
    }

    /// What is needed, for the caller alone. What is not used comes back by [`Arena::settle`].
    pub(crate) fn reserve(&self, need: &Need) -> Result<(Region, Escrow), ArenaFull> {
        let needed = need.entry_bytes.saturating_add(need.worst_index_bytes);
        let taken = self.mark.take(self.capacity, need).ok_or(ArenaFull { needed, capacity: self.capacity })?;
        Ok((Region::new(self, taken.start, need.entry_bytes), Escrow::new(self, &taken, need)))
    }

    /// Takes back what a reservation has not used; nothing of it can be used any more.
    pub(crate) fn settle(&self, region: &mut Region, escrow: &mut Escrow) {
        self.mark.give_back(&escrow.unused(region, self));
        region.close();
        escrow.close();
    }

    /// Where `bytes` more of the index begin, for the caller alone, which is an [`Escrow`] that has put them aside.
    fn extend_index(&self, bytes: usize) -> usize {
        // Acquire and Release: whose bytes are counted here had put them aside before, and the mark tells so.
        let used = self.index_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        assert!(used <= self.mark.back_bytes(), "E2: the bytes were put aside");
        self.capacity - used
    }

    pub(crate) fn freeze(&self) {
        self.mark.freeze();
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.mark.is_frozen()
    }

    /// Bytes handed out or put aside so far.
    pub(crate) fn used(&self) -> usize {
        self.mark.used_bytes()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Asks for some bytes of the arena, or what lies behind its end.
    #[inline]
    pub(crate) fn ask_for(&self, at: usize, bytes: usize) {
        memory::ask_for_place(self.base.as_ptr().wrapping_add(at), bytes);
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
    /// - The range lies in a region of this arena that was turned into an entry.
    /// - Its filling happened before this call: it is never written again.
    #[inline]
    pub(crate) unsafe fn bytes(&self, at: usize, len: usize) -> &[u8] {
        #[cfg(loom)]
        self.shadow.read(at);
        // SAFETY: a region lies inside the capacity (A2).
        let start = unsafe { self.address(at) };
        // SAFETY: the caller promises filled bytes that nobody writes while `self` lives.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// `len` bytes from byte `at` on, to be filled.
    ///
    /// # Safety
    /// The range lies in a region of this arena that belongs to the caller alone (A1) while the slice lives.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the caller owns the bytes")]
    unsafe fn bytes_mut(&self, at: usize, len: usize) -> &mut [u8] {
        #[cfg(loom)]
        self.shadow.write(at, at + len);
        // SAFETY: a region lies inside the capacity (A2).
        let start = unsafe { self.address(at) };
        // SAFETY: the caller promises that nobody else reaches the bytes; the memory was handed over as
        // initialised bytes.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// The word at byte `at`.
    ///
    /// # Safety
    /// `at` is the aligned place of a word of this arena's index.
    #[inline]
    pub(crate) unsafe fn word(&self, at: usize) -> &AtomicU64 {
        #[cfg(loom)]
        return self.shadow.word(at);
        #[cfg(not(loom))]
        {
            debug_assert_eq!(at % UNIT_BYTES, 0, "words are aligned");
            // SAFETY: the index lies inside the capacity (A2).
            let place = unsafe { self.address(at) };
            // SAFETY: `base` and `at` are multiples of 8, the memory outlives `&self`, and all access to memory
            // of the index goes through here, atomically (A5).
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
