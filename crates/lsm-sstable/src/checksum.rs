//! The checksum behind each block, of any kind that RocksDB has, with or without context.
//!
//! From format_version 6 on, a number that depends on the file (`context`, from its footer) and on the
//! block's offset is added to each checksum: a valid block that was read from the wrong place, or from
//! another table, does not pass.

use lsm_core::checksum::{crc32c_append, mask, masked_crc32c};
use lsm_core::{Error, Result};
use twox_hash::{XxHash3_64, XxHash32, XxHash64};

/// What the last byte contributes to a checksum of kind 4.
const LAST_BYTE_FACTOR: u32 = 0x6b90_83d9;

/// The hash behind the checksums of a table. The numbers are RocksDB's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum ChecksumKind {
    /// Blocks carry no checksum, and none is verified.
    None = 0,
    /// Masked crc32c; what this crate writes.
    Crc32c = 1,
    /// XXH32 with seed 0.
    XxHash32 = 2,
    /// The low half of XXH64 with seed 0.
    XxHash64 = 3,
    /// The low half of XXH3 over all but the last byte, which is mixed in afterwards.
    Xxh3 = 4,
}

impl ChecksumKind {
    pub(crate) fn from_byte(byte: u8) -> Result<ChecksumKind> {
        match byte {
            0 => Ok(ChecksumKind::None),
            1 => Ok(ChecksumKind::Crc32c),
            2 => Ok(ChecksumKind::XxHash32),
            3 => Ok(ChecksumKind::XxHash64),
            4 => Ok(ChecksumKind::Xxh3),
            // A later RocksDB counts on; anything else was never written.
            5..16 => Err(Error::unsupported(format!("block checksum of kind {byte}"))),
            _ => Err(Error::corruption(format!("block checksum of kind {byte}"))),
        }
    }

    /// The checksum of `bytes`, without context.
    pub(crate) fn of(self, bytes: &[u8]) -> u32 {
        match self {
            ChecksumKind::None => 0,
            ChecksumKind::Crc32c => masked_crc32c(bytes),
            ChecksumKind::XxHash32 => XxHash32::oneshot(0, bytes),
            ChecksumKind::XxHash64 => XxHash64::oneshot(0, bytes) as u32,
            ChecksumKind::Xxh3 => match bytes.split_last() {
                Some((last, head)) => {
                    XxHash3_64::oneshot(head) as u32 ^ u32::from(*last).wrapping_mul(LAST_BYTE_FACTOR)
                }
                None => 0,
            },
        }
    }
}

/// How the blocks of one table are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockChecksum {
    pub(crate) kind: ChecksumKind,
    /// Base of the context, or 0 in tables whose checksums have none.
    pub(crate) context: u32,
}

impl BlockChecksum {
    /// The checksum of `bytes` (payload and compression type) that lie at `offset`.
    pub(crate) fn of(&self, offset: u64, bytes: &[u8]) -> u32 {
        self.kind.of(bytes).wrapping_add(self.modifier(offset))
    }

    /// Bytes of the shortest front of `bytes`, which lie at `offset`, behind which its checksum stands.
    pub(crate) fn first_fit(&self, offset: u64, bytes: &[u8]) -> Option<usize> {
        let mut crc = 0;
        (1..bytes.len()).find(|&covered| {
            let (front, behind) = bytes.split_at(covered);
            let computed = match self.kind {
                // What this crate writes, byte by byte: all fronts one after the other take the square of the time.
                ChecksumKind::Crc32c => {
                    crc = crc32c_append(crc, &front[covered - 1..]);
                    mask(crc)
                }
                kind => kind.of(front),
            };
            let stored = behind.first_chunk::<4>().map(|stored| u32::from_le_bytes(*stored));
            stored == Some(computed.wrapping_add(self.modifier(offset)))
        })
    }

    fn modifier(&self, offset: u64) -> u32 {
        match self.context {
            0 => 0,
            context => context ^ (offset as u32).wrapping_add((offset >> 32) as u32),
        }
    }

    /// Compares the checksum of `bytes` at `offset` with `stored`.
    pub(crate) fn verify(&self, offset: u64, bytes: &[u8], stored: u32) -> Result<()> {
        // Tables without checksums store none either: where one stands, it is the footer that lies.
        let computed = self.of(offset, bytes);
        if computed == stored {
            return Ok(());
        }
        Err(Error::corruption(format!("block checksum {computed:08x}, stored {stored:08x}")).at(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_tells_places_and_files_apart() {
        let here = BlockChecksum { kind: ChecksumKind::Crc32c, context: 0x1234_5678 };
        let elsewhere = BlockChecksum { context: 0x1234_5679, ..here };
        let stored = here.of(4096, b"block\0");
        assert!(here.verify(4096, b"block\0", stored).is_ok());
        assert!(here.verify(8192, b"block\0", stored).unwrap_err().is_corruption());
        assert!(elsewhere.verify(4096, b"block\0", stored).unwrap_err().is_corruption());
    }

    #[test]
    fn the_shortest_front_that_fits_is_found_under_every_kind() {
        for (kind, context) in [1, 2, 3, 4].map(|kind| (ChecksumKind::from_byte(kind).unwrap(), 77 * u32::from(kind))) {
            let checksum = BlockChecksum { kind, context };
            let bytes: Vec<u8> = (0..300_u32).map(|at| (at * at % 251) as u8).collect();
            for covered in [1, 2, 100, 290] {
                let stored = checksum.of(4096, &bytes[..covered]).to_le_bytes();
                let block = [&bytes[..covered], &stored, b"and more"].concat();
                assert_eq!(checksum.first_fit(4096, &block), Some(covered), "{kind:?}");
                assert_eq!(checksum.first_fit(4096, &block[..covered + 3]), None, "{kind:?}");
            }
        }
    }

    #[test]
    fn kinds_agree_with_published_vectors() {
        assert_eq!(ChecksumKind::XxHash32.of(b""), 0x02cc_5d05);
        assert_eq!(ChecksumKind::XxHash64.of(b""), 0x51d8_e999);
        assert_eq!(ChecksumKind::Xxh3.of(b""), 0);
        // XXH3_64("") = 2d06800538d394c2; the only byte is the last one.
        assert_eq!(ChecksumKind::Xxh3.of(&[3]), 0x38d3_94c2 ^ 3_u32.wrapping_mul(LAST_BYTE_FACTOR));
        assert!(matches!(ChecksumKind::from_byte(9), Err(Error::Unsupported { .. })));
    }
}
