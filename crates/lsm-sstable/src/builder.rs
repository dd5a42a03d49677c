//! Writes a table from ascending entries, in one pass and without seeking.
//!
//! ```text
//! data blocks │ filter │ index │ range tombstones │ properties │ metaindex │ footer
//! ```
//!
//! # Invariants
//! U1. Entries are strictly ascending; every block but the last is cut when it is full, so that a block is
//!     larger than `block_bytes` only if its first entry alone is.
//! U2. From version 6 on, the metaindex ends right before the footer.
//! U3. The properties are truthful.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use lsm_core::key::{
    InternalKey, Kind, ParsedKey, TRAILER_BYTES, USER_KEY_BYTES_MAX, VALUE_BYTES_MAX, common_prefix, trailer, user_key,
};
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Error, Result, SeqNo};

use crate::block::index_bytes_max;
use crate::block_builder::BlockBuilder;
use crate::bloom::{self, Hashes};
use crate::checksum::{BlockChecksum, ChecksumKind};
use crate::compression::{Compression, Compressor, STORED};
use crate::footer::{CONTEXT_FROM, FOOTER_BYTES, Footer};
use crate::fresh::FreshBlocks;
use crate::handle::BlockHandle;
use crate::index_builder::IndexBuilder;
use crate::output::Output;
use crate::properties::{COMPARATOR, Properties, context_of_identity, identity};
use crate::xxph3::filter_hash;

/// A block is also cut when the next entry would overfill it and it is this full, in hundredths.
const NEARLY_FULL: usize = 90;

/// How a table is written.
#[derive(Clone, Debug)]
pub struct BuilderOptions {
    /// 6, or 5 for readers older than RocksDB 8.6. From 6 on, a block that is read from the wrong place or
    /// the wrong table is noticed.
    pub format_version: u32,
    /// Size of a data block before compression, in bytes. Doubling it halves the index and makes a cold
    /// lookup read twice as much.
    pub block_bytes: usize,
    /// Entries from one whole key in a data block to the next. Doubling it saves some space and makes
    /// searches in a block longer.
    pub restart_interval: usize,
    /// The same for the index block. 1 lets RocksDB search it fastest; this crate does not care.
    pub index_restart_interval: usize,
    /// Codec of data blocks and index.
    pub compression: Compression,
    /// Size of the filter; 10 bits let one absent key in a hundred pass. 0 writes no filter.
    pub bloom_bits_per_key: f64,
    /// Whether the file is made to be ingested by RocksDB: it gets the properties that ask for that. All
    /// its entries and range tombstones must then have sequence number 0, and user keys one entry each:
    /// whoever ingests it gives them all the same number.
    pub external: bool,
    /// Family that the table belongs to.
    pub column_family_id: u32,
    /// Its name.
    pub column_family_name: String,
    /// Seconds since 1970 at which the oldest data was first written to a table.
    pub creation_time: u64,
    /// Seconds since 1970 now.
    pub file_creation_time: u64,
    /// Seconds since 1970 of the oldest key, 0 if unknown.
    pub oldest_key_time: u64,
    /// Number in the file's name.
    pub file_number: u64,
    /// Identity of the database.
    pub db_id: String,
    /// Identity of this opening of the database.
    pub session_id: String,
    /// Name of the family's merge operator.
    pub merge_operator: Option<String>,
    /// The file's path, for errors.
    pub file: PathBuf,
    /// Where to leave copies of the data blocks for whoever opens the table.
    pub fresh: Option<Arc<FreshBlocks>>,
}

impl Default for BuilderOptions {
    fn default() -> BuilderOptions {
        BuilderOptions {
            format_version: 6,
            block_bytes: 4096,
            restart_interval: 16,
            index_restart_interval: 1,
            compression: Compression::default(),
            bloom_bits_per_key: 10.0,
            external: false,
            column_family_id: 0,
            column_family_name: "default".into(),
            creation_time: 0,
            file_creation_time: 0,
            oldest_key_time: 0,
            file_number: 0,
            db_id: String::new(),
            session_id: String::new(),
            merge_operator: None,
            file: PathBuf::new(),
            fresh: None,
        }
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct TableSummary {
    /// Size of the file.
    pub bytes: u64,
    /// What the table says about itself.
    pub properties: Properties,
    /// Smallest internal key of entries and tombstones; `None` in an empty table.
    pub smallest: Option<InternalKey>,
    /// Largest internal key; where a tombstone reaches furthest, its end as an exclusive bound.
    pub largest: Option<InternalKey>,
    /// Smallest sequence number of entries and tombstones.
    pub smallest_seq: SeqNo,
    /// Largest sequence number of entries and tombstones.
    pub largest_seq: SeqNo,
    /// Bytes behind the data blocks.
    pub tail_bytes: u64,
}

/// Writes one table to `W`.
pub struct TableBuilder<W> {
    options: BuilderOptions,
    output: Output<W>,
    compressor: Option<Compressor>,
    data: BlockBuilder,
    index: IndexBuilder,
    /// The block that was written last; its separator depends on the key that follows.
    pending: Option<BlockHandle>,
    filter_hashes: Hashes,
    /// Thousandths of a bit per key.
    filter_millibits: u64,
    tombstones: Vec<RangeTombstone>,
    smallest: Option<InternalKey>,
    seqs: Option<(SeqNo, SeqNo)>,
    properties: Properties,
}

impl<W: Write> TableBuilder<W> {
    /// Begins a table. Options that cannot be followed are refused when the first block is written.
    pub fn new(out: W, options: BuilderOptions) -> TableBuilder<W> {
        let context = if options.format_version < CONTEXT_FROM { 0 } else { context_of(&options) };
        let checksum = BlockChecksum { kind: ChecksumKind::Crc32c, context };
        TableBuilder {
            output: Output::new(out, checksum, options.file.clone()),
            compressor: None,
            data: BlockBuilder::new(options.restart_interval),
            index: IndexBuilder::default(),
            pending: None,
            filter_hashes: Hashes::default(),
            filter_millibits: (options.bloom_bits_per_key * 1000.0).round() as u64,
            tombstones: Vec::new(),
            smallest: None,
            seqs: None,
            properties: Properties::default(),
            options,
        }
    }

    /// Appends a point entry.
    ///
    /// # Errors
    /// InvalidArgument where `internal_key` is not larger than the one before it, is no point entry, or is
    /// too long, or `value` is too long; I/O errors.
    pub fn add(&mut self, internal_key: &[u8], value: &[u8]) -> Result<()> {
        let key = self.check(internal_key, value)?;
        let (shared, is_new) = self.beside_last(internal_key, &key)?;
        if self.is_full(internal_key, value) {
            self.cut_block()?;
        }
        if let Some(handle) = self.pending.take() {
            self.index.add(self.data.last_key(), Some(internal_key), handle);
        }
        if self.options.bloom_bits_per_key > 0.0 && is_new {
            self.filter_hashes.push(filter_hash(key.user_key));
        }
        if self.smallest.is_none() {
            self.smallest = InternalKey::from_encoded(internal_key);
        }
        self.data.add_sharing(shared, internal_key, value);
        self.count(key, value.len());
        Ok(())
    }

    /// How many bytes the key shares with the one before it, and whether its user key is another one. An entry that does
    /// not come after that one is refused (U1).
    fn beside_last(&self, internal_key: &[u8], key: &ParsedKey<'_>) -> Result<(usize, bool)> {
        if self.properties.entries == 0 {
            return Ok((0, true));
        }
        let last = self.data.last_key();
        let last_user_key = user_key(last);
        let shared = common_prefix(last_user_key, key.user_key);
        let (ends, next) = (last_user_key.get(shared), key.user_key.get(shared));
        let is_new = ends.is_some() || next.is_some();
        let ascends = if is_new { ends < next } else { trailer(last) > trailer(internal_key) };
        if !ascends {
            let entries = self.properties.entries;
            return Err(Error::invalid_argument(format!("entry {entries} does not come after the one before it")));
        }
        if self.options.external && !is_new {
            let entries = self.properties.entries;
            return Err(Error::invalid_argument(format!(
                "entry {entries} of a file to be ingested has the user key of the one before it"
            )));
        }
        // Where a user key ends, trailers may go on alike.
        let is_inside = ends.is_some() && next.is_some();
        Ok((if is_inside { shared } else { common_prefix(last, internal_key) }, is_new))
    }

    fn check<'k>(&self, internal_key: &'k [u8], value: &[u8]) -> Result<ParsedKey<'k>> {
        let parsed = ParsedKey::parse(internal_key).filter(|key| key.kind != Kind::RangeDeletion);
        let Some(key) = parsed else {
            return Err(Error::invalid_argument(format!("{} bytes are no key of a point entry", internal_key.len())));
        };
        if key.user_key.len() > USER_KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            let (key_bytes, value_bytes) = (key.user_key.len(), value.len());
            return Err(Error::invalid_argument(format!(
                "key of {key_bytes} and value of {value_bytes} bytes are too long"
            )));
        }
        self.check_seq(key.seq)?;
        Ok(key)
    }

    fn check_seq(&self, seq: SeqNo) -> Result<()> {
        match self.options.external && seq != SeqNo::ZERO {
            true => {
                Err(Error::invalid_argument(format!("sequence number {seq} in a file to be ingested: it must be 0")))
            }
            false => Ok(()),
        }
    }

    fn is_full(&self, internal_key: &[u8], value: &[u8]) -> bool {
        let (bytes, target) = (self.data.bytes(), self.options.block_bytes);
        let nearly = bytes * 100 > target * NEARLY_FULL && bytes + internal_key.len() + value.len() > target;
        !self.data.is_empty() && (bytes >= target || nearly)
    }

    fn count(&mut self, key: ParsedKey<'_>, value_bytes: usize) {
        let deletes = matches!(key.kind, Kind::Deletion | Kind::SingleDeletion | Kind::RangeDeletion);
        self.properties.entries += 1;
        self.properties.deletions += u64::from(deletes);
        self.properties.merge_operands += u64::from(key.kind == Kind::Merge);
        self.properties.range_deletions += u64::from(key.kind == Kind::RangeDeletion);
        self.properties.raw_key_bytes += (key.user_key.len() + TRAILER_BYTES) as u64;
        self.properties.raw_value_bytes += value_bytes as u64;
        let (least, most) = self.seqs.unwrap_or((key.seq, key.seq));
        self.seqs = Some((least.min(key.seq), most.max(key.seq)));
    }

    /// Writes the current data block.
    fn cut_block(&mut self) -> Result<()> {
        let compressor = compressor_of(&mut self.compressor, &self.options)?;
        let payload = self.data.finish();
        if let Some(fresh) = &self.options.fresh {
            fresh.leave(payload);
        }
        let (stored, kind) = compressor.compress(payload);
        self.pending = Some(self.output.write_block(stored, kind)?);
        self.data.clear();
        Ok(())
    }

    /// Adds a range tombstone, in any order.
    ///
    /// # Errors
    /// InvalidArgument for a range that is empty or inverted, or for a sequence number in a file to be ingested.
    pub fn add_range_tombstone(&mut self, tombstone: &RangeTombstone) -> Result<()> {
        if tombstone.start >= tombstone.end {
            return Err(Error::invalid_argument("the range of a range deletion is empty"));
        }
        self.check_seq(tombstone.seq)?;
        self.tombstones.push(tombstone.clone());
        Ok(())
    }

    /// Bytes of finished data blocks.
    pub fn bytes_written(&self) -> u64 {
        self.output.offset()
    }

    /// About how large the file would be if it were finished now.
    pub fn estimated_bytes(&self) -> u64 {
        let filter = self.filter_hashes.len() as u64 * self.filter_millibits / 8000;
        let tombstones: usize = self.tombstones.iter().map(|one| one.start.len() + one.end.len() + 16).sum();
        self.output.offset() + (self.data.bytes() + self.index.bytes() + tombstones) as u64 + filter
    }

    /// Whether neither entries nor tombstones were added.
    pub fn is_empty(&self) -> bool {
        self.properties.entries == 0 && self.tombstones.is_empty()
    }

    /// How many point entries were added.
    pub fn entries(&self) -> u64 {
        self.properties.entries - self.properties.range_deletions
    }

    /// Writes everything behind the data blocks and returns `W`, which was not synced.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(mut self) -> Result<(W, TableSummary)> {
        if !self.data.is_empty() {
            self.cut_block()?;
        }
        let largest = (self.properties.entries > 0).then(|| self.data.last_key().to_vec());
        if let Some(handle) = self.pending.take() {
            self.index.add(self.data.last_key(), None, handle);
        }
        let tail_start = self.output.offset();
        let mut metaindex = Vec::new();
        if let Some(handle) = self.write_filter()? {
            metaindex.push(("fullfilter.rocksdb.BuiltinBloomFilter", handle));
        }
        let index = self.write_index()?;
        if let Some(handle) = self.write_tombstones()? {
            metaindex.push(("rocksdb.range_del", handle));
        }
        self.describe(tail_start);
        metaindex.push(("rocksdb.properties", self.output.write_block(&self.properties.encode(), STORED)?));
        self.write_ending(metaindex, index)?;
        let bounds = Bounds::of(self.smallest, largest.and_then(InternalKey::from_encoded), &self.tombstones);
        let (smallest_seq, largest_seq) = self.seqs.unwrap_or_default();
        let bytes = self.output.offset();
        let summary = TableSummary {
            bytes,
            properties: self.properties,
            smallest: bounds.smallest,
            largest: bounds.largest,
            smallest_seq,
            largest_seq,
            tail_bytes: bytes - tail_start,
        };
        Ok((self.output.finish()?, summary))
    }

    fn write_filter(&mut self) -> Result<Option<BlockHandle>> {
        if self.filter_hashes.len() == 0 {
            return Ok(None);
        }
        let filter = bloom::build(&self.filter_hashes, self.filter_millibits.max(1));
        self.properties.filter_entries = self.filter_hashes.len() as u64;
        self.properties.filter_bytes = filter.len() as u64;
        self.output.write_block(&filter, STORED).map(Some)
    }

    fn write_index(&mut self) -> Result<BlockHandle> {
        let index = std::mem::take(&mut self.index);
        self.properties.data_blocks = index.len() as u64;
        let (payload, user_keys) = index.finish(self.options.index_restart_interval);
        self.properties.index_bytes = payload.len() as u64 + crate::handle::BLOCK_TRAILER_BYTES as u64;
        self.properties.index_key_is_user_key = u64::from(user_keys);
        self.properties.index_value_is_delta_encoded = 1;
        let compressor = compressor_of(&mut self.compressor, &self.options)?;
        // As it is, an index is smaller than its file: one of long keys that compress too well would be refused (X4).
        let (stored, kind) = match payload.len() as u64 > index_bytes_max(self.output.offset()) {
            true => (payload.as_slice(), STORED),
            false => compressor.compress(&payload),
        };
        self.output.write_block(stored, kind)
    }

    fn write_tombstones(&mut self) -> Result<Option<BlockHandle>> {
        if self.tombstones.is_empty() {
            return Ok(None);
        }
        let order = |a: &RangeTombstone, b: &RangeTombstone| {
            a.start.cmp(&b.start).then(b.seq.cmp(&a.seq)).then_with(|| a.end.cmp(&b.end))
        };
        let mut tombstones = std::mem::take(&mut self.tombstones);
        tombstones.sort_unstable_by(order);
        tombstones.dedup();
        let mut block = BlockBuilder::new(1);
        for RangeTombstone { start, end, seq } in &tombstones {
            block.add(InternalKey::new(start, *seq, Kind::RangeDeletion).as_bytes(), end);
            self.count(ParsedKey { user_key: start, seq: *seq, kind: Kind::RangeDeletion }, end.len());
        }
        self.tombstones = tombstones;
        self.output.write_block(block.finish(), STORED).map(Some)
    }

    /// Fills in the properties that do not come from counting (U3).
    fn describe(&mut self, tail_start: u64) {
        let (smallest_seq, largest_seq) = self.seqs.unwrap_or_default();
        let options = &self.options;
        let properties = &mut self.properties;
        properties.data_bytes = tail_start;
        properties.tail_start = tail_start;
        properties.smallest_seq = smallest_seq.get();
        properties.largest_seq = largest_seq.get();
        properties.format_version = u64::from(options.format_version);
        properties.column_family_id = u64::from(options.column_family_id);
        properties.column_family_name.clone_from(&options.column_family_name);
        properties.creation_time = options.creation_time;
        properties.file_creation_time = options.file_creation_time;
        properties.oldest_key_time = options.oldest_key_time;
        properties.original_file_number = options.file_number;
        properties.db_id.clone_from(&options.db_id);
        properties.session_id.clone_from(&options.session_id);
        properties.comparator = COMPARATOR.into();
        properties.compression = options.compression.name().into();
        properties.merge_operator = options.merge_operator.clone().unwrap_or_else(|| "nullptr".into());
        properties.prefix_extractor = "nullptr".into();
        properties.property_collectors = "[]".into();
        properties.filter_policy = if properties.filter_entries > 0 { "bloomfilter".into() } else { String::new() };
        properties.whole_key_filtering = true;
        if options.external {
            properties.external_version = Some(2);
            properties.external_global_seq = Some(0);
        }
    }

    /// Writes metaindex and footer (U2).
    fn write_ending(&mut self, mut metaindex: Vec<(&'static str, BlockHandle)>, index: BlockHandle) -> Result<()> {
        let in_footer = self.options.format_version < CONTEXT_FROM;
        if !in_footer {
            metaindex.push(("rocksdb.index", index));
        }
        metaindex.sort_unstable_by_key(|(name, _)| *name);
        let mut block = BlockBuilder::new(1);
        for (name, handle) in metaindex {
            let mut value = Vec::new();
            handle.encode(&mut value);
            block.add(name.as_bytes(), &value);
        }
        let metaindex = self.output.write_block(block.finish(), STORED)?;
        let footer = Footer {
            format_version: self.options.format_version,
            checksum: self.output.checksum(),
            metaindex,
            index: in_footer.then_some(index),
        };
        let bytes: [u8; FOOTER_BYTES] = footer.encode(self.output.offset());
        self.output.write(&bytes)
    }
}

/// The compressor, after a check of the options at its first use.
fn compressor_of<'a>(compressor: &'a mut Option<Compressor>, options: &BuilderOptions) -> Result<&'a mut Compressor> {
    let version = options.format_version;
    if !(5..=6).contains(&version) {
        return Err(Error::invalid_argument(format!("format version {version}: 5 and 6 are written")));
    }
    match compressor {
        Some(compressor) => Ok(compressor),
        none => Ok(none.insert(Compressor::new(options.compression)?)),
    }
}

/// A number that differs from table to table and is not 0, for the checksums of this one.
fn context_of(options: &BuilderOptions) -> u32 {
    context_of_identity(identity(&options.db_id, &options.session_id, options.file_number))
}

/// Smallest and largest internal key of entries and tombstones together.
struct Bounds {
    smallest: Option<InternalKey>,
    largest: Option<InternalKey>,
}

impl Bounds {
    fn of(first: Option<InternalKey>, last: Option<InternalKey>, tombstones: &[RangeTombstone]) -> Bounds {
        let starts = tombstones.iter().map(|one| InternalKey::new(&one.start, one.seq, Kind::RangeDeletion));
        let ends = tombstones.iter().map(|one| InternalKey::exclusive_end(&one.end));
        Bounds { smallest: starts.chain(first).min(), largest: ends.chain(last).max() }
    }
}
