//! Tells most absent keys without a search.
//!
//! Most gets ask a memtable for a key that it does not have; a search to find that out costs a dozen cache
//! misses, a look at this Bloom filter one. Each key sets [`BITS_PER_KEY`] bits of one 64-bit word, so that
//! adding and asking touch one word, atomically. The filter takes 1/[`ARENA_BYTES_PER_FILTER_BYTE`] of
//! the arena's capacity: at 150 bytes per entry some 3 of 100 absent keys pass, and more, but never all,
//! when entries are smaller.
//!
//! # Invariants
//! F1. A key that was added before the question is never denied.

use crate::sync::{self, AtomicU64, Ordering};

const BITS_PER_KEY: u32 = 4;

const ARENA_BYTES_PER_FILTER_BYTE: usize = 128;

/// Odd and without a pattern: digits of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) struct Filter(Box<[AtomicU64]>);

impl Filter {
    /// An empty filter for an arena of `capacity` bytes.
    pub(crate) fn for_capacity(capacity: usize) -> Filter {
        let words = capacity / (ARENA_BYTES_PER_FILTER_BYTE * size_of::<u64>());
        Filter((0..words.max(1)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds a key. Comes before its entry is linked, so that whoever met the entry is not denied it.
    #[inline]
    pub(crate) fn add(&self, user_key: &[u8]) {
        let hash = hash(user_key);
        // Relaxed: the entry's link, published after this, orders it for those who saw the link (F1).
        sync::set_bits(self.word(hash), bits(hash));
    }

    /// False only if the key was not added.
    #[inline]
    pub(crate) fn may_contain(&self, user_key: &[u8]) -> bool {
        let hash = hash(user_key);
        self.word(hash).load(Ordering::Relaxed) & bits(hash) == bits(hash)
    }

    #[inline]
    fn word(&self, hash: u64) -> &AtomicU64 {
        // The upper half of the hash, scaled to the number of words.
        let index = ((hash >> 32) as u128 * self.0.len() as u128) >> 32;
        &self.0[index as usize]
    }
}

/// The bits of a key in its word, each from six bits of the hash's lower half.
#[inline]
fn bits(hash: u64) -> u64 {
    (0..BITS_PER_KEY).fold(0, |bits, nth| bits | 1 << ((hash >> (6 * nth)) & 63))
}

/// Mixes eight bytes at a time into a number whose bits all depend on all of the key.
#[inline]
fn hash(key: &[u8]) -> u64 {
    let (words, rest) = key.as_chunks::<8>();
    let start = MULTIPLIER ^ key.len() as u64;
    let state = words.iter().fold(start, |state, word| mix(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(state, u64::from_le_bytes(last)), MULTIPLIER)
}

#[inline]
fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(MULTIPLIER);
    product as u64 ^ (product >> 64) as u64 ^ state.rotate_left(23)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn denied(added: &Filter, keys: impl Iterator<Item = Vec<u8>>) -> usize {
        keys.filter(|key| !added.may_contain(key)).count()
    }

    #[test]
    fn few_absent_keys_pass_and_no_present_one_is_denied() {
        // Covers F1.
        let count = 100_000;
        let number = |key: u64| format!("user{key:012}").into_bytes();
        let binary = |key: u64| key.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes().to_vec();
        let short = |key: u64| (key as u32).to_be_bytes().to_vec();
        for make in [number as fn(u64) -> Vec<u8>, binary, short] {
            let filter = Filter::for_capacity(count as usize * 150);
            (0..count).for_each(|key| filter.add(&make(key)));
            assert_eq!(denied(&filter, (0..count).map(make)), 0);
            let passed = count as usize - denied(&filter, (count..2 * count).map(make));
            assert!(passed < 5 * count as usize / 100, "{passed} of {count}");
        }
    }

    #[test]
    fn the_smallest_filter_works() {
        let filter = Filter::for_capacity(0);
        assert!(!filter.may_contain(b""));
        filter.add(b"");
        assert!(filter.may_contain(b""));
    }
}
