//! Where in memory blocks lie close together.
//!
//! Blocks are read here and there, and each read costs a look at the tables of the system's pages as well, which are 4 KiB
//! unless somebody asks for larger ones. A cache does not choose where its blocks come to lie, that is the allocator's
//! business, but it sees where they do, and can say where a large page would pay.
//!
//! # Invariants
//! W1. Nothing is kept but sums: two threads that add at a time may lose what one of them added, and nothing else.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of a piece of memory, the size of a large page on most machines.
const PIECE_BITS: u32 = 21;
/// So much of a piece has to be given to blocks to be told of, and again to be told of again.
const CROWDED_BYTES: u64 = 3 << (PIECE_BITS - 3);
/// Pieces whose sums are kept at a time; a heap grows at a few places.
const PIECES: usize = 64;
/// Nobody is told any more after so many refusals in a row.
const REFUSALS_MAX: u32 = 16;

/// Told of an address in a piece of memory of 2 MiB which holds mostly blocks; says whether that was of use.
pub(crate) type Tell = Box<dyn Fn(usize) -> bool + Send + Sync>;

/// Sums of the bytes that blocks were given in each piece of memory.
pub(crate) struct Crowds {
    tell: Tell,
    /// The piece's number, and the bytes in it, 32 bits each.
    sums: [AtomicU64; PIECES],
    refusals: AtomicU32,
}

impl Crowds {
    pub(crate) fn new(tell: Tell) -> Crowds {
        Crowds { tell, sums: [const { AtomicU64::new(0) }; PIECES], refusals: AtomicU32::new(0) }
    }

    /// Takes note of a block of `bytes` at `address`.
    pub(crate) fn add(&self, address: usize, bytes: usize) {
        if self.refusals.load(Ordering::Relaxed) >= REFUSALS_MAX {
            return;
        }
        let piece = address >> PIECE_BITS;
        let sum = self.sum(piece).unwrap_or(0) + bytes as u64;
        let is_crowded = sum >= CROWDED_BYTES;
        let kept = if is_crowded { 0 } else { sum };
        self.sums[piece % PIECES].store(tag(piece) | kept, Ordering::Relaxed);
        if is_crowded {
            self.tell(address);
            // The heap may have ended in the piece before when that was told of.
            let before = piece.wrapping_sub(1);
            if self.sum(before).is_some() {
                self.tell(before << PIECE_BITS);
            }
        }
    }

    fn sum(&self, piece: usize) -> Option<u64> {
        let kept = self.sums[piece % PIECES].load(Ordering::Relaxed);
        (kept & !u64::from(u32::MAX) == tag(piece)).then_some(kept & u64::from(u32::MAX))
    }

    fn tell(&self, address: usize) {
        match (self.tell)(address) {
            true => self.refusals.store(0, Ordering::Relaxed),
            false => _ = self.refusals.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// A piece's number in the upper half.
fn tag(piece: usize) -> u64 {
    (piece as u64) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const PIECE: usize = 1 << PIECE_BITS;

    fn crowds(is_of_use: bool) -> (Crowds, Arc<Mutex<Vec<usize>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let tell = move |address| {
            heard.lock().unwrap().push(address >> PIECE_BITS);
            is_of_use
        };
        (Crowds::new(Box::new(tell)), told)
    }

    #[test]
    fn pieces_are_told_of_once_they_are_crowded_and_again_by_the_next() {
        let (crowds, told) = crowds(true);
        (0..PIECE * 3).step_by(4096).for_each(|at| crowds.add(7 * PIECE + at, 4096));
        assert_eq!(*told.lock().unwrap(), [7, 7, 8, 7, 8, 7, 9, 8, 9, 8]);
    }

    #[test]
    fn a_block_here_and_there_is_no_crowd() {
        let (crowds, told) = crowds(true);
        (0..1000).for_each(|piece| crowds.add(piece * PIECE, 4096));
        assert!(told.lock().unwrap().is_empty());
    }

    #[test]
    fn who_refuses_is_left_alone() {
        let (crowds, told) = crowds(false);
        (0..1000).for_each(|_| crowds.add(PIECE, PIECE));
        assert_eq!(told.lock().unwrap().len(), REFUSALS_MAX as usize);
    }
}
