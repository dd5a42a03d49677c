//! Tables that exist in their description only, for tests of what never opens one.

use lsm_core::filename::FileNumber;
use lsm_core::key::{InternalKey, Kind, SeqNo};
use lsm_manifest::{TableMeta, TableStats, Version, VersionEdit};
use std::sync::Arc;

pub(crate) const MIB: u64 = 1 << 20;

/// A table from `first` to `last`, both included.
pub(crate) fn table(number: u64, first: &str, last: &str, bytes: u64) -> TableMeta {
    let smallest = InternalKey::new(first.as_bytes(), SeqNo::new(number), Kind::Value);
    let largest = InternalKey::new(last.as_bytes(), SeqNo::new(number), Kind::Value);
    let seqs = (SeqNo::new(number), SeqNo::new(number));
    TableMeta { epoch: number, ..TableMeta::new(FileNumber(number), bytes, smallest, largest, seqs) }
}

/// A table from `first` to before `end`.
pub(crate) fn open_table(number: u64, first: &str, end: &str, bytes: u64) -> TableMeta {
    TableMeta { largest: InternalKey::exclusive_end(end.as_bytes()), ..table(number, first, end, bytes) }
}

pub(crate) fn with_stats(table: TableMeta, entries: u64, deletions: u64, raw_value_bytes: u64) -> TableMeta {
    table.stats.set(TableStats { entries, deletions, raw_value_bytes, ..TableStats::default() }).unwrap();
    table
}

pub(crate) fn version(tables: Vec<(usize, TableMeta)>) -> Version {
    let added = tables.into_iter().map(|(level, table)| (level, Arc::new(table))).collect();
    Version::new().apply(&[VersionEdit { added, ..VersionEdit::default() }]).unwrap()
}

/// Levels of these sizes in MiB: level 0 in `level0_tables` tables, each other level in one.
pub(crate) fn sized(level0_tables: u64, mib: [u64; 7]) -> Version {
    let mut tables = Vec::new();
    for number in 1..=level0_tables {
        tables.push((0, table(number, "a", "z", mib[0] * MIB / level0_tables)));
    }
    for (level, &mib) in mib.iter().enumerate().skip(1).filter(|(_, mib)| **mib > 0) {
        tables.push((level, table(100 + level as u64, "a", "z", mib * MIB)));
    }
    version(tables)
}

pub(crate) fn numbers<'t>(tables: impl IntoIterator<Item = &'t Arc<TableMeta>>) -> Vec<u64> {
    tables.into_iter().map(|table| table.number.0).collect()
}
