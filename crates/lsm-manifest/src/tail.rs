//! Tells the torn end of a manifest from a damaged one.
//!
//! A power cut may keep any of the 512-byte sectors of the last append, and a part of one: the file then ends
//! early, or sectors of it end in zeros. Such an append was never acknowledged, since its sync did not return. A
//! record that was acknowledged is whole; what is wrong with it later is damage, and to leave it out would silently
//! take the store back in time.
//!
//! # Invariants
//! L1. A tail is torn only if the file ends inside a record or some sector's part of the tail ends in a zero.
//! L2. A tail is not torn if a record of a later append lies in it, for that one was written after the
//!     sync of all before it. Records of one append are marked as one group.
//! L3. A tail that is one flipped bit away from a whole fragment is not torn.
//! L4. The last byte of what this crate appends is never zero, so L1 sees every loss. (`edit.rs` orders its fields
//!     for that.)

use lsm_core::Result;
use lsm_core::checksum::{crc32c, unmask};
use lsm_wal::{BLOCK_BYTES, LEGACY_HEADER_BYTES, RecordReader};

use crate::edit::VersionEdit;

/// Bytes that reach the disk together.
const SECTOR_BYTES: usize = 512;

/// Longest tail that is taken for torn; an append has a few KiB.
pub(crate) const TORN_BYTES_MAX: u64 = 16 << 20;

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

/// The fragment at the front of `window`, as far as its header can be read: docs/format/wal.md.
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

/// L3. A block bounds the work.
fn is_one_bit_off(fragment: &[u8]) -> bool {
    let mut fragment = fragment.to_vec();
    let length = header(&fragment).map_or(0, |header| header.bytes).min(fragment.len());
    (0..length * 8).any(|bit| {
        fragment[bit / 8] ^= 1 << (bit % 8);
        let is_whole = whole_bytes(&fragment).is_some();
        fragment[bit / 8] ^= 1 << (bit % 8);
        is_whole
    })
}

/// L2. Behind a damaged header nobody knows where the next record begins, so every place is tried.
fn holds_later_append(reader: &mut RecordReader, offset: u64) -> Result<bool> {
    let (mut from, mut group_has_ended) = (offset + 1, false);
    while let Some(found) = reader.search(from)? {
        match VersionEdit::decode(found.payload).ok().and_then(|edit| edit.group_remaining) {
            Some(remaining) if !group_has_ended => group_has_ended = remaining == 0,
            Some(_) | None => return Ok(true),
        }
        from = found.end;
    }
    Ok(false)
}
