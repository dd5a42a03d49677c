//! Range deletions: a list of their own, read as a set that is kept while nothing changes.
#![cfg(not(loom))]

use std::sync::Arc;

use lsm_core::Cursor;
use lsm_core::key::{Kind, SeqNo};
use lsm_memtable::{EntrySize, KeyShape, Memtable};

fn write(memtable: &Arc<Memtable>, key: &[u8], seq: u64, kind: Kind, value: &[u8]) {
    let size = EntrySize { kind, key_bytes: key.len(), value_bytes: value.len() };
    let mut room = memtable.reserve([size].into_iter()).expect("there is room");
    room.insert(key, SeqNo::new(seq), kind, value);
}

#[test]
fn the_set_is_kept_until_there_is_another_range_deletion() {
    // Covers B2.
    let memtable = Arc::new(Memtable::new(1 << 16));
    assert!(!memtable.has_range_tombstones());
    assert!(memtable.tombstones().is_empty());

    write(&memtable, b"b", 5, Kind::RangeDeletion, b"f");
    assert!(memtable.has_range_tombstones());
    let first = memtable.tombstones();
    assert_eq!(first.newest(b"c", SeqNo::MAX), Some(SeqNo::new(5)));
    write(&memtable, b"c", 6, Kind::Value, b"v");
    assert!(Arc::ptr_eq(&first, &memtable.tombstones()));

    write(&memtable, b"d", 7, Kind::RangeDeletion, b"e");
    let second = memtable.tombstones();
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(second.newest(b"d", SeqNo::MAX), Some(SeqNo::new(7)));
    assert_eq!(second.newest(b"d", SeqNo::new(6)), Some(SeqNo::new(5)));
    assert!(Arc::ptr_eq(&second, &memtable.tombstones()));
}

#[test]
fn range_deletions_are_not_among_the_points() {
    let memtable = Arc::new(Memtable::new(1 << 16));
    write(&memtable, b"k", 1, Kind::Value, b"v");
    write(&memtable, b"k", 2, Kind::RangeDeletion, b"z");
    write(&memtable, b"k", 3, Kind::Deletion, b"");
    write(&memtable, b"k", 4, Kind::SingleDeletion, b"");
    assert_eq!(memtable.get(b"k", SeqNo::new(2)).map(|found| found.seq), Some(SeqNo::new(1)));
    let mut cursor = memtable.cursor();
    cursor.seek_to_first().unwrap();
    let mut points = 0;
    while cursor.valid() {
        points += 1;
        cursor.next().unwrap();
    }
    assert_eq!((points, memtable.len(), memtable.deletions()), (3, 4, 2));
}

#[test]
fn bounds_span_points_and_ranges() {
    let memtable = Arc::new(Memtable::new(1 << 16));
    assert_eq!(memtable.bounds(), None);
    write(&memtable, b"m", 1, Kind::Value, b"");
    assert_eq!(memtable.bounds(), Some((b"m".to_vec(), b"m".to_vec())));
    write(&memtable, b"p", 2, Kind::RangeDeletion, b"x");
    write(&memtable, b"q", 3, Kind::RangeDeletion, b"r");
    assert_eq!(memtable.bounds(), Some((b"m".to_vec(), b"x".to_vec())));
    write(&memtable, b"a", 4, Kind::RangeDeletion, b"b");
    assert_eq!(memtable.bounds(), Some((b"a".to_vec(), b"x".to_vec())));
}

#[test]
fn the_shape_of_keys_is_that_of_points_from_the_first_to_the_last() {
    let shape = |keys: &[&str]| KeyShape::of(keys.iter().map(|key| key.as_bytes()));
    let memtable = Arc::new(Memtable::new(1 << 20));
    assert_eq!(memtable.key_shape(), shape(&[]));
    write(&memtable, b"user17", 1, Kind::Value, b"");
    assert_eq!(memtable.key_shape(), shape(&["user17"]));
    write(&memtable, b"user42", 2, Kind::Value, b"");
    assert_eq!(memtable.key_shape(), shape(&["user17", "user42"]));
    // More than are looked at, between two that begin and end like none of them.
    for number in 0..5000 {
        write(&memtable, format!("user{number:06x}").as_bytes(), 3, Kind::Value, b"");
    }
    assert_eq!(memtable.key_shape(), shape(&["user000000", "user00f0f0", "user42"]));
    write(&memtable, b"us", 4, Kind::Value, b"");
    assert_eq!(memtable.key_shape(), shape(&["us", "user00f0f0", "user42"]));
}
