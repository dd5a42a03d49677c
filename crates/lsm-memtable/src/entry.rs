//! One entry in the arena.
//!
//! ```text
//! │ key bytes u32 │ value bytes u32 │ user key │ trailer u64 │ value │ pad
//! ▲ the entry's position, a multiple of 8
//! ```
//!
//! User key and trailer stand together, so that a cursor can lend them as one internal key.
//!
//! # Invariants
//! N1. An entry's place is made only here, by [`write()`], from a region filled with a whole entry (P1).
//! N2. After [`write()`] nothing of an entry changes.

#![allow(unsafe_code)]

use lsm_core::key::TRAILER_BYTES;

use crate::arena::{Arena, Room, UNIT_BYTES};
use crate::at::{At, Entry};

const LENGTHS_BYTES: usize = 2 * size_of::<u32>();
const _: () = assert!(LENGTHS_BYTES == UNIT_BYTES);

/// Exact bytes of an entry, or `None` if the lengths do not fit one.
#[inline]
pub(crate) fn entry_bytes(key_bytes: usize, value_bytes: usize) -> Option<usize> {
    let key = u32::try_from(key_bytes).ok()? as usize;
    let value = u32::try_from(value_bytes).ok()? as usize;
    Some((LENGTHS_BYTES + TRAILER_BYTES + key + value).next_multiple_of(UNIT_BYTES))
}

/// Fills `room`, which has exactly [`entry_bytes`].
pub(crate) fn write(mut room: Room<'_>, user_key: &[u8], trailer: u64, value: &[u8]) -> At<Entry> {
    assert_eq!(Some(room.len()), entry_bytes(user_key.len(), value.len()), "N1: the room is that of this entry");
    let at = At::from_byte(room.start());
    let (lengths, entry) = room.bytes_mut().split_at_mut(LENGTHS_BYTES);
    lengths[..4].copy_from_slice(&(user_key.len() as u32).to_ne_bytes());
    lengths[4..].copy_from_slice(&(value.len() as u32).to_ne_bytes());
    let (key, entry) = entry.split_at_mut(user_key.len());
    key.copy_from_slice(user_key);
    let (tail, entry) = entry.split_at_mut(TRAILER_BYTES);
    tail.copy_from_slice(&trailer.to_le_bytes());
    entry[..value.len()].copy_from_slice(value);
    at
}

/// The entry's encoded internal key.
///
/// # Safety
/// `entry` lies in `arena` and its [`write()`] happened before this call.
#[inline]
pub(crate) unsafe fn internal_key(arena: &Arena, entry: At<Entry>) -> &[u8] {
    // SAFETY: as the caller promises.
    let (key_bytes, _) = unsafe { lengths(arena, entry) };
    // SAFETY: `write` has filled that many bytes behind the lengths, and they never change (N2).
    unsafe { arena.bytes(entry.byte() + LENGTHS_BYTES, key_bytes + TRAILER_BYTES) }
}

/// The entry's value.
///
/// # Safety
/// `entry` lies in `arena` and its [`write()`] happened before this call.
#[inline]
pub(crate) unsafe fn value(arena: &Arena, entry: At<Entry>) -> &[u8] {
    // SAFETY: as the caller promises.
    let (key_bytes, value_bytes) = unsafe { lengths(arena, entry) };
    // SAFETY: `write` has filled that many bytes behind the key, and they never change (N2).
    unsafe { arena.bytes(entry.byte() + LENGTHS_BYTES + key_bytes + TRAILER_BYTES, value_bytes) }
}

/// Bytes of the user key and of the value.
///
/// # Safety
/// `entry` lies in `arena` and its [`write()`] happened before this call.
#[inline]
unsafe fn lengths(arena: &Arena, entry: At<Entry>) -> (usize, usize) {
    // SAFETY: every entry starts with its lengths, which never change (N2).
    let bytes = unsafe { arena.bytes(entry.byte(), LENGTHS_BYTES) };
    let word = u64::from_ne_bytes(bytes.try_into().expect("two lengths"));
    let [key, value] = if cfg!(target_endian = "little") { [word, word >> 32] } else { [word >> 32, word] };
    (key as u32 as usize, value as u32 as usize)
}
