//! One entry in the arena: a tower of links, then the entry itself.
//!
//! ```text
//!  link[h-1] … link[1] link[0] │ key bytes u32 │ value bytes u32 │ user key │ trailer u64 │ value │ pad
//!  8 bytes each, growing down  ▲ the node's position, a multiple of 8
//! ```
//!
//! The lower a link, the more often it is read, so the towers grow down: the bottom link, the lengths
//! and the start of the key share a cache line. User key and trailer stand together, so that a cursor
//! can lend them as one internal key. A node does not know its height; whoever reaches it on a level
//! knows that it has that level.
//!
//! # Invariants
//! N1. A [`NodeOffset`] is made only here, by [`write()`], from a region filled with a whole node.
//! N2. After [`write()`] only the links change.

#![allow(unsafe_code)]

use std::num::NonZeroU32;

use lsm_core::key::TRAILER_BYTES;

use crate::arena::{Arena, Room, UNIT_BYTES};
use crate::height::HEIGHT_MAX;
use crate::link::Link;
use crate::sync::AtomicU64;

const LINK_BYTES: usize = size_of::<u64>();
const LENGTHS_BYTES: usize = 2 * size_of::<u32>();
const _: () = assert!(LINK_BYTES == UNIT_BYTES && LENGTHS_BYTES == UNIT_BYTES);

/// Bytes of a list's first node, which has all links and an empty entry.
pub(crate) const HEAD_BYTES: usize = LINK_BYTES * HEIGHT_MAX + LENGTHS_BYTES + TRAILER_BYTES;

/// Position of a node in its arena, in units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeOffset(NonZeroU32);

impl NodeOffset {
    /// `None` for 0, which stands for no node. Only links, which come from nodes (N1), are decoded so.
    #[inline]
    pub(crate) fn new(units: u32) -> Option<NodeOffset> {
        NonZeroU32::new(units).map(NodeOffset)
    }

    #[inline]
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }

    #[inline]
    pub(crate) fn byte(self) -> usize {
        self.get() as usize * UNIT_BYTES
    }
}

/// Exact bytes of a node, or `None` if the lengths do not fit a node.
#[inline]
pub(crate) fn node_bytes(height: usize, key_bytes: usize, value_bytes: usize) -> Option<usize> {
    let key = u32::try_from(key_bytes).ok()? as usize;
    let value = u32::try_from(value_bytes).ok()? as usize;
    let entry = LENGTHS_BYTES + TRAILER_BYTES + key + value;
    Some(LINK_BYTES * height + entry.next_multiple_of(UNIT_BYTES))
}

/// Fills `room`, which has exactly [`node_bytes`], with a node whose links are all null.
pub(crate) fn write(mut room: Room<'_>, height: usize, user_key: &[u8], trailer: u64, value: &[u8]) -> NodeOffset {
    assert_eq!(Some(room.len()), node_bytes(height, user_key.len(), value.len()), "N1: the room is that of this node");
    let position = room.start() + LINK_BYTES * height;
    let (tower, entry) = room.bytes_mut().split_at_mut(LINK_BYTES * height);
    for link in tower.chunks_exact_mut(LINK_BYTES) {
        link.copy_from_slice(&Link::NULL.to_bits().to_ne_bytes());
    }
    let (lengths, entry) = entry.split_at_mut(LENGTHS_BYTES);
    lengths[..4].copy_from_slice(&(user_key.len() as u32).to_ne_bytes());
    lengths[4..].copy_from_slice(&(value.len() as u32).to_ne_bytes());
    let (key, entry) = entry.split_at_mut(user_key.len());
    key.copy_from_slice(user_key);
    let (tail, entry) = entry.split_at_mut(TRAILER_BYTES);
    tail.copy_from_slice(&trailer.to_le_bytes());
    entry[..value.len()].copy_from_slice(value);
    NodeOffset::new((position / UNIT_BYTES) as u32).expect("position 0 is never handed out")
}

/// The node's link on `level`.
///
/// # Safety
/// - `node` lies in `arena` and its [`write()`] happened before this call.
/// - `level` is less than the node's height.
#[inline]
pub(crate) unsafe fn link(arena: &Arena, node: NodeOffset, level: usize) -> &AtomicU64 {
    // SAFETY: the tower has a link for each level, ending at the node's position; N1 and the caller's
    // promises are those of `Arena::word`.
    unsafe { arena.word(node.byte() - LINK_BYTES * (level + 1)) }
}

/// The node's encoded internal key.
///
/// # Safety
/// `node` lies in `arena` and its [`write()`] happened before this call.
#[inline]
pub(crate) unsafe fn internal_key(arena: &Arena, node: NodeOffset) -> &[u8] {
    // SAFETY: as the caller promises.
    let (key_bytes, _) = unsafe { lengths(arena, node) };
    // SAFETY: `write` has filled that many bytes behind the lengths, and they never change (N2).
    unsafe { arena.bytes(node.byte() + LENGTHS_BYTES, key_bytes + TRAILER_BYTES) }
}

/// The node's value.
///
/// # Safety
/// `node` lies in `arena` and its [`write()`] happened before this call.
#[inline]
pub(crate) unsafe fn value(arena: &Arena, node: NodeOffset) -> &[u8] {
    // SAFETY: as the caller promises.
    let (key_bytes, value_bytes) = unsafe { lengths(arena, node) };
    // SAFETY: `write` has filled that many bytes behind the key, and they never change (N2).
    unsafe { arena.bytes(node.byte() + LENGTHS_BYTES + key_bytes + TRAILER_BYTES, value_bytes) }
}

/// Bytes of the user key and of the value.
///
/// # Safety
/// `node` lies in `arena` and its [`write()`] happened before this call.
#[inline]
unsafe fn lengths(arena: &Arena, node: NodeOffset) -> (usize, usize) {
    // SAFETY: every node starts with its lengths, which never change (N2).
    let bytes = unsafe { arena.bytes(node.byte(), LENGTHS_BYTES) };
    let word = u64::from_ne_bytes(bytes.try_into().expect("two lengths"));
    let [key, value] = if cfg!(target_endian = "little") { [word, word >> 32] } else { [word >> 32, word] };
    (key as u32 as usize, value as u32 as usize)
}
