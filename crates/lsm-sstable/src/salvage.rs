//! What can still be read of a damaged table.
//!
//! Opening a table refuses it as soon as one part is damaged, for a reader must not miss anything. Whoever
//! repairs a store wants the opposite: every entry whose block is whole, and a list of what is not.
//!
//! Data blocks are found through the index. An index that is damaged is replaced by a walk: blocks lie one
//! behind the other, so a block ends where a checksum fits; the walk ends at a block that is damaged too, or
//! where the properties say that the data ends. Without footer or metaindex nothing says where the data ends and
//! what a block's bytes mean, and the table is lost as a whole.
//!
//! # Invariants
//! V1. Entries come only from blocks whose checksum fits and whose layout is sound, in ascending order.
//! V2. Every part that was not read is in the report.

use std::sync::Arc;

use lsm_core::key::compare;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Error, ReadAt, Result};

use crate::block::Block;
use crate::block_cursor::BlockCursor;
use crate::checksum::ChecksumKind;
use crate::compression::Dictionary;
use crate::handle::{BLOCK_TRAILER_BYTES, BlockHandle};
use crate::index::{Index, IndexFormat};
use crate::open::{Opening, global_seq};
use crate::properties::{Properties, context_of_identity};
use crate::source::Window;
use crate::table::{Table, TableOptions};

/// Read in pieces of this size.
const READAHEAD_BYTES: usize = 256 << 10;

/// A walk looks this far for the end of a block: it tries every length.
const WALKED_BLOCK_BYTES_MAX: u64 = 64 << 10;

/// What became of a damaged table.
#[derive(Clone, Default, Debug)]
pub struct SalvageReport {
    /// Point entries that were handed out.
    pub entries: u64,
    /// The range tombstones; none if their block is damaged.
    pub range_tombstones: Vec<RangeTombstone>,
    /// The properties, if they could be read.
    pub properties: Option<Properties>,
    /// What could not be read.
    pub lost: Vec<LostPart>,
    /// What the footer adds to all checksums, if it does.
    context: Option<u32>,
}

/// A part of a table that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostPart {
    /// What it is: `"data block"`, `"filter"` and the like.
    pub part: &'static str,
    /// Why.
    pub reason: String,
}

/// Takes an internal key and its value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// Hands every readable point entry of a table to `visit`, in ascending order, and reports the rest.
///
/// # Errors
/// I/O errors, and what `visit` returns. Damage is no error here. Unsupported where a part that is whole needs a
/// feature that this store does not have: such a table is not damaged.
pub fn salvage(source: Arc<dyn ReadAt>, options: &TableOptions, visit: &mut Visit<'_>) -> Result<SalvageReport> {
    let mut report = SalvageReport::default();
    let opened = Opening::new(source, options).map_err(|error| match error {
        // A footer before format version 6 carries no checksum: a version that does not exist is damage.
        Error::Unsupported(unsupported) => Error::corruption(unsupported.feature),
        error => error,
    });
    let Some(mut opening) = report.keep("footer", opened)? else { return Ok(report) };
    report.context = Some(opening.footer.checksum.context).filter(|&context| context != 0);
    let metaindex = opening.footer.metaindex;
    if report.keep("metaindex", opening.read_metaindex(metaindex))?.is_none() {
        return Ok(report);
    }
    report.properties = report.keep("properties", opening.properties())?;
    let properties = report.properties.clone().unwrap_or_default();
    let global = report.keep("properties", global_seq(&properties, options.global_seq))?.flatten();
    let dictionary = report.keep("dictionary", opening.optional_payload("rocksdb.compression_dict"))?.flatten();
    let dictionary = dictionary.map(Dictionary::new);
    report.range_tombstones = report.keep("range deletions", opening.tombstones(global))?.unwrap_or_default();
    report.keep("filter", opening.filter(&properties))?;
    let handles = data_blocks(&mut opening, &mut report)?;
    let mut window = Window::new(READAHEAD_BYTES);
    let (mut last, mut patched) = (Vec::new(), Vec::new());
    for handle in handles {
        let block = opening.source.block(handle, &mut window, dictionary.as_ref(), opening.block_bytes_max);
        let Some(block) = report.keep("data block", block)? else { continue };
        let entries = whole_entries(block, &last).map_err(|error| opening.source.place(error, handle.offset));
        for (key, value) in report.keep("data block", entries)?.unwrap_or_default() {
            last.clone_from(&key);
            let key = match global {
                None => &key,
                Some(seq) => {
                    Table::patched(seq, &key, &mut patched);
                    &patched
                }
            };
            visit(key, &value)?;
            report.entries += 1;
        }
    }
    Ok(report)
}

impl SalvageReport {
    /// Whether this was the table with [`Properties::identity`] `identity`, as far as its properties and, should
    /// they be lost, its footer can tell.
    pub fn may_be(&self, identity: u64) -> bool {
        let told = self.properties.as_ref().and_then(Properties::identity);
        told.is_none_or(|told| told == identity)
            && self.context.is_none_or(|context| context == context_of_identity(identity))
    }

    /// Notes damage and goes on; other errors end the salvage.
    fn keep<T>(&mut self, part: &'static str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error @ Error::Corruption { .. }) => {
                self.lost.push(LostPart { part, reason: error.to_string() });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// All entries of a block, or an error if any of them is unsound or does not come after `last` (V1).
fn whole_entries(block: Block, last: &[u8]) -> Result<Entries> {
    block.check_restart_entries()?;
    let mut entries = Entries::new();
    let mut cursor = BlockCursor::new(block);
    cursor.seek_to_first()?;
    while cursor.valid() {
        let before = entries.last().map_or(last, |(key, _)| key.as_slice());
        if !before.is_empty() && compare(before, cursor.key()).is_ge() {
            return Err(Error::corruption("keys do not ascend"));
        }
        entries.push((cursor.key().to_vec(), cursor.value().to_vec()));
        cursor.next()?;
    }
    Ok(entries)
}

/// Where the data blocks are, by the index or, if that is damaged, by a walk.
fn data_blocks(opening: &mut Opening, report: &mut SalvageReport) -> Result<Vec<BlockHandle>> {
    let Some(handle) = report.keep("index", opening.index_handle())? else { return walk(opening, report) };
    let index = match &report.properties {
        Some(properties) => opening.index(handle, properties),
        None => index_of_unknown_format(opening, handle),
    };
    match report.keep("index", index)? {
        Some(index) => Ok((0..index.len()).map(|block| index.handle(block)).collect()),
        None => walk(opening, report),
    }
}

/// Tries the formats an index may have; its handles are the same in each that fits.
fn index_of_unknown_format(opening: &mut Opening, handle: BlockHandle) -> Result<Index> {
    let mut tried = Err(Error::corruption("index of an unknown format").at(handle.offset));
    for (user_keys, value_delta) in [(true, true), (false, true), (true, false), (false, false)] {
        tried = index_of_unknown_depth(opening, handle, IndexFormat { user_keys, value_delta, first_keys: false });
        if tried.is_ok() {
            break;
        }
    }
    tried
}

/// A table begins with data: an index that leads elsewhere first is the top of a partitioned one.
fn index_of_unknown_depth(opening: &mut Opening, handle: BlockHandle, format: IndexFormat) -> Result<Index> {
    let index = opening.index_of_blocks(&[handle], format)?;
    match index.len() > 0 && index.handle(0).offset > 0 {
        true => opening.index_below(&index, format),
        false => Ok(index),
    }
}

/// Finds data blocks one behind the other by their checksums, as far as the properties say that there are some.
fn walk(opening: &Opening, report: &SalvageReport) -> Result<Vec<BlockHandle>> {
    let mut handles = Vec::new();
    let data_bytes = report.properties.as_ref().map_or(0, |properties| properties.data_bytes);
    let end = data_bytes.min(opening.source.blocks_end);
    if opening.source.checksum.kind == ChecksumKind::None {
        return Ok(handles);
    }
    let mut offset = 0;
    while let Some(bytes) = walked_block(opening, offset, end)? {
        handles.push(BlockHandle { offset, bytes });
        offset += bytes + BLOCK_TRAILER_BYTES as u64;
    }
    Ok(handles)
}

/// How long the block at `offset` is: as long as its checksum fits.
fn walked_block(opening: &Opening, offset: u64, end: u64) -> Result<Option<u64>> {
    let mut bytes = vec![0; end.saturating_sub(offset).min(WALKED_BLOCK_BYTES_MAX) as usize];
    opening.source.read(offset, &mut bytes)?;
    Ok(opening.source.checksum.first_fit(offset, &bytes).map(|covered| covered as u64 - 1))
}
