//! What one compaction is going to do.
//!
//! # Invariants
//! P1. Inputs of levels from 1 on are closed: a table that shares a user key with an input of its level
//!     is an input (neighbours may share one, decisions on bounds in `lsm-manifest`).
//! P2. Inputs of the output level are all its tables that overlap the other inputs.
//! P3. Of level-0 tables, whatever is older than an input and overlaps it is an input, unless the output
//!     stays in level 0: then the inputs are neighbours in age.
//! P4. `below` holds every table deeper than the output level that overlaps `span`.

use crate::job::JobOutput;
use lsm_manifest::{TableMeta, Version, VersionEdit};
use std::sync::Arc;

/// Why a compaction was picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The level's score asked for it.
    Score,
    /// Level 0 could not go down and its tables were merged with each other.
    WithinLevel0,
    /// A table was marked by its writer.
    Marked,
    /// A table of the bottom held deletions that no snapshot needs any more.
    Deletions,
    /// Reads have lost as much time by tables of level 0 as it takes to take those down.
    Reads,
    /// Someone asked for this key range.
    Manual,
}

/// User keys from `smallest` to `largest`, the last one included unless it says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySpan {
    /// First user key.
    pub smallest: Vec<u8>,
    /// Last user key.
    pub largest: Vec<u8>,
    /// Whether `largest` itself is outside (the end of a range tombstone).
    pub exclusive: bool,
}

impl KeySpan {
    /// What `tables` span together; `None` without tables.
    pub fn of<'t>(tables: impl IntoIterator<Item = &'t Arc<TableMeta>>) -> Option<KeySpan> {
        tables.into_iter().map(|table| KeySpan::of_table(table)).reduce(KeySpan::join)
    }

    fn of_table(table: &TableMeta) -> KeySpan {
        KeySpan {
            smallest: table.smallest.user_key().to_vec(),
            largest: table.largest.user_key().to_vec(),
            exclusive: table.largest.is_exclusive_end(),
        }
    }

    /// The smallest span around both.
    pub fn join(self, other: KeySpan) -> KeySpan {
        let self_ends_later = (&self.largest, !self.exclusive) > (&other.largest, !other.exclusive);
        let (largest, exclusive) =
            if self_ends_later { (self.largest, self.exclusive) } else { (other.largest, other.exclusive) };
        KeySpan { smallest: self.smallest.min(other.smallest), largest, exclusive }
    }

    /// Whether some user key lies in both.
    pub fn overlaps(&self, other: &KeySpan) -> bool {
        !self.ends_before(&other.smallest) && !other.ends_before(&self.smallest)
    }

    /// Whether all of it lies before `user_key`.
    pub fn ends_before(&self, user_key: &[u8]) -> bool {
        self.largest.as_slice() < user_key || (self.exclusive && self.largest == user_key)
    }

    /// The tables of `level` that overlap it, in the level's order.
    pub(crate) fn overlapping(&self, version: &Version, level: usize) -> Vec<Arc<TableMeta>> {
        let mut tables = version.overlapping(level, Some(&self.smallest), Some(&self.largest));
        if self.exclusive {
            tables.retain(|table| table.smallest.user_key() < self.largest.as_slice());
        }
        tables
    }
}

/// One compaction: which tables go in, and where the result goes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Why.
    pub reason: Reason,
    /// The topmost level with inputs.
    pub start_level: usize,
    /// The level of the result.
    pub output_level: usize,
    /// The inputs by level, topmost first; level 0 newest first, others by key. No level is empty.
    pub inputs: Vec<(usize, Vec<Arc<TableMeta>>)>,
    /// What deeper levels hold in the inputs' range, from the level under the output on (P4).
    pub below: Vec<Vec<Arc<TableMeta>>>,
    /// The user keys that the inputs span.
    pub span: KeySpan,
    /// Whether the inputs can be moved to the output level as they are.
    pub trivial_move: bool,
}

impl Plan {
    /// A plan whose inputs are complete; finds what lies below them.
    pub(crate) fn new(
        version: &Version,
        reason: Reason,
        output_level: usize,
        mut inputs: Vec<(usize, Vec<Arc<TableMeta>>)>,
    ) -> Plan {
        inputs.retain(|(_, tables)| !tables.is_empty());
        let start_level = inputs.first().map(|&(level, _)| level).expect("a plan has inputs");
        let span = KeySpan::of(inputs.iter().flat_map(|(_, tables)| tables)).expect("a plan has inputs");
        let below = version.levels().enumerate().skip(output_level + 1);
        let below = below.map(|(level, _)| span.overlapping(version, level)).collect();
        Plan { reason, start_level, output_level, inputs, below, span, trivial_move: false }
    }

    /// Level and table of every input.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &Arc<TableMeta>)> {
        self.inputs.iter().flat_map(|(level, tables)| tables.iter().map(move |table| (*level, table)))
    }

    /// Sum of the inputs' sizes.
    pub fn input_bytes(&self) -> u64 {
        self.tables().map(|(_, table)| table.bytes).sum()
    }

    /// The tables of the level under the output that overlap the inputs.
    pub fn grandparents(&self) -> &[Arc<TableMeta>] {
        self.below.first().map_or(&[], Vec::as_slice)
    }

    /// Whether nothing lies below the result anywhere in its range.
    pub fn is_bottommost(&self) -> bool {
        self.output_level > 0 && self.below.iter().all(Vec::is_empty)
    }

    /// The epoch of the result: the smallest of the inputs'.
    pub fn epoch(&self) -> u64 {
        self.tables().map(|(_, table)| table.epoch).min().unwrap_or(0)
    }

    /// Unix seconds of the oldest flush that contributed, zero if no input knows.
    pub fn oldest_ancestor_time(&self) -> u64 {
        self.tables().map(|(_, table)| table.oldest_ancestor_time).filter(|&time| time != 0).min().unwrap_or(0)
    }

    /// Whether tables leave level 0.
    pub fn takes_level0_down(&self) -> bool {
        self.start_level == 0 && self.output_level > 0
    }

    /// The change that moves the inputs of a trivial move; its family is left to the caller.
    ///
    /// # Panics
    /// When this is no trivial move.
    pub fn move_edit(&self) -> VersionEdit {
        assert!(self.trivial_move, "only a trivial move keeps its tables");
        VersionEdit {
            deleted: self.deleted(),
            added: self.tables().map(|(_, table)| (self.output_level, Arc::clone(table))).collect(),
            ..VersionEdit::default()
        }
    }

    /// The change that a finished job makes; its family is left to the caller.
    pub fn edit(&self, output: &JobOutput) -> VersionEdit {
        VersionEdit {
            deleted: self.deleted(),
            added: output.tables.iter().map(|table| (self.output_level, Arc::clone(&table.meta))).collect(),
            ..VersionEdit::default()
        }
    }

    fn deleted(&self) -> Vec<(usize, lsm_core::filename::FileNumber)> {
        self.tables().map(|(level, table)| (level, table.number)).collect()
    }
}
