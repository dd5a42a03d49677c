//! Tells the torn end of a manifest from a damaged one.
//!
//! A power cut may keep any of the 512-byte sectors of the last append, and a part of one: the file then ends
//! early, or sectors of it end in zeros. Such an append was never acknowledged, since its sync did not return. A
//! record that was acknowledged is whole; what is wrong with it later is damage, and to leave it out would silently
//! take the store back in time.
//!
//! # Invariants
//! L1. A tail is torn only if the file ends inside a record or some sector's part of the tail ends in a zero.
//! L2. A tail is not torn if the first record of a later append lies in it, for that one was written after the sync
//!     of all before it. Every append is one group whose first edit, and no other, has the next file number. (RocksDB
//!     gives it to all edits, so any good record of its behind the bad place counts as a later append.)
//! L3. A tail that is one flipped bit away from a whole fragment is not torn.
//! L4. The last byte of an append of this crate has several bits (E4), so L1 sees every loss. Since sectors are written
//!     whole, a loss takes from an append whole sectors, its end, or its front up to the end of a sector; the end has
//!     several bits, and so has the front, for it holds a header (W5), whose length and kind are not 0. A whole sector
//!     with a single bit in it is the one loss that L3 takes for a flipped bit.

use lsm_core::Result;
use lsm_core::checksum::{crc32c, crc32c_append, mask, unmask};
use lsm_wal::{BLOCK_BYTES, LEGACY_HEADER_BYTES, RecordReader};

use crate::edit::VersionEdit;

/// Bytes that reach the disk together.
const SECTOR_BYTES: usize = 512;

/// Where a fragment's header has its length: docs/format/wal.md.
const LENGTH_OFFSET: usize = 4;

/// Longest tail that is taken for torn; an append has a few KiB.
pub(crate) const TORN_BYTES_MAX: u64 = 16 << 20;

/// Whether a header that begins at `position` lies in one sector.
pub(crate) fn has_room_for_header(position: u64) -> bool {
    SECTOR_BYTES - (position % SECTOR_BYTES as u64) as usize >= LEGACY_HEADER_BYTES
}

/// Whether `rest` was torn off by a power cut. It begins at `offset`, where the last good record ends, and goes to the
/// end of the file that `reader` has read up to there.
pub(crate) fn is_torn(reader: &mut RecordReader, offset: u64, rest: &[u8]) -> Result<bool> {
    if rest.iter().all(|&byte| byte == 0) {
        return Ok(true);
    }
    if rest.len() as u64 > TORN_BYTES_MAX {
        return Ok(false);
    }
    let at = broken_fragment(rest, offset);
    let fragment = &rest[at..];
    let fragment = &fragment[..fragment.len().min(block_left(offset + at as u64))];
    let has_loss = is_cut_short(fragment) || has_zero_ended_sector(rest, offset);
    Ok(has_loss && !is_one_bit_off(fragment) && !holds_later_append(reader, offset)?)
}

/// Where the first fragment that is not whole begins.
fn broken_fragment(rest: &[u8], offset: u64) -> usize {
    let mut at = 0;
    while at < rest.len() {
        let left = block_left(offset + at as u64);
        let window = &rest[at..rest.len().min(at + left)];
        match whole_bytes(window) {
            Some(bytes) => at += bytes,
            None if left < LEGACY_HEADER_BYTES => at += window.len(),
            None => return at,
        }
    }
    rest.len()
}

fn block_left(position: u64) -> usize {
    BLOCK_BYTES - (position % BLOCK_BYTES as u64) as usize
}

/// The fragment at the front of some bytes, as far as its header can be read.
struct Header<'a> {
    stored_crc: u32,
    bytes: usize,
    /// Kind and payload, and what lies behind them.
    covered: &'a [u8],
}

fn header(window: &[u8]) -> Option<Header<'_>> {
    let &[a, b, c, d, low, high, ..] = window else { return None };
    let bytes = LEGACY_HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
    let stored_crc = unmask(u32::from_le_bytes([a, b, c, d]));
    Some(Header { stored_crc, bytes, covered: &window[LEGACY_HEADER_BYTES - 1..] })
}

/// The length of the fragment at the front of `window` if its checksum is right.
fn whole_bytes(window: &[u8]) -> Option<usize> {
    let Header { stored_crc, bytes, covered } = header(window)?;
    let covered = covered.get(..=bytes - LEGACY_HEADER_BYTES)?;
    (crc32c(covered) == stored_crc).then_some(bytes)
}

/// Whether the file ends before the broken fragment does; an empty one is missing as a whole.
fn is_cut_short(fragment: &[u8]) -> bool {
    header(fragment).is_none_or(|header| header.bytes > fragment.len())
}

/// L1. The first and the last sector lie in `rest` only in part.
fn has_zero_ended_sector(rest: &[u8], offset: u64) -> bool {
    let first_bytes = SECTOR_BYTES - (offset % SECTOR_BYTES as u64) as usize;
    let (first, others) = rest.split_at(first_bytes.min(rest.len()));
    let ends_in_zero = |sector: &[u8]| sector.last() == Some(&0);
    ends_in_zero(first) || others.chunks(SECTOR_BYTES).any(ends_in_zero)
}

/// L3.
fn is_one_bit_off(fragment: &[u8]) -> bool {
    let Some(Header { stored_crc, bytes, covered }) = header(fragment) else { return false };
    let mut copy = fragment.to_vec();
    let length_bits = LENGTH_OFFSET * 8..(LENGTH_OFFSET + 2) * 8;
    let is_whole_with_flipped = |bit: usize| {
        copy[bit / 8] ^= 1 << (bit % 8);
        let is_whole = whole_bytes(&copy).is_some();
        copy[bit / 8] ^= 1 << (bit % 8);
        is_whole
    };
    if length_bits.into_iter().any(is_whole_with_flipped) {
        return true;
    }
    let Some(covered) = covered.get(..=bytes - LEGACY_HEADER_BYTES) else { return false };
    let crc = crc32c(covered);
    (mask(crc) ^ mask(stored_crc)).is_power_of_two() || is_flip_of_one_bit(crc ^ stored_crc, covered.len())
}

/// Whether one flipped bit changes the crc32c of some `bytes` bytes by `difference`.
///
/// A crc is linear: what a flipped bit does to it depends on the bit's distance from the end alone. So the
/// effects of all bits follow from those of the last byte, each byte further from the end by one more zero.
fn is_flip_of_one_bit(difference: u32, bytes: usize) -> bool {
    let mut effects: [u32; 8] = std::array::from_fn(|bit| crc32c(&[1 << bit]) ^ crc32c(&[0]));
    let zero = crc32c_append(0, &[0]);
    (0..bytes).any(|_| {
        let is_found = effects.contains(&difference);
        effects = effects.map(|effect| crc32c_append(effect, &[0]) ^ zero);
        is_found
    })
}

/// L2. Behind a damaged header nobody knows where the next record begins, so every place is tried.
fn holds_later_append(reader: &mut RecordReader, offset: u64) -> Result<bool> {
    let mut from = offset + 1;
    while let Some(found) = reader.search(from)? {
        let is_later_in_group = |edit: VersionEdit| edit.group_remaining.is_some() && edit.next_file.is_none();
        if !VersionEdit::decode(found.payload).is_ok_and(is_later_in_group) {
            return Ok(true);
        }
        from = found.end;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        // Covers L3.
        fn one_flipped_bit_is_told_from_more(bytes: Vec<u8>, flips: Vec<usize>) -> bool {
            let mut flipped = bytes.clone();
            if let Some(bits) = std::num::NonZero::new(bytes.len() * 8) {
                flips.iter().take(3).map(|&flip| flip % bits).for_each(|bit| flipped[bit / 8] ^= 1 << (bit % 8));
            }
            let differing: u32 = bytes.iter().zip(&flipped).map(|(a, b)| (a ^ b).count_ones()).sum();
            is_flip_of_one_bit(crc32c(&bytes) ^ crc32c(&flipped), bytes.len()) == (differing == 1)
        }
    }
}
