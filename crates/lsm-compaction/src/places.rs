//! Where outputs may end besides the keys of entries: where range tombstones begin, and inside of them where
//! tables of the level below (*grandparents*) do.
//!
//! A tombstone over many keys without an entry among them would else come into one table, however much of the next
//! level that overlaps: and the job that takes the table down would read all of it.
//!
//! # Invariants
//! L1. Places ascend, and one that is not behind the last key with entries is never offered: no output ends in the middle
//!     of a key (O2 of `output.rs`).

use crate::cut::Cut;
use crate::tombstones::Kept;
use lsm_core::range_tombstone::RangeTombstone;

/// A user key with which an output may begin.
#[derive(PartialEq, Eq, Debug)]
struct Place {
    user_key: Vec<u8>,
    /// About the bytes of the tombstones that begin here.
    bytes: u64,
    /// Of the tombstones that begin here or before, the one that ends last.
    last: usize,
}

/// The places of a job, and how far it has come.
#[derive(Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    next: usize,
    /// About the bytes of tombstones in the output at hand; `None` if it has none.
    bytes: Option<u64>,
}

impl Places {
    pub(crate) fn new(kept: &Kept, cut: Cut<'_>) -> Places {
        let Cut::Leveled { grandparents, .. } = cut else { return Places::default() };
        let mut starts = grandparents.iter().map(|table| table.smallest.user_key()).peekable();
        let mut places = Vec::new();
        for (index, tombstone) in kept.tombstones().iter().enumerate() {
            add_inside(&mut places, kept, std::iter::from_fn(|| starts.next_if(|start| *start < &tombstone.start[..])));
            add_start(&mut places, kept, index, tombstone);
        }
        add_inside(&mut places, kept, starts);
        Places { places, ..Places::default() }
    }

    /// The next place before `user_key`; `None` is the end of everything.
    pub(crate) fn next_before(&self, user_key: Option<&[u8]>) -> Option<&[u8]> {
        let place = self.places.get(self.next)?;
        user_key.is_none_or(|user_key| &place.user_key[..] < user_key).then_some(&place.user_key)
    }

    /// Passes the next place if it is `user_key`: what begins there is in the output at hand.
    pub(crate) fn pass(&mut self, user_key: &[u8]) {
        if let Some(place) = self.places.get(self.next).filter(|place| place.user_key == user_key) {
            self.bytes = Some(self.bytes.unwrap_or(0) + place.bytes);
            self.next += 1;
        }
    }

    /// Another output begins with `user_key`, before that is passed.
    pub(crate) fn restart(&mut self, kept: &Kept, user_key: &[u8]) {
        let passed = self.places[..self.next].last();
        self.bytes = passed.filter(|place| kept.tombstones()[place.last].end.as_slice() > user_key).map(|_| 0);
    }

    /// About the bytes of tombstones in the output at hand; `None` if it has none.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.bytes
    }
}

/// Adds those of `starts` that lie inside of a tombstone.
fn add_inside<'s>(places: &mut Vec<Place>, kept: &Kept, starts: impl Iterator<Item = &'s [u8]>) {
    for start in starts {
        let Some(before) = places.last() else { continue };
        let last = before.last;
        if before.user_key != start && kept.tombstones()[last].end.as_slice() > start {
            places.push(Place { user_key: start.to_vec(), bytes: 0, last });
        }
    }
}

fn add_start(places: &mut Vec<Place>, kept: &Kept, index: usize, tombstone: &RangeTombstone) {
    let bytes = (tombstone.start.len() + tombstone.end.len()) as u64;
    let before = places.last().map_or(index, |place| place.last);
    let last = if kept.tombstones()[before].end > tombstone.end { before } else { index };
    match places.last_mut().filter(|place| place.user_key == tombstone.start) {
        Some(same) => (same.bytes, same.last) = (same.bytes + bytes, last),
        None => places.push(Place { user_key: tombstone.start.clone(), bytes, last }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::below::Below;
    use crate::testing::table;
    use lsm_core::SeqNo;
    use lsm_core::range_tombstone::RangeTombstones;
    use std::sync::Arc;

    #[test]
    fn places_are_starts_of_tombstones_and_of_grandparents_inside_of_them() {
        // Covers L1.
        let tombstone =
            |&(start, end): &(&str, &str)| RangeTombstone { start: start.into(), end: end.into(), seq: SeqNo::new(5) };
        let check = |tombstones: &[(&str, &str)], grandparents: &[&str], expected: &str| {
            let all = RangeTombstones::new(tombstones.iter().map(tombstone).collect());
            let kept = Kept::new(&all, &[SeqNo::MAX], &Below::unknown(), (None, None));
            let grandparents: Vec<_> = grandparents.iter().map(|start| Arc::new(table(1, start, start, 1))).collect();
            let cut = Cut::Leveled { table_bytes_target: 1, job_bytes_max: 1, grandparents: &grandparents };
            let mut places = Places::new(&kept, cut);
            let mut found = String::new();
            while let Some(place) = places.next_before(None).map(<[u8]>::to_vec) {
                found.push_str(std::str::from_utf8(&place).unwrap());
                places.pass(&place);
            }
            assert_eq!(found, expected, "{tombstones:?} over {grandparents:?}");
        };
        check(&[], &["a", "b"], "");
        check(&[("b", "e"), ("g", "i")], &[], "bg");
        check(&[("b", "e"), ("g", "i")], &["a", "b", "c", "d", "e", "f", "g", "h", "i"], "bcdgh");
        check(&[("b", "c"), ("c", "d")], &["c"], "bc");
    }

    #[test]
    fn a_tombstone_that_goes_on_is_in_the_next_output() {
        let all = RangeTombstones::new(vec![RangeTombstone { start: "b".into(), end: "e".into(), seq: SeqNo::new(5) }]);
        let kept = Kept::new(&all, &[SeqNo::MAX], &Below::unknown(), (None, None));
        let cut = Cut::Leveled { table_bytes_target: 1, job_bytes_max: 1, grandparents: &[] };
        let mut places = Places::new(&kept, cut);
        assert_eq!((places.next_before(Some(b"b")), places.next_before(Some(b"c"))), (None, Some(&b"b"[..])));
        assert_eq!(places.bytes(), None);
        places.pass(b"b");
        assert_eq!(places.bytes(), Some(2));
        places.restart(&kept, b"d");
        assert_eq!(places.bytes(), Some(0));
        places.restart(&kept, b"e");
        assert_eq!(places.bytes(), None);
    }
}
