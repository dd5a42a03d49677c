//! What a store must answer, kept in the plainest way: every version of every key.
//!
//! # Invariants
//! O1. The versions of a key are ascending by sequence number.
//! O2. A version with sequence number q is under a range deletion with sequence number t iff q < t.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lsm_core::batch::{Entry, Record};
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{ColumnFamilyId, Kind, MergeOperator, SeqNo, WriteBatch};

/// What was done to a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// It got a value.
    Put(Vec<u8>),
    /// It was deleted.
    Delete,
    /// It, written once before, was deleted.
    SingleDelete,
    /// It got an operand for the merge operator.
    Merge(Vec<u8>),
}

/// All that was ever written, by family.
///
/// ```
/// use std::ops::Bound::Unbounded;
/// use std::sync::Arc;
/// use lsm_core::{ColumnFamilyId, SeqNo};
/// use lsm_testkit::{AppendOperator, Model, Write};
///
/// let mut model = Model::new(Arc::new(AppendOperator));
/// let family = ColumnFamilyId::DEFAULT;
/// let before = model.write(family, b"a", Write::Put(b"1".to_vec()));
/// model.write(family, b"a", Write::Merge(b"2".to_vec()));
/// let after = model.delete_range(family, b"a", b"b");
/// assert_eq!(model.get_at(family, b"a", before), Some(b"1".to_vec()));
/// assert_eq!(model.get_at(family, b"a", SeqNo::new(2)), Some(b"1,2".to_vec()));
/// assert!(model.scan_at(family, (Unbounded, Unbounded), after).is_empty());
/// ```
#[derive(Clone)]
pub struct Model {
    families: BTreeMap<ColumnFamilyId, Family>,
    last_seq: SeqNo,
    operator: Arc<dyn MergeOperator>,
}

#[derive(Clone, Default)]
struct Family {
    versions: BTreeMap<Vec<u8>, Vec<(SeqNo, Write)>>,
    deleted_ranges: Vec<RangeTombstone>,
}

impl Model {
    /// Nothing written yet.
    pub fn new(operator: Arc<dyn MergeOperator>) -> Model {
        Model { families: BTreeMap::new(), last_seq: SeqNo::ZERO, operator }
    }

    /// The sequence number of the last write.
    pub fn last_seq(&self) -> SeqNo {
        self.last_seq
    }

    /// Writes to a key and returns the write's sequence number.
    pub fn write(&mut self, family: ColumnFamilyId, key: &[u8], write: Write) -> SeqNo {
        let seq = self.next_seq();
        self.family(family).versions.entry(key.to_vec()).or_default().push((seq, write));
        seq
    }

    /// Deletes all keys from `start` up to `end`, exclusive, and returns the write's sequence number.
    pub fn delete_range(&mut self, family: ColumnFamilyId, start: &[u8], end: &[u8]) -> SeqNo {
        let seq = self.next_seq();
        self.family(family).deleted_ranges.push(RangeTombstone { start: start.to_vec(), end: end.to_vec(), seq });
        seq
    }

    /// Applies a batch, whose own sequence number is not looked at; returns that of its last write.
    pub fn apply(&mut self, batch: &WriteBatch) -> SeqNo {
        for record in batch.records() {
            if let Record::Entry(entry) = record {
                self.apply_entry(entry);
            }
        }
        self.last_seq
    }

    fn apply_entry(&mut self, Entry { family, kind, key, value }: Entry<'_>) {
        let write = match kind {
            Kind::Value => Write::Put(value.to_vec()),
            Kind::Deletion => Write::Delete,
            Kind::SingleDeletion => Write::SingleDelete,
            Kind::Merge => Write::Merge(value.to_vec()),
            Kind::RangeDeletion => {
                self.delete_range(family, key, value);
                return;
            }
        };
        self.write(family, key, write);
    }

    /// Forgets all writes after `seq`: what a crash that left the state at `seq` lost.
    pub fn rewind(&mut self, seq: SeqNo) {
        for family in self.families.values_mut() {
            family.versions.values_mut().for_each(|versions| versions.retain(|(found, _)| *found <= seq));
            family.versions.retain(|_, versions| !versions.is_empty());
            family.deleted_ranges.retain(|range| range.seq <= seq);
        }
        self.last_seq = self.last_seq.min(seq);
    }

    /// Forgets a family.
    pub fn drop_family(&mut self, family: ColumnFamilyId) {
        self.families.remove(&family);
    }

    /// The value of `key` for a reader at `seq`.
    ///
    /// # Panics
    /// When the merge operator refuses the operands.
    pub fn get_at(&self, family: ColumnFamilyId, key: &[u8], seq: SeqNo) -> Option<Vec<u8>> {
        let family = self.families.get(&family)?;
        let versions = family.versions.get(key)?;
        let deleted = family.deleted_at(key, seq);
        let mut operands: Vec<&[u8]> = Vec::new();
        let mut existing: Option<&[u8]> = None;
        for (_, write) in versions.iter().rev().filter(|(found, _)| *found <= seq && *found >= deleted) {
            match write {
                Write::Merge(operand) => operands.push(operand),
                Write::Put(value) => existing = Some(value),
                Write::Delete | Write::SingleDelete => {}
            }
            if !matches!(write, Write::Merge(_)) {
                break;
            }
        }
        if operands.is_empty() {
            return existing.map(<[u8]>::to_vec);
        }
        operands.reverse();
        Some(self.operator.full_merge(key, existing, &operands).expect("the model's operator takes all operands"))
    }

    /// The live keys in `range` with their values, ascending, for a reader at `seq`.
    ///
    /// # Panics
    /// When the merge operator refuses operands.
    pub fn scan_at(
        &self,
        family: ColumnFamilyId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        seq: SeqNo,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Some(found) = self.families.get(&family) else { return Vec::new() };
        // A filter instead of BTreeMap::range, which panics for an inverted range.
        let keys = found.versions.keys().filter(|key| is_within(key, range));
        keys.filter_map(|key| Some((key.clone(), self.get_at(family, key, seq)?))).collect()
    }

    /// All live keys with their values, ascending, for a reader at `seq`.
    pub fn all_at(&self, family: ColumnFamilyId, seq: SeqNo) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.scan_at(family, (Bound::Unbounded, Bound::Unbounded), seq)
    }

    fn family(&mut self, id: ColumnFamilyId) -> &mut Family {
        self.families.entry(id).or_default()
    }

    fn next_seq(&mut self) -> SeqNo {
        self.last_seq = self.last_seq.plus(1);
        self.last_seq
    }
}

impl Family {
    /// The newest deletion of a range around `key` that a reader at `seq` sees.
    fn deleted_at(&self, key: &[u8], seq: SeqNo) -> SeqNo {
        let covers =
            |range: &&RangeTombstone| range.seq <= seq && range.start.as_slice() <= key && key < range.end.as_slice();
        // They were made one after the other: the last one that counts is the newest.
        self.deleted_ranges.iter().rev().find(covers).map(|range| range.seq).unwrap_or_default()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("families", &self.families.len()).field("last_seq", &self.last_seq).finish()
    }
}

fn is_within(key: &[u8], (from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    let behind_start = match from {
        Bound::Included(from) => from <= key,
        Bound::Excluded(from) => from < key,
        Bound::Unbounded => true,
    };
    let before_end = match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    };
    behind_start && before_end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppendOperator, for_each_seed};

    const FAMILY: ColumnFamilyId = ColumnFamilyId::DEFAULT;

    fn put(value: &[u8]) -> Write {
        Write::Put(value.to_vec())
    }

    fn model() -> Model {
        Model::new(Arc::new(AppendOperator))
    }

    #[test]
    fn readers_see_the_newest_version_not_after_them() {
        let mut model = model();
        let one = model.write(FAMILY, b"k", put(b"1"));
        let gone = model.write(FAMILY, b"k", Write::Delete);
        let two = model.write(FAMILY, b"k", put(b""));
        let seen = [SeqNo::ZERO, one, gone, two].map(|seq| model.get_at(FAMILY, b"k", seq));
        assert_eq!(seen, [None, Some(b"1".to_vec()), None, Some(b"".to_vec())]);
        assert_eq!(model.get_at(ColumnFamilyId(1), b"k", two), None);
    }

    #[test]
    fn operands_stop_at_values_deletions_and_deleted_ranges() {
        let stops: [fn(&mut Model) -> SeqNo; 4] = [
            |model| model.write(FAMILY, b"k", put(b"v")),
            |model| model.write(FAMILY, b"k", Write::Delete),
            |model| model.write(FAMILY, b"k", Write::SingleDelete),
            |model| model.delete_range(FAMILY, b"a", b"z"),
        ];
        let expected = ["v,x,y", "x,y", "x,y", "x,y"];
        for (stop, expected) in stops.into_iter().zip(expected) {
            let mut model = model();
            model.write(FAMILY, b"k", Write::Merge(b"old".to_vec()));
            stop(&mut model);
            model.write(FAMILY, b"k", Write::Merge(b"x".to_vec()));
            let seq = model.write(FAMILY, b"k", Write::Merge(b"y".to_vec()));
            assert_eq!(model.get_at(FAMILY, b"k", seq).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn scans_keep_to_their_bounds_and_inverted_ones_are_empty() {
        let mut model = model();
        for key in [b"a", b"b", b"c"] {
            model.write(FAMILY, key, put(b"v"));
        }
        let keys = |from, to| -> Vec<u8> {
            model.scan_at(FAMILY, (from, to), SeqNo::MAX).iter().map(|(key, _)| key[0]).collect()
        };
        assert_eq!(keys(Bound::Included(b"a"), Bound::Excluded(b"c")), b"ab");
        assert_eq!(keys(Bound::Excluded(b"a"), Bound::Included(b"c")), b"bc");
        assert_eq!(keys(Bound::Included(b"c"), Bound::Excluded(b"a")), b"");
        assert_eq!(keys(Bound::Unbounded, Bound::Unbounded), b"abc");
    }

    /// A random batch over few keys.
    fn random_batch(choices: &mut crate::Choices) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for _ in 0..choices.within(1..=5) {
            let (key, end, value) = (choices.key(20), choices.key(20), choices.bytes(0..=3));
            match choices.weighted(&[5, 2, 1, 3, 1]) {
                0 => batch.put(FAMILY, &key, &value),
                1 => batch.delete(FAMILY, &key),
                2 => batch.single_delete(FAMILY, &key),
                3 => batch.merge(FAMILY, &key, &value),
                _ => batch.delete_range(FAMILY, &key, &end),
            }
        }
        batch.log_data(b"takes no sequence number");
        batch
    }

    // The model against something plainer still: one map per sequence number.
    #[test]
    fn every_state_is_what_applying_the_writes_one_by_one_gives() {
        for_each_seed(100, |choices| {
            let mut model = model();
            let mut states = vec![BTreeMap::<Vec<u8>, Vec<u8>>::new()];
            for _ in 0..10 {
                let batch = random_batch(choices);
                assert_eq!(model.apply(&batch).get(), states.len() as u64 - 1 + u64::from(batch.count()));
                for record in batch.records() {
                    let Record::Entry(entry) = record else { continue };
                    let mut state = states.last().unwrap().clone();
                    match entry.kind {
                        Kind::Value => drop(state.insert(entry.key.to_vec(), entry.value.to_vec())),
                        Kind::Deletion | Kind::SingleDeletion => drop(state.remove(entry.key)),
                        Kind::RangeDeletion => {
                            state.retain(|key, _| !(entry.key <= key && key.as_slice() < entry.value))
                        }
                        Kind::Merge => {
                            let joined = match state.get(entry.key) {
                                Some(value) => [value, entry.value].join(&b','),
                                None => entry.value.to_vec(),
                            };
                            state.insert(entry.key.to_vec(), joined);
                        }
                    }
                    states.push(state);
                }
            }
            for (seq, state) in states.iter().enumerate().rev() {
                let seq = SeqNo::new(seq as u64);
                let expected: Vec<_> = state.clone().into_iter().collect();
                assert_eq!(model.all_at(FAMILY, seq), expected, "{seq:?}");
                model.rewind(seq);
                assert_eq!(model.all_at(FAMILY, SeqNo::MAX), expected, "{seq:?}");
                assert_eq!(model.last_seq(), seq);
            }
        });
    }
}
