//! Range tombstones on their way through a job: clipped to what their table covers, thinned to what
//! readers can tell apart, left out above nothing, and cut where outputs are.
//!
//! # Invariants
//! D1. A stored tombstone counts only inside its table's bounds: the manifest may have given the rest of
//!     the range to another table whose tombstones are gone by now. Neighbours that share a user key are
//!     in one job (P1), so the last user key counts as a whole.
//! D2. A tombstone that every snapshot sees stays only above tables that may hold something for it.
//! D3. The parts that outputs get are apart from each other and together are what stays: an output's part
//!     ends where the next output begins.

use crate::below::{Below, end_behind};
use lsm_core::SeqNo;
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_manifest::TableMeta;

/// The part of `tombstone` in `[from, to)`, if there is any; `None` is open.
fn clip(tombstone: &RangeTombstone, from: Option<&[u8]>, to: Option<&[u8]>) -> Option<RangeTombstone> {
    let start = from.map_or(tombstone.start.as_slice(), |from| from.max(&tombstone.start));
    let end = to.map_or(tombstone.end.as_slice(), |to| to.min(&tombstone.end));
    (start < end).then(|| RangeTombstone { start: start.to_vec(), end: end.to_vec(), seq: tombstone.seq })
}

/// What readers at `stripes` see of a table's tombstones, inside the table's bounds (D1).
pub(crate) fn of_table(stored: &RangeTombstones, table: &TableMeta, stripes: &[SeqNo]) -> Vec<RangeTombstone> {
    if stored.is_empty() {
        return Vec::new();
    }
    let (from, to) = (table.smallest.user_key(), end_behind(table));
    stored.per_stripe(stripes).iter().filter_map(|tombstone| clip(tombstone, Some(from), Some(&to))).collect()
}

/// The tombstones that a job's outputs must hold, sorted by start.
pub(crate) struct Kept {
    tombstones: Vec<RangeTombstone>,
}

impl Kept {
    /// What stays of `all` in `[from, to)` for readers at `stripes` above `below` (D2).
    pub(crate) fn new(
        all: &RangeTombstones,
        stripes: &[SeqNo],
        below: &Below,
        (from, to): (Option<&[u8]>, Option<&[u8]>),
    ) -> Kept {
        let mut tombstones = Vec::new();
        if !all.is_empty() {
            for tombstone in all.per_stripe(stripes).iter().filter_map(|tombstone| clip(tombstone, from, to)) {
                if tombstone.seq > stripes[0] {
                    tombstones.push(tombstone);
                    continue;
                }
                let parts = below.parts(&tombstone.start, &tombstone.end).into_iter();
                tombstones.extend(parts.map(|(start, end)| RangeTombstone { start, end, seq: tombstone.seq }));
            }
        }
        tombstones.sort_by(|a, b| a.start.cmp(&b.start).then(b.seq.cmp(&a.seq)));
        Kept { tombstones }
    }

    /// The parts in `[from, to)` (D3).
    pub(crate) fn parts(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Vec<RangeTombstone> {
        let count = to.map_or(self.tombstones.len(), |to| {
            self.tombstones.partition_point(|tombstone| tombstone.start.as_slice() < to)
        });
        self.tombstones[..count].iter().filter_map(|tombstone| clip(tombstone, from, to)).collect()
    }
}
