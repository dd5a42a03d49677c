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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{added, deleted, table};
    use quickcheck::{Arbitrary, Gen, quickcheck};

    /// What versions are compared with: a list, searched from front to back.
    #[derive(Clone, Default)]
    struct Naive(Vec<(usize, Arc<TableMeta>)>);

    impl Naive {
        fn apply(&mut self, edit: &VersionEdit) -> bool {
            for &(level, number) in &edit.deleted {
                let Some(at) = self.0.iter().position(|(l, table)| (*l, table.number) == (level, number)) else {
                    return false;
                };
                self.0.remove(at);
            }
            for (level, table) in &edit.added {
                let clash = |(l, other): &(usize, Arc<TableMeta>)| {
                    let apart = other.largest < table.smallest || table.largest < other.smallest;
                    other.number == table.number || (l == level && *level > 0 && !apart)
                };
                if self.0.iter().any(clash) {
                    return false;
                }
                self.0.push((*level, table.clone()));
            }
            true
        }

        fn numbers(&self, level: usize, wanted: impl Fn(&TableMeta) -> bool) -> Vec<u64> {
            let on_level = self.0.iter().filter(|(l, table)| *l == level && wanted(table));
            sorted(on_level.map(|(_, table)| table.number.0).collect())
        }
    }

    fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
        numbers.sort_unstable();
        numbers
    }

    fn numbers(tables: &[Arc<TableMeta>]) -> Vec<u64> {
        tables.iter().map(|table| table.number.0).collect()
    }

    /// Few numbers, levels and keys, so that deletions hit and tables collide now and then.
    #[derive(Clone, Debug)]
    struct SmallEdit(VersionEdit);

    impl Arbitrary for SmallEdit {
        fn arbitrary(g: &mut Gen) -> SmallEdit {
            let mut below = |limit: u8| u8::arbitrary(g) % limit;
            let mut edit = VersionEdit::default();
            if below(3) == 0 {
                edit = deleted([(usize::from(below(3)), u64::from(below(12)) + 1)]);
            }
            for _ in 0..below(3) {
                let mut ends = [b'a' + below(20), b'a' + below(20)];
                ends.sort_unstable();
                let close = if below(3) == 0 && ends[0] < ends[1] { ")" } else { "" };
                let range = format!("{}-{}{close}", char::from(ends[0]), char::from(ends[1]));
                let table = table(u64::from(below(12)) + 1, &range, u64::from(below(9)));
                edit.added.push((usize::from(below(3)), Arc::new(table)));
            }
            SmallEdit(edit)
        }
    }

    quickcheck! {
        // Covers V1 to V4.
        fn versions_agree_with_a_list(edits: Vec<SmallEdit>) -> bool {
            let (mut version, mut naive) = (Version::new(), Naive::default());
            for SmallEdit(edit) in edits {
                let mut next = naive.clone();
                match (version.apply(std::slice::from_ref(&edit)), next.apply(&edit)) {
                    (Ok(applied), true) => (version, naive) = (applied, next),
                    (Err(error), false) => assert!(error.is_corruption(), "{error}"),
                    (applied, expected) => panic!("{edit:?}: {applied:?}, the list says {expected}"),
                }
                version.check().unwrap();
            }
            for level in 0..3 {
                for from in b'a'..=b'v' {
                    let key = [from];
                    let to = [from + 3];
                    let (from, to) = (Some(key.as_slice()), Some(to.as_slice()));
                    for (from, to) in [(from, to), (None, to), (from, None), (None, None), (from, from)] {
                        let found = sorted(numbers(&version.overlapping(level, from, to)));
                        assert_eq!(found, naive.numbers(level, |table| table.overlaps(from, to)));
                    }
                    if level > 0 {
                        let found = sorted(numbers(version.table_for(level, &key)));
                        assert_eq!(found, naive.numbers(level, |table| table.covers(&key)));
                    }
                }
                assert_eq!(version.level_bytes(level), naive.numbers(level, |_| true).iter().map(|n| 1000 + n).sum());
            }
            version.table_count() == naive.0.len()
        }

        fn edits_at_once_are_edits_one_by_one(edits: Vec<SmallEdit>) -> bool {
            let edits: Vec<_> = edits.into_iter().map(|SmallEdit(edit)| edit).collect();
            let single = edits.iter().try_fold(Version::new(), |version, edit| version.apply(std::slice::from_ref(edit)));
            match (Version::new().apply(&edits), single) {
                (Ok(group), Ok(single)) => group == single,
                (group, single) => group.is_err() && single.is_err(),
            }
        }
    }

    #[test]
    fn level_0_is_newest_first() {
        // Covers V2.
        let mut tables = [table(4, "a-z", 7), table(2, "a-z", 9), table(3, "a-z", 9)];
        let order = |tables: &[TableMeta]| {
            let edit = added(tables.iter().map(|table| (0, table.clone())));
            numbers(Version::new().apply(&[edit]).unwrap().level(0))
        };
        assert_eq!(order(&tables), [3, 2, 4]);
        tables[0].epoch = 5;
        assert_eq!(order(&tables), [3, 2, 4], "one epoch alone says nothing");
        (tables[1].epoch, tables[2].epoch) = (4, 3);
        assert_eq!(order(&tables), [4, 2, 3]);
    }

    #[test]
    fn neighbours_may_share_a_user_key() {
        // Covers V3: the newer half of `k` ends table 1, older entries fill table 2 and start table 3.
        let split = |number: u64, (from, from_seq): (&str, u64), (to, to_seq): (&str, u64)| {
            let mut table = table(number, &format!("{from}-{to}"), to_seq);
            table.smallest =
                lsm_core::key::InternalKey::new(from.as_bytes(), lsm_core::SeqNo::new(from_seq), lsm_core::Kind::Value);
            (1, table)
        };
        let tables = [split(1, ("a", 9), ("k", 8)), split(2, ("k", 7), ("k", 5)), split(3, ("k", 4), ("m", 3))];
        let version = Version::new().apply(&[added(tables)]).unwrap();
        assert_eq!(numbers(version.table_for(1, b"k")), [1, 2, 3]);
        assert_eq!(numbers(version.table_for(1, b"j")), [1]);
        assert_eq!(numbers(version.table_for(1, b"n")), [] as [u64; 0]);

        let exclusive = Version::new().apply(&[added([(1, table(1, "a-k)", 9)), (1, table(2, "k-m", 3))])]).unwrap();
        assert_eq!(numbers(exclusive.table_for(1, b"k")), [2]);
    }

    #[test]
    fn untouched_levels_are_shared() {
        let base = Version::new().apply(&[added([(1, table(1, "a-b", 1)), (2, table(2, "a-b", 1))])]).unwrap();
        let next = base.apply(&[deleted([(1, 1)])]).unwrap();
        assert!(Arc::ptr_eq(&base.levels[2], &next.levels[2]));
        assert!(next.level(1).is_empty() && base.level(1).len() == 1);
    }

    #[test]
    fn a_table_moves_in_one_edit() {
        let base = Version::new().apply(&[added([(1, table(1, "a-b", 1))])]).unwrap();
        let mut edit = deleted([(1, 1)]);
        edit.added = added([(2, table(1, "a-b", 1))]).added;
        let moved = base.apply(&[edit]).unwrap();
        assert_eq!((moved.level(1).len(), numbers(moved.level(2))), (0, vec![1]));
    }

    #[test]
    fn edits_that_do_not_fit_say_why() {
        let base = Version::new().apply(&[added([(1, table(1, "c-g", 1))])]).unwrap();
        for (edit, message) in [
            (deleted([(1, 2)]), "deletes table 000002 from level 1, it is not there"),
            (deleted([(2, 1)]), "deletes table 000001 from level 2, it is on level 1"),
            (added([(3, table(1, "x-z", 1))]), "adds table 000001 to level 3, it is on level 1 already"),
            (added([(1, table(2, "a-d", 9))]), "tables 000002 and 000001 of level 1 overlap"),
            (added([(1, table(2, "g-h", 1))]), "tables 000001 and 000002 of level 1 overlap"),
            (added([(1, table(2, "d-e", 1))]), "tables 000001 and 000002 of level 1 overlap"),
        ] {
            let error = base.apply(&[edit]).unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains(message), "{error}");
        }
    }
}
