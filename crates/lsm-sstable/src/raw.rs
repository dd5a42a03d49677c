//! A door for tests: tables put together from raw blocks, as no builder would write them.
//!
//! A hostile writer knows how to make checksums. What is behind them must hold too, so tests and fuzz targets bring
//! payloads of their own; here they get trailers, a metaindex and a footer that are sound.

use lsm_core::Result;

use crate::block_builder::BlockBuilder;
use crate::checksum::{BlockChecksum, ChecksumKind};
use crate::compression::{self, Dictionary};
use crate::footer::Footer;
use crate::handle::BlockHandle;
use crate::output::Output;
use crate::properties::Properties;

pub use crate::compression::STORED;

/// Where a raw block lies: its offset and the bytes of its payload.
pub type Place = (u64, u64);

/// A table of format version 5 that grows block by block.
pub struct RawTable {
    output: Output<Vec<u8>>,
    metaindex: Vec<(String, BlockHandle)>,
}

impl Default for RawTable {
    fn default() -> RawTable {
        let checksum = BlockChecksum { kind: ChecksumKind::Crc32c, context: 0 };
        RawTable { output: Output::new(Vec::new(), checksum, "".into()), metaindex: Vec::new() }
    }
}

impl RawTable {
    /// Appends a block whose bytes are compressed as `kind` says.
    ///
    /// # Errors
    /// None: memory takes everything.
    pub fn block(&mut self, stored: &[u8], kind: u8) -> Result<Place> {
        self.output.write_block(stored, kind).map(|handle| (handle.offset, handle.bytes))
    }

    /// Names a block in the metaindex.
    pub fn name(&mut self, name: &str, (offset, bytes): Place) {
        self.metaindex.push((name.to_owned(), BlockHandle { offset, bytes }));
    }

    /// The table, whose index is the block at `index`.
    ///
    /// # Errors
    /// None: memory takes everything.
    pub fn finish(mut self, (offset, bytes): Place) -> Result<Vec<u8>> {
        let mut block = BlockBuilder::new(1);
        self.metaindex.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, handle) in &self.metaindex {
            let mut value = Vec::new();
            handle.encode(&mut value);
            block.add(name.as_bytes(), &value);
        }
        let metaindex = self.output.write_block(block.finish(), STORED)?;
        let checksum = self.output.checksum();
        let index = Some(BlockHandle { offset, bytes });
        let footer = Footer { format_version: 5, checksum, metaindex, index }.encode(self.output.offset());
        self.output.write(&footer)?;
        self.output.finish()
    }
}

/// A handle as index blocks hold it.
pub fn handle((offset, bytes): Place) -> Vec<u8> {
    let mut out = Vec::new();
    BlockHandle { offset, bytes }.encode(&mut out);
    out
}

/// The payload of a block of these entries, every key whole.
pub fn block_of(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = BlockBuilder::new(1);
    entries.iter().for_each(|(key, value)| block.add(key, value));
    block.finish().to_vec()
}

/// The payload of a properties block.
pub fn properties_block(properties: &Properties) -> Vec<u8> {
    properties.encode()
}

/// Undoes compression of type `kind`; at most `cap` bytes come out.
///
/// # Errors
/// Corruption, or Unsupported for kinds that are not read.
pub fn decompress(kind: u8, stored: &[u8], dictionary: Option<&[u8]>, cap: u64) -> Result<Vec<u8>> {
    let dictionary = dictionary.map(|bytes| Dictionary::new(bytes.to_vec()));
    compression::decompress(kind, stored, dictionary.as_ref(), cap)
}
