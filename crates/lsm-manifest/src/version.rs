//! Which tables make up one column family at one moment: an immutable value.
//!
//! A version is what readers pin and pickers look at. Edits make a new one ([`Version::apply`]); levels an
//! edit does not touch are shared with the old one. Never opens a file and knows no directory. How edits are
//! checked and carried out is `draft.rs`'s story.
//!
//! # Invariants
//! V1. A file number occurs once in all levels.
//! V2. Level 0 is ordered newest first: by epoch, then largest sequence, then smallest sequence, then number,
//!     all descending. Epochs count only when every level-0 table has one.
//! V3. On levels from 1 on, tables are sorted and do not overlap as *internal* keys: `largest` of one is
//!     before `smallest` of the next. Neighbours may share a user key.
//! V4. Every table has possible facts (M1, M3 of `meta.rs`).

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use lsm_core::{Error, Result};

use crate::draft::Draft;
use crate::edit::VersionEdit;
use crate::meta::TableMeta;

/// Levels of a version.
pub const LEVELS: usize = 7;

/// The tables of one column family, by level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    levels: [Arc<Level>; LEVELS],
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Level {
    tables: Vec<Arc<TableMeta>>,
    bytes: u64,
}

impl Version {
    /// A version without tables.
    pub fn new() -> Version {
        Version::default()
    }

    /// The version after `edits`, which are carried out one after the other, the deletions of each before its
    /// additions. Only their `deleted` and `added` tables count; the caller has picked the edits of one family.
    ///
    /// # Errors
    /// `Corruption` when a deleted table is not there, an added one is, or V3 or V4 would break.
    pub fn apply(&self, edits: &[VersionEdit]) -> Result<Version> {
        let mut draft = Draft::new(self.clone());
        for edit in edits {
            draft.apply(edit)?;
        }
        Ok(draft.finish())
    }

    /// The tables of every level, level 0 first.
    pub fn levels(&self) -> impl ExactSizeIterator<Item = &[Arc<TableMeta>]> + DoubleEndedIterator {
        self.levels.iter().map(|level| level.tables.as_slice())
    }

    /// The tables of `level`: newest first on level 0 (V2), by key on the others (V3).
    ///
    /// # Panics
    /// When `level` is not below [`LEVELS`]; so do all methods that take a level.
    pub fn level(&self, level: usize) -> &[Arc<TableMeta>] {
        &self.levels[level].tables
    }

    /// Level and table of all tables, level 0 first.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &Arc<TableMeta>)> {
        self.levels().enumerate().flat_map(|(level, tables)| tables.iter().map(move |table| (level, table)))
    }

    /// Sum of the file sizes of `level`.
    pub fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].bytes
    }

    /// Number of tables on all levels.
    pub fn table_count(&self) -> usize {
        self.levels().map(<[_]>::len).sum()
    }

    /// The largest epoch of a table, zero without tables. A flush takes the next one.
    pub fn epoch_max(&self) -> u64 {
        self.tables().map(|(_, table)| table.epoch).max().unwrap_or(0)
    }

    /// The tables of a level from 1 on that may hold `user_key` or a range tombstone over it: none, one, or
    /// neighbours that share it. What an earlier one of them holds about the key is newer.
    pub fn table_for(&self, level: usize, user_key: &[u8]) -> &[Arc<TableMeta>] {
        self.sorted_overlapping(level, Some(user_key), Some(user_key))
    }

    /// The tables of a level from 1 on that may hold anything from `from` up to and including `to`, as user
    /// keys; `None` is open. Two binary searches.
    ///
    /// # Panics
    /// On level 0, which is not sorted by key.
    pub fn sorted_overlapping(&self, level: usize, from: Option<&[u8]>, to: Option<&[u8]>) -> &[Arc<TableMeta>] {
        assert!(level > 0, "V2: level 0 is not sorted by key");
        let tables = self.level(level);
        let start = from.map_or(0, |from| tables.partition_point(|table| table.ends_before(from)));
        let rest = &tables[start..];
        let count = to.map_or(rest.len(), |to| rest.partition_point(|table| !table.starts_behind(to)));
        &rest[..count]
    }

    /// The tables of any level that may hold anything from `from` up to and including `to`, in the level's
    /// order.
    pub fn overlapping(&self, level: usize, from: Option<&[u8]>, to: Option<&[u8]>) -> Vec<Arc<TableMeta>> {
        if level > 0 {
            return self.sorted_overlapping(level, from, to).to_vec();
        }
        self.level(0).iter().filter(|table| table.overlaps(from, to)).cloned().collect()
    }

    /// Verifies V1 to V4 over the whole value. [`Version::apply`] keeps them, so a failure is a defect of this
    /// crate or damaged memory.
    ///
    /// # Errors
    /// `Corruption` that quotes the invariant.
    pub fn check(&self) -> Result<()> {
        let mut numbers: Vec<_> = self.tables().map(|(_, table)| table.number).collect();
        numbers.sort_unstable();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::corruption(format!("V1: table {} occurs twice", pair[0])));
        }
        for (_, table) in self.tables() {
            table.check()?;
        }
        let by_age = by_age(self.level(0));
        if !self.level(0).is_sorted_by(|a, b| by_age(a, b).is_lt()) {
            return Err(Error::corruption("V2: level 0 is not ordered by age"));
        }
        for (level, tables) in self.levels().enumerate().skip(1) {
            if let Some(pair) = tables.windows(2).find(|pair| pair[0].largest >= pair[1].smallest) {
                return Err(overlap(level, &pair[0], &pair[1]));
            }
        }
        Ok(())
    }

    /// This version with the tables of `level` replaced; the caller has put them in order.
    pub(crate) fn with_level(mut self, level: usize, tables: Vec<Arc<TableMeta>>) -> Version {
        let bytes = tables.iter().map(|table| table.bytes).fold(0, u64::saturating_add);
        self.levels[level] = Arc::new(Level { tables, bytes });
        self
    }
}

/// The order of level 0 (V2).
pub(crate) fn by_age(tables: &[Arc<TableMeta>]) -> impl Fn(&TableMeta, &TableMeta) -> Ordering + use<> {
    let epochs_known = tables.iter().all(|table| table.epoch != 0);
    let age = move |table: &TableMeta| {
        let epoch = if epochs_known { table.epoch } else { 0 };
        Reverse((epoch, table.largest_seq, table.smallest_seq, table.number))
    };
    move |a, b| age(a).cmp(&age(b))
}

/// V3 does not hold between two tables.
pub(crate) fn overlap(level: usize, a: &TableMeta, b: &TableMeta) -> Error {
    let (a_number, b_number) = (a.number, b.number);
    Error::corruption(format!(
        "tables {a_number} and {b_number} of level {level} overlap: one ends at {:?}, the other starts at {:?}",
        a.largest, b.smallest
    ))
}
