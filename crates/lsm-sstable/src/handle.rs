//! Where a block lies: its offset and how many bytes it has.
//!
//! ```text
//! handle    = varint64 offset, varint64 bytes        bytes leaves out the trailer
//! on disk   = payload[bytes], compression type u8, checksum fixed32
//! ```

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use lsm_core::coding::{Decoder, put_varint64};

/// Compression type and checksum behind every block.
pub(crate) const BLOCK_TRAILER_BYTES: usize = 1 + 4;

/// Where a block lies in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct BlockHandle {
    /// Offset of the first byte of the payload.
    pub(crate) offset: u64,
    /// Bytes of the payload, without the trailer.
    pub(crate) bytes: u64,
}

impl BlockHandle {
    /// Offset of the first byte behind the trailer, or `None` where that does not fit 64 bits.
    pub(crate) fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.bytes)?.checked_add(BLOCK_TRAILER_BYTES as u64)
    }

    /// Appends the handle as two varints.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint64(out, self.offset);
        put_varint64(out, self.bytes);
    }

    /// Reads a handle from the front of `decoder`.
    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Option<BlockHandle> {
        Some(BlockHandle { offset: decoder.varint64()?, bytes: decoder.varint64()? })
    }
}
