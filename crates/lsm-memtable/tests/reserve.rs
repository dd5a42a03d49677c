//! Room: exact, all or nothing, and refused after the freeze.
#![cfg(not(loom))]

use std::sync::Arc;

use lsm_core::Cursor;
use lsm_core::key::{Kind, SeqNo};
use lsm_memtable::{ArenaFull, EntrySize, Memtable, Reservation};
use quickcheck::quickcheck;

fn size(key_bytes: usize, value_bytes: usize) -> EntrySize {
    EntrySize { kind: Kind::Value, key_bytes, value_bytes }
}

fn reserve(memtable: &Arc<Memtable>, sizes: &[EntrySize]) -> Result<Reservation, ArenaFull> {
    memtable.reserve(sizes.iter().copied())
}

fn put(memtable: &Arc<Memtable>, key: &[u8], seq: u64, value: &[u8]) {
    let mut room = reserve(memtable, &[size(key.len(), value.len())]).expect("there is room");
    room.insert(key, SeqNo::new(seq), Kind::Value, value);
}

quickcheck! {
    fn a_memtable_of_the_required_size_holds_the_batch(lengths: Vec<(u8, u16)>) -> bool {
        let sizes: Vec<EntrySize> = lengths.iter().map(|&(key, value)| size(key.into(), value.into())).collect();
        let memtable = Arc::new(Memtable::new(Memtable::required_bytes(sizes.iter().copied())));
        let mut room = reserve(&memtable, &sizes).expect("the size was computed for this batch");
        for (seq, entry) in (1..).zip(&sizes) {
            room.insert(&vec![1; entry.key_bytes], SeqNo::new(seq), entry.kind, &vec![2; entry.value_bytes]);
        }
        memtable.len() == sizes.len() && memtable.bytes_used() <= memtable.capacity()
    }
}

#[test]
fn a_full_arena_is_left_as_it_was() {
    // Covers A2.
    let memtable = Arc::new(Memtable::new(4096));
    put(&memtable, b"a", 1, b"first");
    let used = memtable.bytes_used();
    let full = reserve(&memtable, &[size(1, 1), size(1, 4096), size(1, 1)]).err().expect("too much");
    assert!(full.needed > 4096 && (4096..4104).contains(&full.capacity), "{full}");
    assert_eq!((memtable.bytes_used(), memtable.len()), (used, 1));
    // What fits still fits, with what the index may need at worst.
    put(&memtable, b"b", 2, b"second");
    while let Ok(mut room) = reserve(&memtable, &[size(0, 0)]) {
        room.insert(b"", SeqNo::new(3 + memtable.len() as u64), Kind::Value, b"");
    }
    assert!(memtable.capacity() - memtable.bytes_used() < 16 + 336);
    assert_eq!(memtable.get(b"a", SeqNo::MAX).map(|found| found.value), Some(b"first".as_slice()));
}

#[test]
fn lengths_beyond_any_arena_are_refused() {
    let memtable = Arc::new(Memtable::new(4096));
    for impossible in [size(usize::MAX, 0), size(0, usize::MAX), size(u32::MAX as usize + 1, 0)] {
        assert_eq!(reserve(&memtable, &[impossible]).err().map(|full| full.needed), Some(usize::MAX));
    }
    assert_eq!(Memtable::required_bytes([size(usize::MAX, 0), size(1, 1)].into_iter()), usize::MAX);
}

#[test]
fn a_frozen_memtable_refuses_room_but_takes_what_was_reserved_before() {
    // Covers A3, B3.
    let memtable = Arc::new(Memtable::new(1 << 16));
    let mut room = reserve(&memtable, &[size(1, 1)]).expect("there is room");
    let used = memtable.bytes_used();
    memtable.freeze();
    assert!(memtable.is_frozen());
    assert!(reserve(&memtable, &[size(1, 1)]).is_err());
    assert!(reserve(&memtable, &[]).is_err());
    room.insert(b"k", SeqNo::new(1), Kind::Value, b"v");
    assert_eq!(memtable.get(b"k", SeqNo::MAX).map(|found| found.value), Some(b"v".as_slice()));
    assert_eq!((memtable.bytes_used(), memtable.is_frozen()), (used, true));
}

#[test]
#[should_panic(expected = "R1")]
fn an_entry_beyond_the_reserved_room_panics() {
    let memtable = Arc::new(Memtable::new(1 << 16));
    let mut room = reserve(&memtable, &[size(1, 1)]).expect("there is room");
    room.insert(b"k", SeqNo::new(1), Kind::Value, &[0; 1000]);
}

#[test]
#[should_panic(expected = "R1")]
fn many_small_entries_do_not_take_the_place_of_one_that_is_large() {
    // Covers R1: they fit where its bytes would go, but the index that they need was put aside for one.
    let memtable = Arc::new(Memtable::new(1 << 16));
    let mut room = reserve(&memtable, &[size(8, 10_000)]).expect("there is room");
    (0..40_u64).for_each(|key| room.insert(&key.to_be_bytes(), SeqNo::new(key), Kind::Value, b""));
}

#[test]
#[should_panic(expected = "R1")]
fn an_index_never_grows_by_what_others_have_put_aside_for_theirs() {
    // Covers R1. Were it not checked, the index would lie in the way of the last reservation, for the second one, unused,
    // gives back what the first has used of it.
    let memtable = Arc::new(Memtable::new(1 << 17));
    let mut first = reserve(&memtable, &[size(8, 10_000)]).expect("there is room");
    let second = reserve(&memtable, &[size(8, 0); 100]).expect("there is room");
    (0..400_u64).rev().for_each(|key| first.insert(&key.to_be_bytes(), SeqNo::new(key), Kind::Value, b""));
    drop(second);
    let rest = memtable.capacity() - memtable.bytes_used() - 1000;
    put(&memtable, b"rest", 1000, &vec![0xff; rest]);
    (0..400_u64)
        .for_each(|key| assert!(memtable.get(&key.to_be_bytes(), SeqNo::MAX).is_some(), "{key} is overwritten"));
}

#[test]
fn room_that_is_dropped_is_given_back() {
    let memtable = Arc::new(Memtable::new(1 << 16));
    let empty = memtable.bytes_used();
    let mut room = reserve(&memtable, &[size(1, 1), size(1, 100)]).expect("there is room");
    room.insert(b"a", SeqNo::new(1), Kind::Value, b"1");
    drop(room);
    assert_eq!(memtable.bytes_used() - empty, 24);
    put(&memtable, b"b", 2, b"2");
    assert_eq!(memtable.len(), 2);
    assert_eq!(memtable.bounds(), Some((b"a".to_vec(), b"b".to_vec())));
}

#[test]
fn room_behind_which_others_have_reserved_stays_unused() {
    // Covers A1.
    let memtable = Arc::new(Memtable::new(1 << 16));
    let empty = memtable.bytes_used();
    let dropped = reserve(&memtable, &[size(1, 100)]).expect("there is room");
    let mut kept = reserve(&memtable, &[size(1, 1)]).expect("there is room");
    drop(dropped);
    kept.insert(b"b", SeqNo::new(1), Kind::Value, b"1");
    put(&memtable, b"a", 2, b"2");
    drop(kept);
    assert_eq!(memtable.bytes_used() - empty, 120 + 24 + 24);
    assert_eq!(memtable.bounds(), Some((b"a".to_vec(), b"b".to_vec())));
}

#[test]
fn a_batch_that_was_refused_elsewhere_leaves_the_memtable_as_good_as_new() {
    // Covers E3: it is the first reservation again.
    let sizes = [size(8, 8); 1000];
    let memtable = Arc::new(Memtable::new(Memtable::required_bytes(sizes.into_iter())));
    for _ in 0..3 {
        drop(reserve(&memtable, &sizes).expect("the size was computed for this batch"));
    }
    let mut room = reserve(&memtable, &sizes).expect("the size was computed for this batch");
    (1..=1000).for_each(|seq| room.insert(&u64::to_be_bytes(seq), SeqNo::new(seq), Kind::Value, &[0; 8]));
    assert_eq!(memtable.len(), 1000);
}

#[test]
fn huge_and_empty_keys_and_values_read_back() {
    let huge = vec![0xff; 8 << 20];
    let memtable = Arc::new(Memtable::new(64 << 20));
    put(&memtable, b"", 1, b"");
    put(&memtable, b"", 2, &huge);
    put(&memtable, &huge, 3, b"");
    put(&memtable, &huge[1..], 4, &huge);
    let value = |key: &[u8], seq| memtable.get(key, SeqNo::new(seq)).map(|found| found.value.len());
    assert_eq!([value(b"", 0), value(b"", 1), value(b"", 9)], [None, Some(0), Some(huge.len())]);
    assert_eq!([value(&huge, 9), value(&huge[1..], 9), value(&huge[2..], 9)], [Some(0), Some(huge.len()), None]);
}

#[test]
fn memory_of_any_alignment_and_content_serves() {
    struct Shifted(Vec<u8>, usize);
    impl AsMut<[u8]> for Shifted {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0[self.1..]
        }
    }
    for shift in 0..16 {
        let memtable = Arc::new(Memtable::with_memory(Box::new(Shifted(vec![0xff; 5000], shift))));
        put(&memtable, b"k", 1, b"v");
        assert_eq!(memtable.get(b"k", SeqNo::MAX).map(|found| found.value), Some(b"v".as_slice()));
        assert!(memtable.capacity() <= 5000 - shift);
    }
}

#[test]
#[should_panic(expected = "holds an empty memtable")]
fn memory_too_small_for_anything_is_refused() {
    let _ = Memtable::with_memory(Box::new(vec![0; 16]));
}

#[test]
fn a_cursor_keeps_the_memory_alive() {
    let memtable = Arc::new(Memtable::new(1 << 16));
    put(&memtable, b"k", 1, b"v");
    let mut cursor = memtable.cursor();
    drop(memtable);
    cursor.seek_to_first().unwrap();
    assert_eq!(cursor.value(), b"v");
    cursor.next().unwrap();
    assert!(!cursor.valid());
}

#[test]
fn the_same_history_takes_the_same_bytes() {
    // Covers R2.
    let filled = || {
        let memtable = Arc::new(Memtable::new(1 << 20));
        (1..1000_u64).for_each(|seq| put(&memtable, &(seq * 7919 % 1000).to_be_bytes(), seq, b"value"));
        memtable.bytes_used()
    };
    assert_eq!(filled(), filled());
}
