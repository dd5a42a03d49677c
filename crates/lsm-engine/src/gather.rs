//! Entries on their way from a log to a table: nobody looks for one before the last is here, so they are sorted once, at the
//! end, which takes a third of what it takes to keep them in order as they come.
//!
//! # Invariants
//! E1. `places` are those of all entries in `bytes`; once sorted, by internal key.
//! E2. All user keys begin with the first `common` bytes of the first one.

use lsm_core::batch;
use lsm_core::key::{self, TRAILER_BYTES, common_prefix, leading_bytes, pack_trailer};
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_core::{Cursor, Kind, Result, SeqNo, memory};
use std::cmp::Ordering;

/// How many entries ahead the walk asks for memory.
const ASKED_AHEAD: usize = 6;

/// No more than this is gathered, however large a memtable is, so that places are short.
const BYTES_MAX: usize = 1 << 30;

/// Entries in the order in which they came.
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    places: Vec<Place>,
    common: usize,
    tombstones: Vec<RangeTombstone>,
    tombstone_bytes: usize,
    bytes_max: usize,
}

/// Where an entry lies: its internal key, and its value behind that.
struct Place {
    /// Eight bytes of the user key behind what is common to all, once that is known.
    leading: u64,
    start: u32,
    key_bytes: u32,
    value_bytes: u32,
}

impl Gathered {
    /// Room for about `bytes_max` bytes of memory.
    pub(crate) fn new(bytes_max: usize) -> Gathered {
        let bytes_max = bytes_max.min(BYTES_MAX);
        let (bytes, places, tombstones) = Default::default();
        Gathered { bytes, places, common: 0, tombstones, tombstone_bytes: 0, bytes_max }
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.tombstones.is_empty()
    }

    /// Whether the entry still fits; the first one always does.
    pub(crate) fn has_room(&self, entry: &batch::Entry<'_>) -> bool {
        let used = self.bytes.len() + size_of_val(&*self.places) + self.tombstone_bytes;
        self.is_empty() || used + entry.key.len() + entry.value.len() <= self.bytes_max
    }

    /// Takes in an entry that has room.
    #[expect(clippy::expect_used, reason = "keys and values of what is replayed have limits")]
    pub(crate) fn push(&mut self, entry: batch::Entry<'_>, seq: SeqNo) {
        if entry.kind == Kind::RangeDeletion {
            self.tombstone_bytes += size_of::<RangeTombstone>() + entry.key.len() + entry.value.len();
            self.tombstones.push(RangeTombstone { start: entry.key.into(), end: entry.value.into(), seq });
            return;
        }
        self.common = match self.places.first() {
            Some(first) => self.common.min(common_prefix(self.user_key(first), entry.key)),
            None => entry.key.len(),
        };
        let short = |bytes: usize| u32::try_from(bytes).expect("BYTES_MAX and one entry are less than 4 GiB");
        self.places.push(Place {
            leading: 0,
            start: short(self.bytes.len()),
            key_bytes: short(entry.key.len() + TRAILER_BYTES),
            value_bytes: short(entry.value.len()),
        });
        self.bytes.extend_from_slice(entry.key);
        self.bytes.extend_from_slice(&pack_trailer(seq, entry.kind as u8).to_le_bytes());
        self.bytes.extend_from_slice(entry.value);
    }

    /// A cursor over the point entries, and the range tombstones.
    pub(crate) fn sorted(mut self) -> (GatheredCursor, RangeTombstones) {
        let mut places = std::mem::take(&mut self.places);
        for place in &mut places {
            place.leading = leading_bytes(&self.user_key(place)[self.common..]);
        }
        let compare = |a: &Place, b: &Place| key::compare(self.key(a), self.key(b)).then(a.start.cmp(&b.start));
        places.sort_unstable_by(|a, b| a.leading.cmp(&b.leading).then_with(|| compare(a, b)));
        let tombstones = RangeTombstones::new(std::mem::take(&mut self.tombstones));
        self.places = places;
        (GatheredCursor { gathered: self, at: usize::MAX }, tombstones)
    }

    fn key(&self, place: &Place) -> &[u8] {
        &self.bytes[place.start as usize..][..place.key_bytes as usize]
    }

    fn user_key(&self, place: &Place) -> &[u8] {
        key::user_key(self.key(place))
    }

    fn entry(&self, place: &Place) -> &[u8] {
        &self.bytes[place.start as usize..][..(place.key_bytes + place.value_bytes) as usize]
    }
}

/// Walks sorted entries.
pub(crate) struct GatheredCursor {
    gathered: Gathered,
    /// Number of a place, or behind the last one.
    at: usize,
}

impl GatheredCursor {
    #[inline]
    fn place(&self) -> Option<&Place> {
        self.gathered.places.get(self.at)
    }

    #[expect(clippy::expect_used, reason = "C2: a call on a cursor that is not valid is a defect")]
    fn standing(&self) -> &Place {
        self.place().expect("C2: the cursor is valid")
    }

    fn stand_on(&mut self, at: usize) {
        self.at = at;
        if let Some(ahead) = at.checked_add(ASKED_AHEAD).and_then(|ahead| self.gathered.places.get(ahead)) {
            memory::ask_for(self.gathered.entry(ahead));
        }
    }

    /// How many entries come before `target`, or do and are it.
    fn count(&self, target: &[u8], with_equal: bool) -> usize {
        self.gathered.places.partition_point(|place| match key::compare(self.gathered.key(place), target) {
            Ordering::Less => true,
            Ordering::Equal => with_equal,
            Ordering::Greater => false,
        })
    }
}

impl Cursor for GatheredCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        self.stand_on(0);
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.stand_on(self.gathered.places.len().wrapping_sub(1));
        Ok(())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.stand_on(self.count(target, false));
        Ok(())
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        self.stand_on(self.count(target, true).wrapping_sub(1));
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        debug_assert!(self.valid(), "C2: next on a cursor that is not valid");
        self.stand_on(self.at + 1);
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        debug_assert!(self.valid(), "C2: prev on a cursor that is not valid");
        self.stand_on(self.at.wrapping_sub(1));
        Ok(())
    }

    fn valid(&self) -> bool {
        self.place().is_some()
    }

    fn key(&self) -> &[u8] {
        self.gathered.key(self.standing())
    }

    fn value(&self) -> &[u8] {
        let place = self.standing();
        &self.gathered.entry(place)[place.key_bytes as usize..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_core::ColumnFamilyId;
    use lsm_core::key::InternalKey;
    use lsm_memtable::{EntrySize, Memtable};
    use quickcheck::quickcheck;
    use std::sync::Arc;

    /// What a cursor shows from its first entry to its last, and what it shows from there back to the first.
    fn walked(cursor: &mut impl Cursor) -> [Vec<(Vec<u8>, Vec<u8>)>; 2] {
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            forward.push((cursor.key().to_vec(), cursor.value().to_vec()));
            cursor.next().unwrap();
        }
        cursor.seek_to_last().unwrap();
        while cursor.valid() {
            backward.push((cursor.key().to_vec(), cursor.value().to_vec()));
            cursor.prev().unwrap();
        }
        [forward, backward]
    }

    fn at(cursor: &impl Cursor) -> Option<Vec<u8>> {
        cursor.valid().then(|| cursor.key().to_vec())
    }

    quickcheck! {
        // E1, E2: the order of a memtable.
        fn is_sorted_as_a_memtable_is(writes: Vec<(Vec<u8>, u8, Vec<u8>)>, targets: Vec<(Vec<u8>, u8)>, common: u8) -> bool {
            let key = |end: &[u8]| [&vec![7; usize::from(common % 12)][..], &end[..end.len().min(9)]].concat();
            let mut gathered = Gathered::new(1 << 20);
            let memtable = Arc::new(Memtable::new(1 << 20));
            for ((end, kind, value), seq) in writes.iter().zip(1..) {
                let kind = [Kind::Value, Kind::Deletion, Kind::Merge, Kind::RangeDeletion][usize::from(kind % 4)];
                let (key, seq) = (key(end), SeqNo::new(seq));
                let size = EntrySize { kind, key_bytes: key.len(), value_bytes: value.len() };
                memtable.reserve(std::iter::once(size)).unwrap().insert(&key, seq, kind, value);
                let entry = batch::Entry { family: ColumnFamilyId(0), kind, key: &key, value };
                assert!(gathered.has_room(&entry));
                gathered.push(entry, seq);
            }
            let (mut cursor, tombstones) = gathered.sorted();
            let mut oracle = memtable.cursor();
            let target = |(end, seq): &(Vec<u8>, u8)| InternalKey::for_seek(&key(end), SeqNo::new(u64::from(*seq)));
            let targets: Vec<_> = targets.iter().map(target).collect();
            let agrees = |target: &InternalKey| {
                cursor.seek(target.as_bytes()).unwrap();
                oracle.seek(target.as_bytes()).unwrap();
                let behind = (at(&cursor), at(&oracle));
                cursor.seek_for_prev(target.as_bytes()).unwrap();
                oracle.seek_for_prev(target.as_bytes()).unwrap();
                behind.0 == behind.1 && at(&cursor) == at(&oracle)
            };
            let others = memtable.tombstones();
            let is_covered_alike = |key: &[u8]| tombstones.newest(key, SeqNo::MAX) == others.newest(key, SeqNo::MAX);
            targets.iter().all(agrees)
                && walked(&mut cursor) == walked(&mut oracle)
                && targets.iter().all(|target| is_covered_alike(target.user_key()))
        }
    }

    #[test]
    fn takes_one_entry_at_least_and_no_more_than_fit() {
        let value = vec![1; 300];
        for kind in [Kind::Value, Kind::RangeDeletion] {
            let entry = batch::Entry { family: ColumnFamilyId(0), kind, key: b"k", value: &value };
            let mut gathered = Gathered::new(100);
            assert!(gathered.has_room(&entry));
            gathered.push(entry, SeqNo::new(1));
            assert!(!gathered.has_room(&entry));
        }
    }
}
