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

    /// All of them, by start.
    pub(crate) fn tombstones(&self) -> &[RangeTombstone] {
        &self.tombstones
    }

    /// The parts in `[from, to)` (D3).
    pub(crate) fn parts(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Vec<RangeTombstone> {
        let count = to.map_or(self.tombstones.len(), |to| {
            self.tombstones.partition_point(|tombstone| tombstone.start.as_slice() < to)
        });
        self.tombstones[..count].iter().filter_map(|tombstone| clip(tombstone, from, to)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open_table, table};
    use quickcheck::quickcheck;
    use std::sync::Arc;

    fn tombstone(start: &str, end: &str, seq: u64) -> RangeTombstone {
        RangeTombstone { start: start.into(), end: end.into(), seq: SeqNo::new(seq) }
    }

    fn print(tombstones: &[RangeTombstone]) -> Vec<String> {
        let print =
            |one: &RangeTombstone| format!("{}..{}@{}", one.start.escape_ascii(), one.end.escape_ascii(), one.seq);
        tombstones.iter().map(print).collect()
    }

    #[test]
    fn a_tombstone_counts_inside_its_tables_bounds() {
        // Covers D1.
        let stored = RangeTombstones::new(vec![tombstone("a", "z", 9), tombstone("x", "z", 8)]);
        let clipped = |table| print(&of_table(&stored, &table, &[SeqNo::MAX]));
        assert_eq!(clipped(table(1, "c", "f", 1)), [r"c..f\x00@9"]);
        assert_eq!(clipped(open_table(1, "c", "f", 1)), ["c..f@9"]);
        assert_eq!(clipped(table(1, "za", "zz", 1)), [""; 0]);
    }

    #[test]
    fn only_what_every_snapshot_sees_goes_where_nothing_is_below() {
        // Covers D2.
        let all = RangeTombstones::new(vec![tombstone("a", "z", 5), tombstone("a", "z", 15)]);
        let below = Below::tables(vec![vec![Arc::new(open_table(1, "f", "h", 1))]]);
        let kept = |snapshots: &[u64], below: &Below| {
            let snapshots: Vec<SeqNo> = snapshots.iter().map(|&seq| SeqNo::new(seq)).collect();
            print(&Kept::new(&all, &crate::write::stripes(&snapshots), below, (None, None)).parts(None, None))
        };
        assert_eq!(kept(&[], &below), ["f..h@15"]);
        assert_eq!(kept(&[10], &below), ["a..z@15", "f..h@5"]);
        assert_eq!(kept(&[4], &below), ["a..z@15"]);
        assert_eq!(kept(&[4, 10], &below), ["a..z@15", "a..z@5"]);
        assert_eq!(kept(&[], &Below::unknown()), ["a..z@15"]);
        assert_eq!(kept(&[], &Below::tables(Vec::new())), [""; 0]);
    }

    quickcheck! {
        fn parts_lose_nothing(ranges: Vec<(u8, u8, u8)>, cuts: Vec<u8>) -> bool {
            // Covers D3.
            let tombstones = ranges.iter().map(|&(start, end, seq)| RangeTombstone {
                start: vec![start], end: vec![end], seq: SeqNo::new(seq.into()),
            });
            let all = RangeTombstones::new(tombstones.collect());
            let stripes = [SeqNo::new(100), SeqNo::MAX];
            let kept = Kept::new(&all, &stripes, &Below::unknown(), (None, None));
            let mut cuts: Vec<[u8; 1]> = cuts.into_iter().map(|cut| [cut]).collect();
            cuts.sort_unstable();
            let mut from: Option<&[u8]> = None;
            let mut parts = Vec::new();
            for to in cuts.iter().map(|cut| Some(&cut[..])).chain([None]) {
                let part = kept.parts(from, to);
                if !part.iter().all(|one| from.is_none_or(|from| one.start.as_slice() >= from) && to.is_none_or(|to| one.end.as_slice() <= to)) {
                    return false;
                }
                parts.extend(part);
                from = to;
            }
            let joined = RangeTombstones::new(parts);
            (0..=255).all(|key| stripes.iter().all(|&at| joined.newest(&[key], at) == all.newest(&[key], at)))
        }
    }
}
