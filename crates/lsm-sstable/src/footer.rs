//! The last 53 bytes of a table: which kind of file it is and where everything else begins.
//!
//! ```text
//! off  format_version 2..5                       6, 7
//!   0  checksum kind u8                          checksum kind u8
//!   1  metaindex handle, index handle, zeros     3e 00 7a 00
//!   5                                            footer checksum fixed32
//!   9                                            context base fixed32, not 0
//!  13                                            metaindex bytes fixed32
//!  17                                            24 zeros
//!  41  format_version fixed32                    format_version fixed32
//!  45  f7 cf f4 85 b7 41 e2 88                   f7 cf f4 85 b7 41 e2 88
//! ```
//!
//! Source of the layout: RocksDB `table/format.cc`. From 6 on the metaindex ends right before the footer,
//! and the index is found through it.

use lsm_core::coding::Decoder;
use lsm_core::{Error, ReadAt, Result};

use crate::checksum::{BlockChecksum, ChecksumKind};
use crate::handle::{BLOCK_TRAILER_BYTES, BlockHandle};

pub(crate) const FOOTER_BYTES: usize = 53;
const HANDLES: std::ops::Range<usize> = 1..41;
const EXTENDED_MARK: [u8; 4] = [0x3e, 0, 0x7a, 0];
const FOOTER_CHECKSUM: std::ops::Range<usize> = 5..9;
const VERSION: std::ops::Range<usize> = 41..45;
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
const MAGIC_BYTES: usize = 8;
const _: () = assert!(VERSION.end + MAGIC_BYTES == FOOTER_BYTES);

/// Format versions that are read.
pub(crate) const VERSIONS: std::ops::RangeInclusive<u32> = 2..=7;
/// From this version on, checksums have context and the index stands in the metaindex.
pub(crate) const CONTEXT_FROM: u32 = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) format_version: u32,
    pub(crate) checksum: BlockChecksum,
    pub(crate) metaindex: BlockHandle,
    /// Where the index lies; from version 6 on the metaindex says so.
    pub(crate) index: Option<BlockHandle>,
}

impl Footer {
    /// The bytes of this footer, which lies at `offset`.
    #[expect(clippy::expect_used, reason = "what is written, not what is read")]
    pub(crate) fn encode(&self, offset: u64) -> [u8; FOOTER_BYTES] {
        let mut footer = [0; FOOTER_BYTES];
        footer[0] = self.checksum.kind as u8;
        match self.index {
            Some(index) => {
                let mut handles = Vec::new();
                self.metaindex.encode(&mut handles);
                index.encode(&mut handles);
                footer[HANDLES][..handles.len()].copy_from_slice(&handles);
            }
            None => {
                footer[1..5].copy_from_slice(&EXTENDED_MARK);
                footer[9..13].copy_from_slice(&self.checksum.context.to_le_bytes());
                let bytes = u32::try_from(self.metaindex.bytes).expect("a metaindex has a dozen entries");
                footer[13..17].copy_from_slice(&bytes.to_le_bytes());
            }
        }
        footer[VERSION].copy_from_slice(&self.format_version.to_le_bytes());
        footer[VERSION.end..].copy_from_slice(&MAGIC.to_le_bytes());
        if self.index.is_none() {
            let checksum = self.checksum.of(offset, &footer);
            footer[FOOTER_CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        }
        footer
    }

    /// Reads the footer that lies at `offset`.
    pub(crate) fn decode(footer: &[u8; FOOTER_BYTES], offset: u64) -> Result<Footer> {
        let format_version = version_of(footer)?;
        let kind = ChecksumKind::from_byte(footer[0])?;
        let decoded = match format_version >= CONTEXT_FROM {
            true => Footer::decode_extended(footer, offset, format_version, kind),
            false => Footer::decode_handles(footer, format_version, kind),
        };
        decoded.map_err(|error| error.at(offset))
    }

    fn decode_handles(footer: &[u8; FOOTER_BYTES], format_version: u32, kind: ChecksumKind) -> Result<Footer> {
        let mut decoder = Decoder::new(&footer[HANDLES]);
        let handles = (BlockHandle::decode(&mut decoder), BlockHandle::decode(&mut decoder));
        match handles {
            (Some(metaindex), Some(index)) => {
                let checksum = BlockChecksum { kind, context: 0 };
                let decoded = Footer { format_version, checksum, metaindex, index: Some(index) };
                // No checksum covers these bytes, but each of them is determined: the padding is zero, and there
                // is one way to write a number.
                match decoded.encode(0) == *footer {
                    true => Ok(decoded),
                    false => Err(Error::corruption("footer is written as none ever was")),
                }
            }
            _ => Err(Error::corruption("footer without two handles")),
        }
    }

    fn decode_extended(
        footer: &[u8; FOOTER_BYTES],
        offset: u64,
        format_version: u32,
        kind: ChecksumKind,
    ) -> Result<Footer> {
        let mut decoder = Decoder::new(&footer[HANDLES]);
        let mark = decoder.bytes(EXTENDED_MARK.len());
        let fields = (decoder.fixed32(), decoder.fixed32(), decoder.fixed32());
        let (Some(stored), Some(context), Some(metaindex_bytes)) = fields else {
            return Err(Error::corruption("footer is cut"));
        };
        if mark != Some(&EXTENDED_MARK) || context == 0 || decoder.rest().iter().any(|&byte| byte != 0) {
            return Err(Error::corruption(format!("footer is not one of format version {format_version}")));
        }
        let checksum = BlockChecksum { kind, context };
        let mut unsigned = *footer;
        unsigned[FOOTER_CHECKSUM].fill(0);
        checksum.verify(offset, &unsigned, stored)?;
        let bytes = u64::from(metaindex_bytes);
        let start = offset
            .checked_sub(bytes + BLOCK_TRAILER_BYTES as u64)
            .ok_or_else(|| Error::corruption(format!("metaindex of {bytes} bytes before offset {offset}")))?;
        Ok(Footer { format_version, checksum, metaindex: BlockHandle { offset: start, bytes }, index: None })
    }
}

fn version_of(footer: &[u8; FOOTER_BYTES]) -> Result<u32> {
    let cut = || Error::corruption("footer is cut");
    let (rest, magic) = footer.split_last_chunk::<MAGIC_BYTES>().ok_or_else(cut)?;
    match u64::from_le_bytes(*magic) {
        MAGIC => {}
        0xdb47_7524_8b80_fb57 => return Err(Error::unsupported("LevelDB table or format version 0")),
        0x8242_2296_63bf_9564 | 0x4f34_18eb_7a8f_13b8 => return Err(Error::unsupported("plain table")),
        0x926789d0_c5f17873 => return Err(Error::unsupported("cuckoo table")),
        magic => return Err(Error::corruption(format!("magic number {magic:016x} is not that of a table"))),
    }
    let version = rest.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    match VERSIONS.contains(&version) {
        true => Ok(version),
        // A later RocksDB counts on; anything else was never written.
        false if version < 16 => Err(Error::unsupported(format!("table format version {version}, 2 to 7 are read"))),
        false => Err(Error::corruption(format!("table format version {version}"))),
    }
}

/// The last bytes of `source` and their offset.
pub(crate) fn read_footer(source: &dyn ReadAt) -> Result<(Footer, u64)> {
    let bytes = source.size().map_err(|error| Error::io("stat", "", error))?;
    let offset = bytes
        .checked_sub(FOOTER_BYTES as u64)
        .ok_or_else(|| Error::corruption(format!("file of {bytes} bytes is too short for a table")))?;
    let mut footer = [0; FOOTER_BYTES];
    source.read_exact_at(offset, &mut footer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::corruption("footer is cut").at(offset),
        _ => Error::io("read", "", error),
    })?;
    Ok((Footer::decode(&footer, offset)?, offset))
}

/// The format version in the footer of a table, without opening the table.
///
/// # Errors
/// Corruption or Unsupported where `source` is not a table that this crate reads; I/O errors.
pub fn read_footer_version(source: &dyn ReadAt) -> Result<u32> {
    read_footer(source).map(|(footer, _)| footer.format_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(context: u32) -> Footer {
        let metaindex = BlockHandle { offset: 700, bytes: 295 };
        let index = (context == 0).then_some(BlockHandle { offset: 300, bytes: 20 });
        let checksum = BlockChecksum { kind: ChecksumKind::Crc32c, context };
        Footer { format_version: if context == 0 { 5 } else { 6 }, checksum, metaindex, index }
    }

    #[test]
    fn both_layouts_come_back() {
        for footer in [footer(0), footer(77)] {
            assert_eq!(Footer::decode(&footer.encode(1000), 1000).unwrap(), footer);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_version_6_footer_is_noticed() {
        let good = footer(0x1234_5678).encode(1000);
        for bit in 0..FOOTER_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let decoded = Footer::decode(&bad, 1000);
            // Without a checksum kind there is no checksum to fail; the handle is what it was.
            let same = decoded.as_ref().is_ok_and(|footer| footer.checksum.kind == ChecksumKind::None);
            assert!(same || decoded.is_err(), "bit {bit}: {decoded:?}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let check = |magic: u64, version: u32, expected: &str| {
            let mut bytes = footer(0).encode(0);
            bytes[VERSION].copy_from_slice(&version.to_le_bytes());
            bytes[VERSION.end..].copy_from_slice(&magic.to_le_bytes());
            let error = Footer::decode(&bytes, 0).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(0xdb47_7524_8b80_fb57, 0, "LevelDB");
        check(0x8242_2296_63bf_9564, 1, "plain table");
        check(0x1122_3344_5566_7788, 5, "magic number");
        check(MAGIC, 1, "version 1");
        check(MAGIC, 8, "version 8");
        assert!(read_footer_version(&vec![0; 52]).unwrap_err().is_corruption());
    }
}
