//! Deleted ranges of keys.
//!
//! A range tombstone says that every entry of a key in `[start, end)` which is older than the tombstone
//! is gone. Tombstones may overlap; [`RangeTombstones`] answers for one key which is the newest that a
//! reader at some sequence number sees.
//!
//! The set cuts the key space at all starts and ends into fragments that do not overlap, and keeps
//! the tombstones in a segment tree over those fragments: each tombstone stands in O(log n) nodes.
//! A plain list of sequence numbers per fragment (as RocksDB keeps it) is quadratic for the common
//! pattern of a queue that trims its head again and again.
//!
//! A reader that walks keys in order asks once per fragment, not once per key: [`Coverage`] says how
//! far an answer holds.
//!
//! # Invariants
//! T1. Fragment `i` is `[boundaries[i], boundaries[i + 1])`; boundaries are strictly ascending.
//! T2. A tombstone stands in exactly those nodes whose fragments together are its range.
//! T3. An entry with sequence number q is deleted by a tombstone with sequence number t iff q < t.

use crate::Result;
use crate::key::{SeqNo, leading_bytes};

/// One deleted range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeTombstone {
    /// First user key that is deleted.
    pub start: Vec<u8>,
    /// First user key behind the range.
    pub end: Vec<u8>,
    /// When.
    pub seq: SeqNo,
}

/// An immutable set of range tombstones.
///
/// ```
/// use lsm_core::key::SeqNo;
/// use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
/// let deleted = |start: &[u8], end: &[u8], seq| RangeTombstone { start: start.into(), end: end.into(), seq: SeqNo::new(seq) };
/// let set = RangeTombstones::new(vec![deleted(b"a", b"m", 5), deleted(b"c", b"e", 9)]);
/// assert_eq!(set.newest(b"d", SeqNo::MAX), Some(SeqNo::new(9)));
/// assert_eq!(set.newest(b"d", SeqNo::new(8)), Some(SeqNo::new(5)));
/// assert_eq!(set.newest(b"m", SeqNo::MAX), None);
/// ```
#[derive(Default, Debug)]
pub struct RangeTombstones {
    boundaries: Vec<Vec<u8>>,
    /// Segment tree: node 1 is the root, the leaf of fragment i is `nodes.len() / 2 + i`.
    /// Sequence numbers in a node are descending.
    nodes: Vec<Vec<SeqNo>>,
    len: usize,
}

impl RangeTombstones {
    /// A set of `tombstones`; empty and inverted ranges delete nothing and are left out.
    pub fn new(mut tombstones: Vec<RangeTombstone>) -> RangeTombstones {
        tombstones.retain(|tombstone| tombstone.start < tombstone.end);
        // Newest first, so that every node's list comes out descending.
        tombstones.sort_by_key(|tombstone| std::cmp::Reverse(tombstone.seq));
        let mut boundaries: Vec<Vec<u8>> =
            tombstones.iter().flat_map(|tombstone| [tombstone.start.clone(), tombstone.end.clone()]).collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        let leaves = boundaries.len().saturating_sub(1).next_power_of_two();
        let mut set = RangeTombstones { boundaries, nodes: vec![Vec::new(); 2 * leaves], len: tombstones.len() };
        for tombstone in &tombstones {
            set.insert(tombstone, leaves);
        }
        set
    }

    #[expect(clippy::expect_used, reason = "T1: `new` has made the boundaries of these tombstones")]
    fn insert(&mut self, tombstone: &RangeTombstone, leaves: usize) {
        let position = |key: &Vec<u8>| self.boundaries.binary_search(key).expect("T1: starts and ends are boundaries");
        let mut left = position(&tombstone.start) + leaves;
        let mut right = position(&tombstone.end) + leaves;
        while left < right {
            if left % 2 == 1 {
                self.nodes[left].push(tombstone.seq);
                left += 1;
            }
            if right % 2 == 1 {
                right -= 1;
                self.nodes[right].push(tombstone.seq);
            }
            left /= 2;
            right /= 2;
        }
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many tombstones the set was made of.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Sequence number of the newest tombstone that covers `user_key` and is visible at `visible`.
    pub fn newest(&self, user_key: &[u8], visible: SeqNo) -> Option<SeqNo> {
        self.newest_before(self.boundaries_up_to(user_key), visible)
    }

    /// As [`RangeTombstones::newest`], joined into `coverage`, which is narrowed to where it holds.
    pub fn coverage(&self, user_key: &[u8], visible: SeqNo, coverage: &mut Coverage) {
        let behind = self.boundaries_up_to(user_key);
        if let Some(from) = behind.checked_sub(1) {
            coverage.narrow_from(&self.boundaries[from]);
        }
        if let Some(to) = self.boundaries.get(behind) {
            coverage.narrow_to(to);
        }
        if let Some(seq) = self.newest_before(behind, visible) {
            coverage.raise(seq);
        }
    }

    /// The tombstones that readers at `stripes` (ascending snapshots, then the present) can tell apart,
    /// as ranges that overlap only where a reader needs both; sorted by start, newest first.
    ///
    /// This is what a flush or a compaction writes instead of all tombstones it was given.
    pub fn per_stripe(&self, stripes: &[SeqNo]) -> Vec<RangeTombstone> {
        let mut out = Vec::new();
        let mut below = None;
        for &stripe in stripes {
            self.stripe(below, stripe, &mut out);
            below = Some(stripe);
        }
        out.sort_by(|a, b| a.start.cmp(&b.start).then(b.seq.cmp(&a.seq)));
        out
    }

    /// Adds the newest tombstone of each fragment in `(below, stripe]`, neighbours joined.
    fn stripe(&self, below: Option<SeqNo>, stripe: SeqNo, out: &mut Vec<RangeTombstone>) {
        let first = out.len();
        for (fragment, window) in self.boundaries.windows(2).enumerate() {
            let newest = self.newest_in_fragment(fragment, stripe).filter(|&seq| below.is_none_or(|below| seq > below));
            let Some(seq) = newest else { continue };
            match out[first..].last_mut() {
                Some(last) if last.seq == seq && last.end == window[0] => last.end.clone_from(&window[1]),
                _ => out.push(RangeTombstone { start: window[0].clone(), end: window[1].clone(), seq }),
            }
        }
    }

    /// How many boundaries are not behind `user_key`.
    fn boundaries_up_to(&self, user_key: &[u8]) -> usize {
        self.boundaries.partition_point(|boundary| boundary.as_slice() <= user_key)
    }

    /// The newest visible tombstone over the keys before boundary `behind`, if these are a fragment (T1).
    fn newest_before(&self, behind: usize, visible: SeqNo) -> Option<SeqNo> {
        let fragment = behind.checked_sub(1).filter(|_| behind < self.boundaries.len())?;
        self.newest_in_fragment(fragment, visible)
    }

    fn newest_in_fragment(&self, fragment: usize, visible: SeqNo) -> Option<SeqNo> {
        let mut node = self.nodes.len() / 2 + fragment;
        let mut newest = None;
        while node > 0 {
            let seqs = &self.nodes[node];
            let visible_from = seqs.partition_point(|&seq| seq > visible);
            newest = newest.max(seqs.get(visible_from).copied());
            node /= 2;
        }
        newest
    }
}

/// The newest tombstone over a key, and the range of keys around it for which the answer is the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coverage {
    /// Sequence number of the newest visible tombstone; zero when there is none (T3).
    seq: SeqNo,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    /// The leading bytes of `from` and `to`, which decide for nearly all keys.
    leading: (u64, u64),
}

impl Coverage {
    /// No tombstone, anywhere.
    pub fn none() -> Coverage {
        Coverage { seq: SeqNo::ZERO, from: None, to: None, leading: (0, u64::MAX) }
    }

    /// Whether an entry of a covered key with sequence number `seq` is deleted (T3).
    pub fn deletes(&self, seq: SeqNo) -> bool {
        seq < self.seq
    }

    /// Sequence number of the newest visible tombstone; zero when there is none.
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    /// First user key for which this holds; `None` for all from the beginning.
    pub fn from(&self) -> Option<&[u8]> {
        self.from.as_deref()
    }

    /// First user key behind those for which this holds; `None` for all to the end.
    pub fn to(&self) -> Option<&[u8]> {
        self.to.as_deref()
    }

    /// Whether the answer is that for `user_key` too.
    #[inline]
    pub fn holds_for(&self, user_key: &[u8]) -> bool {
        let leading = leading_bytes(user_key);
        (self.leading.0 < leading && leading < self.leading.1) || self.holds_in_full(user_key)
    }

    fn holds_in_full(&self, user_key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| from <= user_key) && self.to.as_deref().is_none_or(|to| user_key < to)
    }

    /// Joins a tombstone in.
    pub fn raise(&mut self, seq: SeqNo) {
        self.seq = self.seq.max(seq);
    }

    /// Limits the answer to keys at or after `from`.
    pub fn narrow_from(&mut self, from: &[u8]) {
        if self.from.as_deref().is_none_or(|present| present < from) {
            self.from = Some(from.to_vec());
            self.leading.0 = leading_bytes(from);
        }
    }

    /// Limits the answer to keys before `to`.
    pub fn narrow_to(&mut self, to: &[u8]) {
        if self.to.as_deref().is_none_or(|present| to < present) {
            self.to = Some(to.to_vec());
            self.leading.1 = leading_bytes(to);
        }
    }
}

/// Whatever holds range tombstones: a memtable, a table, a level of tables, all of these together.
pub trait TombstoneSource: Send {
    /// Joins the newest tombstone over `user_key` that is visible at `visible` into `coverage`.
    ///
    /// # Errors
    /// Damage or I/O errors of a table that had to be opened.
    fn coverage(&mut self, user_key: &[u8], visible: SeqNo, coverage: &mut Coverage) -> Result<()>;
}

impl TombstoneSource for std::sync::Arc<RangeTombstones> {
    fn coverage(&mut self, user_key: &[u8], visible: SeqNo, coverage: &mut Coverage) -> Result<()> {
        RangeTombstones::coverage(self, user_key, visible, coverage);
        Ok(())
    }
}

impl<S: TombstoneSource> TombstoneSource for Vec<S> {
    fn coverage(&mut self, user_key: &[u8], visible: SeqNo, coverage: &mut Coverage) -> Result<()> {
        self.iter_mut().try_for_each(|source| source.coverage(user_key, visible, coverage))
    }
}

impl TombstoneSource for Box<dyn TombstoneSource> {
    fn coverage(&mut self, user_key: &[u8], visible: SeqNo, coverage: &mut Coverage) -> Result<()> {
        (**self).coverage(user_key, visible, coverage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn set_of(ranges: &[(u8, u8, u8)]) -> (Vec<RangeTombstone>, RangeTombstones) {
        let all: Vec<RangeTombstone> = ranges
            .iter()
            .map(|&(start, end, seq)| RangeTombstone {
                start: vec![start % 32],
                end: vec![end % 32],
                seq: SeqNo::new(seq.into()),
            })
            .collect();
        (all.clone(), RangeTombstones::new(all))
    }

    fn newest_naively(all: &[RangeTombstone], key: &[u8], visible: SeqNo) -> Option<SeqNo> {
        all.iter()
            .filter(|t| t.start.as_slice() <= key && key < t.end.as_slice() && t.seq <= visible)
            .map(|t| t.seq)
            .max()
    }

    quickcheck! {
        fn agrees_with_a_list(ranges: Vec<(u8, u8, u8)>, visible: u8) -> bool {
            // Covers T1, T2.
            let (all, set) = set_of(&ranges);
            let visible = SeqNo::new(visible.into());
            (0..34).all(|key| set.newest(&[key], visible) == newest_naively(&all, &[key], visible))
        }

        fn coverage_holds_as_far_as_it_says(ranges: Vec<(u8, u8, u8)>, key: u8) -> bool {
            let (all, set) = set_of(&ranges);
            let mut coverage = Coverage::none();
            set.coverage(&[key % 34], SeqNo::MAX, &mut coverage);
            coverage.holds_for(&[key % 34]) && (0..34).filter(|&key| coverage.holds_for(&[key]))
                .all(|key| coverage.seq() == newest_naively(&all, &[key], SeqNo::MAX).unwrap_or_default())
        }

        fn stripes_keep_what_each_reader_sees(ranges: Vec<(u8, u8, u8)>, snapshots: Vec<u8>) -> bool {
            let (all, set) = set_of(&ranges);
            let mut stripes: Vec<SeqNo> = snapshots.into_iter().map(|seq| SeqNo::new(seq.into())).collect();
            stripes.push(SeqNo::MAX);
            stripes.sort_unstable();
            stripes.dedup();
            let kept = set.per_stripe(&stripes);
            (0..34).all(|key| stripes.iter().all(|&stripe| newest_naively(&all, &[key], stripe) == newest_naively(&kept, &[key], stripe)))
        }
    }

    #[test]
    fn trimming_a_queue_stays_small() {
        let all = (1..2000_u32).map(|head| RangeTombstone {
            start: vec![],
            end: head.to_be_bytes().to_vec(),
            seq: SeqNo::new(head.into()),
        });
        let set = RangeTombstones::new(all.collect());
        let places: usize = set.nodes.iter().map(Vec::len).sum();
        assert!(places < 2000 * 12, "{places}");
        // The newest trim covers all older ones.
        assert_eq!(set.per_stripe(&[SeqNo::MAX]).len(), 1);
    }
}
