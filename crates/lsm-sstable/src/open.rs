//! Opens a table: footer, metaindex, properties, index, filter and range tombstones, in this order.
//!
//! Everything but the data blocks is read, verified and decoded here, so that what follows can rely on it.
//! Features that this store does not have are refused here where the metadata shows them.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::sync::Arc;

use lsm_core::coding::Decoder;
use lsm_core::key::{Kind, ParsedKey, USER_KEY_BYTES_MAX, VALUE_BYTES_MAX};
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_core::{Error, ReadAt, Result, SeqNo};

use crate::block::{Block, KeyBudget, index_bytes_max};
use crate::bloom::BloomFilter;
use crate::cache::Slots;
use crate::compression::Dictionary;
use crate::filter::Filter;
use crate::footer::{Footer, read_footer};
use crate::handle::BlockHandle;
use crate::index::{Index, IndexFormat};
use crate::properties::{COMPARATOR, Properties, named_entries};
use crate::source::{BlockSource, Window};
use crate::table::{Table, TableOptions};

const TAIL_BYTES_GUESS: u64 = 16 << 10;
/// The tail is read at once up to this size; what lies before is read block by block.
const TAIL_BYTES_MAX: u64 = 8 << 20;
/// Room beyond keys and values that a block needs for lengths and restart points.
const BLOCK_SLACK_BYTES: u64 = 1 << 20;
/// A block is cut as soon as it is full, so that no entry makes it larger than this.
const BLOCK_BYTES_MAX: u64 = (USER_KEY_BYTES_MAX + VALUE_BYTES_MAX) as u64 + BLOCK_SLACK_BYTES;

/// What may come out of a compressed block that no writer compresses: all but data and index.
const NEVER_COMPRESSED: u64 = 0;

impl Table {
    /// Opens the table in `source`.
    ///
    /// # Errors
    /// Corruption where anything but data blocks is damaged, Unsupported for features that this store does
    /// not have, I/O errors; all name the file.
    pub fn open(source: Arc<dyn ReadAt>, options: TableOptions) -> Result<Table> {
        let file = options.file.clone();
        open(source, options).map_err(|error| error.in_file(&file))
    }
}

fn open(file: Arc<dyn ReadAt>, mut options: TableOptions) -> Result<Table> {
    let mut opening = Opening::new(file, &options)?;
    let (format_version, metaindex) = (opening.footer.format_version, opening.footer.metaindex);
    opening.read_metaindex(metaindex)?;
    let properties = opening.properties()?;
    check_version(format_version, &properties)?;
    let dictionary = opening.optional_payload("rocksdb.compression_dict")?.map(Dictionary::new);
    let index_handle = opening.index_handle()?;
    let index = opening.index(index_handle, &properties)?;
    let filter = opening.filter(&properties)?;
    let global_seq = global_seq(&properties, options.global_seq)?;
    let stored_tombstones = opening.tombstones(global_seq)?;
    let tombstones = Arc::new(RangeTombstones::new(stored_tombstones.clone()));
    let Opening { source, block_bytes_max, .. } = opening;
    let slots = options.cache.as_ref().map(|cache| Slots::new(cache, index.len()));
    if let (Some(slots), Some(fresh)) = (&slots, options.fresh.take()) {
        fresh.settle_in(slots);
    }
    Ok(Table {
        source,
        options,
        slots,
        format_version,
        properties,
        index,
        filter,
        dictionary,
        tombstones,
        stored_tombstones,
        global_seq,
        block_bytes_max,
    })
}

/// A table of which only the footer was read so far.
pub(crate) struct Opening {
    pub(crate) footer: Footer,
    pub(crate) source: BlockSource,
    window: Window,
    pub(crate) metaindex: Vec<(String, BlockHandle)>,
    pub(crate) block_bytes_max: u64,
}

impl Opening {
    pub(crate) fn new(file: Arc<dyn ReadAt>, options: &TableOptions) -> Result<Opening> {
        let (footer, blocks_end) = read_footer(&file)?;
        let source = BlockSource { file, path: options.file.clone(), blocks_end, checksum: footer.checksum };
        let tail_bytes = options.tail_bytes.unwrap_or(TAIL_BYTES_GUESS).min(TAIL_BYTES_MAX);
        let window = Window::over(&source, blocks_end.saturating_sub(tail_bytes))?;
        Ok(Opening { footer, source, window, metaindex: Vec::new(), block_bytes_max: BLOCK_BYTES_MAX })
    }

    pub(crate) fn index_handle(&self) -> Result<BlockHandle> {
        let handle = self.footer.index.or_else(|| self.find("rocksdb.index"));
        handle.ok_or_else(|| Error::corruption("metaindex does not name an index"))
    }

    pub(crate) fn read_metaindex(&mut self, handle: BlockHandle) -> Result<()> {
        let block = self.block(handle)?;
        for (name, value) in named_entries(&block).map_err(|error| error.at(handle.offset))? {
            let found = BlockHandle::decode(&mut Decoder::new(value)).ok_or_else(|| {
                Error::corruption(format!("metaindex entry {name} holds no handle")).at(handle.offset)
            })?;
            self.metaindex.push((name, found));
        }
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<BlockHandle> {
        self.metaindex.iter().find(|(present, _)| present == name).map(|(_, handle)| *handle)
    }

    fn payload(&mut self, handle: BlockHandle) -> Result<Vec<u8>> {
        self.source.payload(handle, &mut self.window, None, NEVER_COMPRESSED)
    }

    fn block(&mut self, handle: BlockHandle) -> Result<Block> {
        self.source.block(handle, &mut self.window, None, NEVER_COMPRESSED)
    }

    fn index_block(&mut self, handle: BlockHandle) -> Result<Block> {
        let cap = self.block_bytes_max.min(index_bytes_max(self.source.blocks_end)); // X4
        self.source.block(handle, &mut self.window, None, cap)
    }

    pub(crate) fn optional_payload(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        self.find(name).map(|handle| self.payload(handle)).transpose()
    }

    /// Reads the properties and sets the limit for decompressed blocks by them.
    pub(crate) fn properties(&mut self) -> Result<Properties> {
        // Its name before format version 2 was stabilised.
        let Some(handle) = self.find("rocksdb.properties").or_else(|| self.find("rocksdb.stats")) else {
            return Ok(Properties::of_table_without());
        };
        let block = self.block(handle)?;
        let properties = Properties::decode(&block).map_err(|error| error.at(handle.offset))?;
        if !properties.comparator.is_empty() && properties.comparator != COMPARATOR {
            return Err(Error::unsupported(format!("comparator {}", properties.comparator)));
        }
        if properties.raw_key_bytes > 0 {
            // An index with first keys may hold each key twice.
            let copies = if properties.index_type == 3 { 2 } else { 1 };
            let raw_key_bytes = properties.raw_key_bytes.saturating_mul(copies);
            let raw_bytes = raw_key_bytes.saturating_add(properties.raw_value_bytes);
            let overhead = properties.entries.saturating_mul(32).saturating_add(BLOCK_SLACK_BYTES);
            self.block_bytes_max = raw_bytes.saturating_add(overhead).min(BLOCK_BYTES_MAX);
        }
        Ok(properties)
    }

    pub(crate) fn index(&mut self, handle: BlockHandle, properties: &Properties) -> Result<Index> {
        let format = index_format(properties);
        match properties.index_type {
            0 | 1 | 3 => self.index_of_blocks(&[handle], format),
            2 => {
                let top = self.index_of_blocks(&[handle], format)?;
                self.index_below(&top, format)
            }
            other => Err(Error::unsupported(format!("index of type {other}"))),
        }
    }

    /// The index whose partitions `top` leads to.
    pub(crate) fn index_below(&mut self, top: &Index, format: IndexFormat) -> Result<Index> {
        let partitions: Vec<BlockHandle> = (0..top.len()).map(|part| top.handle(part)).collect();
        self.index_of_blocks(&partitions, format)
    }

    pub(crate) fn index_of_blocks(&mut self, handles: &[BlockHandle], format: IndexFormat) -> Result<Index> {
        let mut index = Index::of_file(self.source.blocks_end);
        let mut budget = KeyBudget::of_index(self.source.blocks_end);
        for &handle in handles {
            let block = self.index_block(handle)?;
            index.append(&block, format, &mut budget).map_err(|error| self.source.place(error, handle.offset))?;
        }
        index.finish();
        Ok(index)
    }

    pub(crate) fn filter(&mut self, properties: &Properties) -> Result<Filter> {
        if !properties.whole_key_filtering {
            return Ok(Filter::None);
        }
        if let Some(bytes) = self.optional_payload("fullfilter.rocksdb.BuiltinBloomFilter")? {
            return Ok(Filter::Full(BloomFilter::new(bytes)));
        }
        let Some(handle) = self.find("partitionedfilter.rocksdb.BuiltinBloomFilter") else { return Ok(Filter::None) };
        // It is built like the table's index, but has no data blocks with first keys.
        let format = IndexFormat { first_keys: false, ..index_format(properties) };
        let index = self.index_of_blocks(&[handle], format)?;
        let parts = (0..index.len()).map(|part| self.payload(index.handle(part)).map(BloomFilter::new));
        Ok(Filter::Partitioned { parts: parts.collect::<Result<_>>()?, index })
    }

    pub(crate) fn tombstones(&mut self, global_seq: Option<SeqNo>) -> Result<Vec<RangeTombstone>> {
        let Some(handle) = self.find("rocksdb.range_del") else { return Ok(Vec::new()) };
        let block = self.block(handle)?;
        decode_tombstones(&block, global_seq).map_err(|error| error.at(handle.offset))
    }
}

fn index_format(properties: &Properties) -> IndexFormat {
    IndexFormat {
        user_keys: properties.index_key_is_user_key != 0,
        value_delta: properties.index_value_is_delta_encoded != 0,
        first_keys: properties.index_type == 3,
    }
}

fn decode_tombstones(block: &Block, global_seq: Option<SeqNo>) -> Result<Vec<RangeTombstone>> {
    let mut tombstones = Vec::new();
    for (key, end) in block.entries()? {
        let parsed = ParsedKey::parse(&key).filter(|parsed| parsed.kind == Kind::RangeDeletion);
        let Some(ParsedKey { user_key, seq, .. }) = parsed else {
            return Err(Error::corruption(format!("range deletion under a key of {} bytes", key.len())));
        };
        tombstones.push(RangeTombstone { start: user_key.into(), end: end.into(), seq: global_seq.unwrap_or(seq) });
    }
    Ok(tombstones)
}

/// A footer before format version 6 has no checksum, so it must agree with the properties, where they tell.
fn check_version(in_footer: u32, properties: &Properties) -> Result<()> {
    match properties.format_version {
        0 => Ok(()),
        told if told == u64::from(in_footer) => Ok(()),
        told => Err(Error::corruption(format!("footer of format version {in_footer}, the properties say {told}"))),
    }
}

/// The sequence number of all entries, if the file was made to be ingested.
pub(crate) fn global_seq(properties: &Properties, of_manifest: Option<SeqNo>) -> Result<Option<SeqNo>> {
    let stored = properties.external_global_seq.unwrap_or(0);
    if properties.external_version.is_none_or(|version| version < 2) {
        return match stored {
            0 => Ok(None),
            _ => Err(Error::corruption(format!("global sequence number {stored} in a table that was not ingested"))),
        };
    }
    let stored = SeqNo::checked(stored)
        .ok_or_else(|| Error::corruption(format!("global sequence number {stored} has more than 56 bits")))?;
    match of_manifest.filter(|&known| known != SeqNo::ZERO) {
        Some(known) if stored != SeqNo::ZERO && stored != known => {
            Err(Error::corruption(format!("global sequence number {stored}, {known} in the manifest")))
        }
        known => Ok(Some(known.unwrap_or(stored)).filter(|&seq| seq != SeqNo::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{Compression, Compressor};
    use crate::raw::{RawTable, STORED, block_of, handle};
    use lsm_core::coding::put_length_prefixed;
    use lsm_core::key::InternalKey;

    /// A table written block by block, as another writer might.
    #[derive(Default)]
    struct Handmade(RawTable);

    impl Handmade {
        fn block(&mut self, payload: &[u8]) -> BlockHandle {
            let (offset, bytes) = self.0.block(payload, STORED).unwrap();
            BlockHandle { offset, bytes }
        }

        fn compressed(&mut self, payload: &[u8]) -> BlockHandle {
            let mut compressor = Compressor::new(Compression::Zstd { level: 1 }).unwrap();
            let (stored, kind) = compressor.compress(payload);
            assert!(kind != STORED && stored.len() < payload.len() / 100);
            let (offset, bytes) = self.0.block(stored, kind).unwrap();
            BlockHandle { offset, bytes }
        }

        /// A data block with one entry, and its key.
        fn data(&mut self) -> (Vec<u8>, BlockHandle) {
            let key = InternalKey::new(b"key", SeqNo::new(3), Kind::Value).as_bytes().to_vec();
            let handle = self.block(&block_of(&[(&key, b"value")]));
            (key, handle)
        }

        /// A binary-search index over one block.
        fn index(&mut self, separator: &[u8], BlockHandle { offset, bytes }: BlockHandle) -> BlockHandle {
            self.block(&block_of(&[(separator, &handle((offset, bytes)))]))
        }

        fn meta(&mut self, name: &str, payload: &[u8]) {
            let BlockHandle { offset, bytes } = self.block(payload);
            self.0.name(name, (offset, bytes));
        }

        fn finish(self, index: BlockHandle) -> Vec<u8> {
            self.0.finish((index.offset, index.bytes)).unwrap()
        }
    }

    fn open_bytes(bytes: Vec<u8>) -> Result<Table> {
        Table::open(Arc::new(bytes), TableOptions { file: "t.sst".into(), ..TableOptions::default() })
    }

    /// A table of one entry with `properties`.
    fn with_properties(properties: &Properties) -> Result<Table> {
        let mut table = Handmade::default();
        let (key, data) = table.data();
        let index = table.index(&key, data);
        table.meta("rocksdb.properties", &properties.encode());
        open_bytes(table.finish(index))
    }

    fn has_the_entry(table: &Table) -> bool {
        table.get(b"key", SeqNo::MAX).unwrap().is_some_and(|entry| entry.value == b"value")
    }

    #[test]
    fn a_table_without_properties_is_read_and_unknown_blocks_are_skipped() {
        let mut table = Handmade::default();
        let (key, data) = table.data();
        let index = table.index(&key, data);
        table.meta("zzz.of.the.future", b"whatever");
        table.meta("filter.rocksdb.BuiltinBloomFilter", b"obsolete");
        let table = open_bytes(table.finish(index)).unwrap();
        assert!(has_the_entry(&table));
        assert!(!table.verify().unwrap().counts_recorded);
    }

    #[test]
    fn an_index_with_first_keys_is_read() {
        let mut table = Handmade::default();
        let (key, data) = table.data();
        let mut payload = vec![0, 3];
        payload.extend_from_slice(b"key");
        data.encode(&mut payload);
        put_length_prefixed(&mut payload, &key);
        payload.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
        let index = table.block(&payload);
        let properties = Properties {
            index_type: 3,
            index_key_is_user_key: 1,
            index_value_is_delta_encoded: 1,
            ..Properties::default()
        };
        table.meta("rocksdb.properties", &properties.encode());
        assert!(has_the_entry(&open_bytes(table.finish(index)).unwrap()));
    }

    /// It holds each key twice where keys have a block each.
    #[test]
    fn an_index_with_first_keys_may_be_larger_than_all_entries() {
        let key = InternalKey::new(&vec![b'k'; 3 << 20], SeqNo::new(3), Kind::Value).as_bytes().to_vec();
        let mut table = Handmade::default();
        let data = table.block(&block_of(&[(&key, b"value")]));
        let mut value = handle((data.offset, data.bytes));
        put_length_prefixed(&mut value, &key);
        let index = table.compressed(&block_of(&[(&key, &value)]));
        let raw_key_bytes = key.len() as u64;
        let properties = Properties { index_type: 3, entries: 1, raw_key_bytes, ..Properties::default() };
        table.meta("rocksdb.properties", &properties.encode());
        assert_eq!(open_bytes(table.finish(index)).unwrap().blocks(), 1);
    }

    #[test]
    fn foreign_orders_and_index_types_are_refused_by_name() {
        let check = |properties: Properties, expected: &str| {
            let error = with_properties(&properties).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().starts_with(&format!("t.sst: not supported: {expected}")), "{error}");
        };
        check(Properties { comparator: "custom".into(), ..Properties::default() }, "comparator custom");
        check(Properties { index_type: 4, ..Properties::default() }, "index of type 4");
        assert!(has_the_entry(&with_properties(&Properties::default()).unwrap()));
        assert!(has_the_entry(&with_properties(&Properties { index_type: 1, ..Properties::default() }).unwrap()));
    }

    /// A few hundred bytes of it once took a gigabyte, and parts of a filter a gigabyte each.
    #[test]
    fn a_compressed_filter_is_refused() {
        let filter = [vec![0; 1 << 20], vec![0xff, 0, 6, 0, 0]].concat();
        for is_full in [true, false] {
            let mut table = Handmade::default();
            let (key, data) = table.data();
            let index = table.index(&key, data);
            let BlockHandle { offset, bytes } = table.compressed(&filter);
            match is_full {
                true => table.0.name("fullfilter.rocksdb.BuiltinBloomFilter", (offset, bytes)),
                false => {
                    let parts = block_of(&[(&key, &handle((offset, bytes)))]);
                    table.meta("partitionedfilter.rocksdb.BuiltinBloomFilter", &parts);
                }
            }
            let error = open_bytes(table.finish(index)).unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains("declares"), "{error}");
        }
    }

    #[test]
    fn an_index_block_far_larger_than_the_file_is_refused() {
        // Covers X4.
        let mut table = Handmade::default();
        let index = table.compressed(&vec![0; 65 << 20]);
        let error = open_bytes(table.finish(index)).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("declares"), "{error}");
    }

    #[test]
    fn a_filter_of_prefixes_alone_is_not_asked_for_keys() {
        let mut table = Handmade::default();
        let (key, data) = table.data();
        let index = table.index(&key, data);
        // Denies everything.
        table.meta("fullfilter.rocksdb.BuiltinBloomFilter", &[0xff, 0, 6, 0, 0]);
        table.meta("rocksdb.properties", &Properties { whole_key_filtering: false, ..Properties::default() }.encode());
        assert!(has_the_entry(&open_bytes(table.finish(index)).unwrap()));
    }

    #[test]
    fn sequence_numbers_of_ingested_files_must_agree() {
        let ingested = |version, stored| Properties {
            external_version: version,
            external_global_seq: Some(stored),
            ..Properties::default()
        };
        let of = |properties: &Properties, manifest: u64| global_seq(properties, Some(SeqNo::new(manifest)));
        assert_eq!(of(&ingested(Some(2), 0), 9).unwrap(), Some(SeqNo::new(9)));
        assert_eq!(of(&ingested(Some(2), 9), 9).unwrap(), Some(SeqNo::new(9)));
        assert_eq!(of(&ingested(Some(2), 9), 0).unwrap(), Some(SeqNo::new(9)));
        assert_eq!(of(&ingested(Some(2), 0), 0).unwrap(), None);
        assert_eq!(of(&ingested(None, 0), 9).unwrap(), None);
        assert!(of(&ingested(Some(2), 8), 9).unwrap_err().is_corruption());
        assert!(of(&ingested(None, 8), 8).unwrap_err().is_corruption());
        assert!(of(&ingested(Some(2), u64::MAX), 9).unwrap_err().is_corruption());
    }

    #[test]
    fn handles_that_lead_outside_are_corruption() {
        for handle in [
            BlockHandle { offset: u64::MAX, bytes: 1 },
            BlockHandle { offset: 0, bytes: u64::MAX },
            BlockHandle { offset: 1 << 40, bytes: 10 },
            BlockHandle { offset: 0, bytes: 1 << 31 },
        ] {
            let table = Handmade::default();
            assert!(open_bytes(table.finish(handle)).unwrap_err().is_corruption(), "{handle:?}");
            // Refused at once: who asks for points to cut at trusts the handles.
            let mut table = Handmade::default();
            let (key, _) = table.data();
            let index = table.index(&key, handle);
            assert!(open_bytes(table.finish(index)).unwrap_err().is_corruption(), "{handle:?}");
        }
    }

    #[test]
    fn a_lie_about_counts_is_found_by_verify() {
        let honest =
            Properties { entries: 1, data_blocks: 1, raw_key_bytes: 11, raw_value_bytes: 5, ..Properties::default() };
        let honest = Properties { smallest_seq: 3, largest_seq: 3, ..honest };
        with_properties(&honest).unwrap().verify().unwrap();
        for lie in [
            Properties { entries: 2, ..honest.clone() },
            Properties { deletions: 1, ..honest.clone() },
            Properties { raw_key_bytes: 12, ..honest.clone() },
            Properties { largest_seq: 2, smallest_seq: 1, ..honest.clone() },
        ] {
            assert!(with_properties(&lie).unwrap().verify().unwrap_err().is_corruption());
        }
    }
}
