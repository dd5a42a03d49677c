//! Entries on their way from damaged files to new tables, and the tables they go to.

use super::Patient;
use super::distinct::Distinct;
use crate::family::Family;
use crate::store::Store;
use crate::{Error, Result};
use lsm_compaction::{Below, Cut, WriteContext, Written, write_tables};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::key::ParsedKey;
use lsm_core::merge::MergeCursor;
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_core::{Cursor, Error as CoreError, Kind, SeqNo};
use lsm_manifest::TableMeta;
use lsm_memtable::{EntrySize, Memtable};
use lsm_sstable::{SalvageReport, TableOptions, salvage};
use std::sync::Arc;

/// Size of the memtables that take rescued entries.
const MEMTABLE_BYTES: usize = 4 << 20;

/// Entries of one family out of damaged files and logs.
#[derive(Default)]
pub(super) struct Rescued {
    memtables: Vec<Arc<Memtable>>,
    tombstones: Vec<RangeTombstone>,
}

impl Rescued {
    pub(super) fn add(&mut self, user_key: &[u8], seq: SeqNo, kind: Kind, value: &[u8]) {
        if kind == Kind::RangeDeletion {
            self.tombstones.push(RangeTombstone { start: user_key.into(), end: value.into(), seq });
            return;
        }
        let size = || std::iter::once(EntrySize { kind, key_bytes: user_key.len(), value_bytes: value.len() });
        loop {
            if let Some(Ok(mut reservation)) = self.memtables.last().map(|memtable| memtable.reserve(size())) {
                reservation.insert(user_key, seq, kind, value);
                return;
            }
            let bytes = MEMTABLE_BYTES.max(Memtable::required_bytes(size()));
            self.memtables.push(Arc::new(Memtable::new(bytes)));
        }
    }

    pub(super) fn append(&mut self, mut other: Rescued) {
        self.memtables.append(&mut other.memtables);
        self.tombstones.append(&mut other.tombstones);
    }

    pub(super) fn add_tombstones(&mut self, tombstones: &[RangeTombstone]) {
        self.tombstones.extend_from_slice(tombstones);
    }

    /// Writes all this, merged with `others`, to new tables. Nothing is dropped that a reader could see (F3).
    pub(super) fn write(
        self,
        store: &Store,
        family: &Family,
        others: Vec<Box<dyn Cursor>>,
        epoch: u64,
        cut: Cut<'_>,
    ) -> Result<Written> {
        let memtables = self.memtables.iter().map(|memtable| Box::new(memtable.cursor()) as Box<dyn Cursor>);
        let children: Vec<Box<dyn Cursor>> = memtables.chain(others).collect();
        let tombstones = RangeTombstones::new(self.tombstones);
        let context = WriteContext {
            snapshots: &[],
            below: &Below::unknown(),
            // Operands stay as they are: some of them may be elsewhere once more.
            merge_operator: None,
            cut,
            from: None,
            to: None,
            epoch,
            oldest_ancestor_time: 0,
            cancelled: &store.never,
            throttle: None,
        };
        let sink = store.table_files(family, false, false)?;
        Ok(write_tables(&mut Distinct::new(MergeCursor::new(children)), &tombstones, &context, &sink)?)
    }
}

impl Patient<'_> {
    /// Takes what can be read out of table `number`, of which the manifest may know `meta`, and reports the rest.
    pub(super) fn salvage(&mut self, number: FileNumber, meta: Option<&TableMeta>) -> Result<(Rescued, SalvageReport)> {
        let kind = FileKind::Table(number);
        let path = self.path(kind);
        let source = self.fs().open(&path).map_err(|error| CoreError::io("open", &path, error))?;
        let (global_seq, of_all) = (meta.map(|meta| meta.largest_seq), seq_of_all(meta));
        let options = TableOptions { file: path.clone(), global_seq, ..TableOptions::default() };
        let mut rescued = Rescued::default();
        let salvaged = salvage(source, &options, &mut |key, value| {
            let key = ParsedKey::parse(key).ok_or_else(|| CoreError::corruption("a key without a kind"))?;
            rescued.add(key.user_key, numbered(key.seq, of_all), key.kind, value);
            Ok(())
        })
        .map_err(Error::from)?;
        for RangeTombstone { start, end, seq } in &salvaged.range_tombstones {
            rescued.add(start, numbered(*seq, of_all), Kind::RangeDeletion, end);
        }
        for lost in &salvaged.lost {
            self.report.lose(&path, format!("{}: {}", lost.part, lost.reason));
        }
        self.to_move.insert(kind.to_string());
        Ok((rescued, salvaged))
    }
}

/// The sequence number that all entries of a table have by the word of the manifest, or 0.
///
/// That is so in an ingested file, which stores 0 for each of them. If its properties are lost, it does not even tell any
/// more that it is one, and what is newest would become oldest (F3).
fn seq_of_all(meta: Option<&TableMeta>) -> SeqNo {
    meta.filter(|meta| meta.smallest_seq == meta.largest_seq).map_or(SeqNo::ZERO, |meta| meta.largest_seq)
}

fn numbered(stored: SeqNo, of_all: SeqNo) -> SeqNo {
    if stored == SeqNo::ZERO { of_all } else { stored }
}
