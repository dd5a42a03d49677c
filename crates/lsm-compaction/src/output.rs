//! The tables that one part of a job writes, one after the other.
//!
//! # Invariants
//! O1. Outputs do not overlap in internal keys: a table is closed before the first entry of a user key,
//!     and its tombstones end there (D3), with an exclusive bound.
//! O2. No user key has entries in two outputs.
//! O3. Every file that was created is either in the result, synced, or discarded.

use crate::cut::Cutter;
use crate::places::Places;
use crate::retain::Output;
use crate::sink::{NewTable, TableSink, TableWriter};
use crate::tombstones::Kept;
use crate::write::{BuiltTable, WriteContext};
use lsm_core::filename::FileNumber;
use lsm_core::{Error, Result};
use lsm_manifest::{TableMeta, TableStats};
use lsm_sstable::{Properties, TableBuilder, TableSummary};
use std::sync::Arc;

/// Entries between two reports of the bytes written to the throttle.
const ENTRIES_PER_REPORT: u32 = 256;

/// Takes what `retain.rs` keeps and builds tables of it.
pub(crate) struct Outputs<'a> {
    context: &'a WriteContext<'a>,
    sink: &'a dyn TableSink,
    cutter: Cutter<'a>,
    kept: Kept,
    places: Places,
    /// Where the tombstones of the open table begin, or else those of the next.
    from: Option<Vec<u8>>,
    open: Option<OpenTable>,
    built: Vec<BuiltTable>,
    /// Files to discard if this is dropped before it was finished (O3).
    created: Vec<FileNumber>,
    unreported: u32,
}

struct OpenTable {
    number: FileNumber,
    /// Unix seconds of the oldest data and of the file.
    times: (u64, u64),
    builder: TableBuilder<Box<dyn TableWriter>>,
    /// Bytes that the throttle has heard of.
    reported: u64,
}

impl<'a> Outputs<'a> {
    pub(crate) fn new(context: &'a WriteContext<'a>, sink: &'a dyn TableSink, kept: Kept) -> Outputs<'a> {
        Outputs {
            context,
            sink,
            cutter: Cutter::new(context.cut),
            places: Places::new(&kept, context.cut),
            kept,
            from: context.from.map(<[u8]>::to_vec),
            open: None,
            built: Vec::new(),
            created: Vec::new(),
            unreported: 0,
        }
    }

    /// Closes the last table and hands all of them over (O3).
    pub(crate) fn finish(mut self) -> Result<Vec<BuiltTable>> {
        self.pass_places(None)?;
        self.close(self.context.to)?;
        self.created.clear();
        Ok(std::mem::take(&mut self.built))
    }

    /// Lets tables end at all places before `user_key`, the next key with entries.
    fn pass_places(&mut self, user_key: Option<&[u8]>) -> Result<()> {
        while let Some(place) = self.places.next_before(user_key).map(<[u8]>::to_vec) {
            self.reach(&place)?;
        }
        Ok(())
    }

    /// Ends the table at hand before `user_key` if that is where it should end.
    fn reach(&mut self, user_key: &[u8]) -> Result<()> {
        let bytes = || {
            let entries = self.open.as_ref().map(|table| table.builder.estimated_bytes());
            match (entries, self.places.bytes()) {
                (Some(entries), Some(tombstones)) => Some(entries.saturating_add(tombstones)),
                (entries, tombstones) => entries.or(tombstones),
            }
        };
        if self.cutter.cut_before(user_key, bytes) {
            self.close(Some(user_key))?;
            self.from = Some(user_key.to_vec());
            self.places.restart(&self.kept, user_key);
        }
        self.places.pass(user_key);
        Ok(())
    }

    /// Ends the open table before `to`. If none is open, tombstones up to there get a table of their own.
    fn close(&mut self, to: Option<&[u8]>) -> Result<()> {
        let parts = self.kept.parts(self.from.as_deref(), to);
        if self.open.is_none() && parts.is_empty() {
            return Ok(());
        }
        self.ensure_open()?;
        let OpenTable { number, times, mut builder, reported } = self.open.take().expect("a table is open");
        parts.iter().try_for_each(|part| builder.add_range_tombstone(part))?;
        let (mut writer, summary) = builder.finish()?;
        self.context.report(summary.bytes.saturating_sub(reported))?;
        writer.sync()?;
        let mut meta = self.meta(number, times, &summary)?;
        meta.compensated_range_deletion_bytes =
            parts.iter().map(|part| self.context.below.bytes_within(&part.start, &part.end)).sum();
        self.built.push(BuiltTable { meta: Arc::new(meta), summary: Arc::new(summary) });
        Ok(())
    }

    fn ensure_open(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let NewTable { number, writer, mut options } = self.sink.create()?;
        self.created.push(number);
        if self.context.oldest_ancestor_time != 0 {
            options.creation_time = self.context.oldest_ancestor_time;
        }
        let times = (options.creation_time, options.file_creation_time);
        self.open = Some(OpenTable { number, times, builder: TableBuilder::new(writer, options), reported: 0 });
        Ok(())
    }

    fn meta(&self, number: FileNumber, times: (u64, u64), summary: &TableSummary) -> Result<TableMeta> {
        let (Some(smallest), Some(largest)) = (summary.smallest.clone(), summary.largest.clone()) else {
            return Err(Error::corruption(format!("table {number} was written without an entry")));
        };
        let seqs = (summary.smallest_seq, summary.largest_seq);
        let properties = &summary.properties;
        let meta = TableMeta {
            epoch: self.context.epoch,
            oldest_ancestor_time: times.0,
            file_creation_time: times.1,
            tail_bytes: summary.tail_bytes,
            identity: properties.identity().unwrap_or(0),
            ..TableMeta::new(number, summary.bytes, smallest, largest, seqs)
        };
        meta.stats.set(table_stats(properties)).expect("the meta is new");
        Ok(meta)
    }
}

/// What a table's properties say about its weight: the same when it was built and when it is opened again, or another
/// compaction would be picked after reopening.
pub fn table_stats(properties: &Properties) -> TableStats {
    TableStats {
        // The properties count range tombstones among entries and deletions, as RocksDB does.
        entries: properties.entries.saturating_sub(properties.range_deletions),
        deletions: properties.deletions.saturating_sub(properties.range_deletions),
        range_deletions: properties.range_deletions,
        raw_key_bytes: properties.raw_key_bytes,
        raw_value_bytes: properties.raw_value_bytes,
    }
}

impl Output for Outputs<'_> {
    fn begin_key(&mut self, user_key: &[u8]) -> Result<()> {
        self.pass_places(Some(user_key))?;
        self.reach(user_key)?;
        self.ensure_open()
    }

    fn entry(&mut self, internal_key: &[u8], value: &[u8]) -> Result<()> {
        let table = self.open.as_mut().expect("a key begins with a table open");
        table.builder.add(internal_key, value)?;
        self.unreported += 1;
        if self.unreported < ENTRIES_PER_REPORT {
            return Ok(());
        }
        self.unreported = 0;
        let written = table.builder.estimated_bytes();
        let fresh = written.saturating_sub(table.reported);
        table.reported = written;
        self.context.report(fresh)
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        // The writer goes first, so that the file is closed when it is discarded.
        self.open = None;
        self.created.iter().for_each(|&number| self.sink.discard(number));
    }
}
