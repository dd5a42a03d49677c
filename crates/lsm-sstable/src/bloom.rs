//! RocksDB's FastLocalBloom: a Bloom filter whose probes for one key all lie in one cache line.
//!
//! ```text
//! ┌──────────────────────────────┬────┬────┬────────┬────┬────┐
//! │ lines of 64 bytes            │ ff │ 00 │ probes │ 00 │ 00 │
//! └──────────────────────────────┴────┴────┴────────┴────┴────┘
//! ```
//!
//! The low half of a key's [`filter_hash`](crate::filter_hash) picks the line, the high half the bits
//! (source of the layout: RocksDB `util/bloom_impl.h`, `table/block_based/filter_policy.cc`).
//!
//! # Invariants
//! B1. A filter never denies a key that was added.
//! B2. A filter of a kind that is not known here answers "maybe" to everything: slow, never wrong.

const LINE_BYTES: usize = 64;
const TRAILER_BYTES: usize = 5;
/// First trailer byte of this kind of filter.
const MARKER: u8 = 0xff;
const FILTER_BYTES_MAX: u64 = 0xffff_ffc0;
const PROBE_FACTOR: u32 = 0x9e37_79b9;

/// How many bits to probe for, by thousandths of a bit per key: RocksDB's choice, so that a filter comes
/// out the same byte for byte.
fn probes_for(millibits_per_key: u64) -> u8 {
    const LIMITS: [u64; 12] = [2080, 3580, 5100, 6640, 8300, 10070, 11720, 14001, 16050, 18300, 22001, 25501];
    match LIMITS.iter().position(|&limit| millibits_per_key <= limit) {
        Some(index) => index as u8 + 1,
        None if millibits_per_key > 50_000 => 24,
        None => ((millibits_per_key - 1) / 2000 - 1) as u8,
    }
}

/// The hashes of a table's keys. In pieces, for a table has many: memory of one piece that grows is copied each time, and
/// what it grows from stays with the allocator.
#[derive(Default)]
pub(crate) struct Hashes {
    pieces: Vec<Vec<u64>>,
    len: usize,
}

const PIECE_LEN: usize = 1024;

impl Hashes {
    pub(crate) fn push(&mut self, hash: u64) {
        match self.pieces.last_mut().filter(|piece| piece.len() < PIECE_LEN) {
            Some(piece) => piece.push(hash),
            None => {
                let mut piece = Vec::with_capacity(PIECE_LEN);
                piece.push(hash);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        self.pieces.iter().flatten().copied()
    }
}

/// A filter block over `hashes`, one for each distinct key; at least one hash, at least half a bit each.
pub(crate) fn build(hashes: &Hashes, millibits_per_key: u64) -> Vec<u8> {
    let wanted = (hashes.len() as u64).saturating_mul(millibits_per_key).div_ceil(8000);
    let bytes = wanted.next_multiple_of(LINE_BYTES as u64).min(FILTER_BYTES_MAX) as usize;
    let probes = probes_for(millibits_per_key);
    let mut filter = vec![0; bytes + TRAILER_BYTES];
    filter[bytes..].copy_from_slice(&[MARKER, 0, probes, 0, 0]);
    let (lines, _) = filter[..bytes].as_chunks_mut::<LINE_BYTES>();
    for hash in hashes.iter() {
        let number = line_of(hash, lines.len() as u32);
        let line = &mut lines[number];
        for bit in bits_of(hash, probes) {
            line[bit >> 3] |= 1 << (bit & 7);
        }
    }
    filter
}

#[inline]
fn line_of(hash: u64, lines: u32) -> usize {
    ((u64::from(hash as u32) * u64::from(lines)) >> 32) as usize
}

#[inline]
fn bits_of(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    let mut state = (hash >> 32) as u32;
    (0..probes).map(move |_| {
        let bit = (state >> 23) as usize;
        state = state.wrapping_mul(PROBE_FACTOR);
        bit
    })
}

/// A filter read from disk.
#[derive(Debug)]
pub(crate) struct BloomFilter {
    bytes: Vec<u8>,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Maybe,
    Never,
    Probe { lines: u32, probes: u8 },
}

impl BloomFilter {
    /// Takes over the bytes of a filter block, whose checksum was verified.
    pub(crate) fn new(bytes: Vec<u8>) -> BloomFilter {
        let answer = BloomFilter::answer_of(&bytes);
        // Bytes that are never looked at need not be kept.
        let bytes = if matches!(answer, Answer::Probe { .. }) { bytes } else { Vec::new() };
        BloomFilter { bytes, answer }
    }

    fn answer_of(bytes: &[u8]) -> Answer {
        let Some((lines, &[marker, kind, probes, 0, 0])) = bytes.split_last_chunk::<TRAILER_BYTES>() else {
            return if bytes.len() < TRAILER_BYTES { Answer::Never } else { Answer::Maybe };
        };
        let whole_lines = lines.len() % LINE_BYTES == 0 && lines.len() as u64 <= FILTER_BYTES_MAX;
        match (marker, kind, probes) {
            (MARKER, 0, _) if lines.is_empty() => Answer::Never,
            (MARKER, 0, 1..=30) if whole_lines => Answer::Probe { lines: (lines.len() / LINE_BYTES) as u32, probes },
            _ => Answer::Maybe,
        }
    }

    /// Whether a key with this hash may have been added (B1).
    #[inline]
    #[expect(clippy::expect_used, reason = "whole lines were counted when the filter was read")]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        match self.answer {
            Answer::Maybe => true,
            Answer::Never => false,
            Answer::Probe { lines, probes } => {
                let start = line_of(hash, lines) * LINE_BYTES;
                let line = self.bytes[start..].first_chunk::<LINE_BYTES>().expect("whole lines were counted");
                // No branch for each bit: once the line is here, all are looked at faster than one is guessed.
                bits_of(hash, probes).fold(true, |passes, bit| passes & (line[bit >> 3] & (1 << (bit & 7)) != 0))
            }
        }
    }

    /// Bytes of memory that the filter takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter_hash;
    use quickcheck::quickcheck;

    fn filter_of(hashes: &[u64], millibits_per_key: u64) -> BloomFilter {
        let mut pieces = Hashes::default();
        hashes.iter().for_each(|&hash| pieces.push(hash));
        assert_eq!(pieces.len(), hashes.len());
        BloomFilter::new(build(&pieces, millibits_per_key))
    }

    quickcheck! {
        fn every_added_key_is_found(keys: Vec<Vec<u8>>, bits: u8) -> bool {
            // Covers B1.
            let hashes: Vec<u64> = keys.iter().map(|key| filter_hash(key)).collect();
            if hashes.is_empty() { return true; }
            let filter = filter_of(&hashes, 1000 * u64::from(bits % 30 + 1));
            hashes.iter().all(|&hash| filter.may_contain(hash))
        }

        fn no_bytes_make_a_probe_panic(bytes: Vec<u8>, hash: u64) -> bool {
            BloomFilter::new(bytes).may_contain(hash);
            true
        }
    }

    #[test]
    fn ten_bits_per_key_let_one_in_a_hundred_through() {
        let hash = |number: u32| filter_hash(&number.to_be_bytes());
        let hashes: Vec<u64> = (0..20_000).map(hash).collect();
        let filter = filter_of(&hashes, 10_000);
        let passed = (20_000..120_000).filter(|&number| filter.may_contain(hash(number))).count();
        assert!((700..1200).contains(&passed), "{passed} of 100000");
    }

    #[test]
    fn unknown_filters_answer_maybe_and_empty_ones_no() {
        // Covers B2: ribbon (fe), always true (00), a future variant (ff, 01).
        for trailer in [[0xfe, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0xff, 1, 6, 0, 0], [0xff, 0, 0x26, 0, 0]] {
            let bytes = [vec![0; 64], trailer.to_vec()].concat();
            assert!(BloomFilter::new(bytes).may_contain(1), "{trailer:?}");
        }
        assert!(!BloomFilter::new(vec![0xff, 0, 6, 0, 0]).may_contain(1));
    }

    #[test]
    fn probe_counts_follow_the_bits() {
        let cases =
            [(1000, 1), (8000, 5), (10_000, 6), (10_070, 6), (10_071, 7), (25_502, 11), (50_000, 23), (50_001, 24)];
        for (millibits, probes) in cases {
            assert_eq!(probes_for(millibits), probes, "{millibits}");
        }
    }
}
