//! All orders in which threads can meet in the memtable, tried by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p lsm-memtable --test loom --release`.
//!
//! Each model runs twice: as the code is, when nothing may fail, and with a bug planted that it must find.
//! The writer whose order matters is the model's own thread and its witness is spawned: the other way
//! round loom tries too few orders and misses the bugs.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;
use lsm_core::Cursor;
use lsm_core::key::{Kind, SeqNo, user_key};
use lsm_memtable::mutant::{Mutant, plant, planted};
use lsm_memtable::{EntrySize, Memtable, Reservation};

/// Keys of one byte differ in the prefix that links carry, those of five bytes only behind it.
#[derive(Clone, Copy)]
enum Keys {
    ToldByLink,
    ToldByNode,
}

impl Keys {
    fn key(self, byte: u8) -> Vec<u8> {
        match self {
            Keys::ToldByLink => vec![byte],
            Keys::ToldByNode => vec![b'k', b'k', b'k', b'k', byte],
        }
    }
}

/// A memtable with entries of one shape, and nodes of a chosen height.
#[derive(Clone)]
struct World {
    memtable: Arc<Memtable>,
    keys: Keys,
    height: usize,
}

impl World {
    fn new(keys: Keys, height: usize) -> World {
        World { memtable: Arc::new(Memtable::new(1024)), keys, height }
    }

    fn size(&self, kind: Kind) -> EntrySize {
        EntrySize { kind, key_bytes: self.keys.key(0).len(), value_bytes: 1 }
    }

    /// Room for one entry. Reserves until a node of the wanted height is drawn, which its bytes tell.
    fn reserve(&self, kind: Kind) -> Reservation {
        let size = self.size(kind);
        let wanted = 8 * self.height + (8 + size.key_bytes + 8 + 1).next_multiple_of(8);
        loop {
            let used = self.memtable.bytes_used();
            let room = self.memtable.reserve([size].into_iter()).expect("there is room");
            if self.memtable.bytes_used() - used == wanted {
                return room;
            }
        }
    }

    fn put(&self, room: &mut Reservation, byte: u8, seq: u64) {
        room.insert(&self.keys.key(byte), SeqNo::new(seq), Kind::Value, &[byte]);
    }

    /// The bytes that tell the keys apart, in the order of a scan; each entry must be whole.
    fn scan(&self) -> Vec<u8> {
        let mut cursor = self.memtable.cursor();
        let mut bytes = Vec::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            let byte = cursor.value()[0];
            assert_eq!(user_key(cursor.key()), self.keys.key(byte), "an entry is whole");
            bytes.push(byte);
            cursor.next().unwrap();
        }
        assert!(bytes.is_sorted(), "S1: {bytes:?}");
        bytes
    }

    fn get(&self, byte: u8) -> Option<u8> {
        self.memtable.get(&self.keys.key(byte), SeqNo::MAX).map(|found| found.value[0])
    }
}

/// The writer inserts before an entry that is there; a reader meets the new one whole or not at all,
/// and the old one always. Covers S2.
fn a_reader_sees_whole_nodes(world: World) {
    world.put(&mut world.reserve(Kind::Value), b'm', 1);
    let mut room = world.reserve(Kind::Value);
    let reader = thread::spawn({
        let world = world.clone();
        move || {
            let bytes = world.scan();
            assert!(bytes == b"m" || bytes == b"cm", "{bytes:?}");
            assert_eq!(world.get(b'm'), Some(b'm'));
        }
    });
    world.put(&mut room, b'c', 2);
    reader.join().unwrap();
    assert_eq!(world.scan(), b"cm");
}

/// Two writers insert into the same gap; both entries stay, in order. Covers S1.
fn neighbours_inserted_at_once_both_stay(world: World) {
    let mut room = world.reserve(Kind::Value);
    let mut other_room = world.reserve(Kind::Value);
    let other = thread::spawn({
        let world = world.clone();
        move || world.put(&mut other_room, b'm', 2)
    });
    world.put(&mut room, b'c', 1);
    other.join().unwrap();
    assert_eq!(world.scan(), b"cm");
    assert_eq!((world.get(b'c'), world.get(b'm')), (Some(b'c'), Some(b'm')));
}

/// A writer appends at the finger that another leaves. Covers S4.
fn a_finger_leads_to_a_whole_node(world: World) {
    let mut room = world.reserve(Kind::Value);
    let mut other_room = world.reserve(Kind::Value);
    let other = thread::spawn({
        let world = world.clone();
        move || world.put(&mut other_room, b'm', 2)
    });
    world.put(&mut room, b'c', 1);
    drop(room);
    other.join().unwrap();
    assert_eq!(world.scan(), b"cm");
}

/// A reader that sees a range deletion counted finds it in the set. Covers B2.
fn a_counted_range_deletion_is_in_the_set(world: World) {
    let mut room = world.reserve(Kind::RangeDeletion);
    let reader = thread::spawn({
        let world = world.clone();
        move || {
            let counted = world.memtable.has_range_tombstones();
            assert!(!counted || world.memtable.tombstones().len() == 1, "B2");
        }
    });
    room.insert(&world.keys.key(b'a'), SeqNo::new(1), Kind::RangeDeletion, b"z");
    reader.join().unwrap();
    assert_eq!(world.memtable.tombstones().len(), 1);
}

/// Two reservations made at once do not overlap. Covers A1.
fn room_is_given_once(world: World) {
    let take = |world: &World, byte: u8, seq: u64| {
        let mut room = world.memtable.reserve([world.size(Kind::Value)].into_iter()).expect("there is room");
        world.put(&mut room, byte, seq);
    };
    let other = thread::spawn({
        let world = world.clone();
        move || take(&world, b'm', 2)
    });
    take(&world, b'c', 1);
    other.join().unwrap();
    assert_eq!(world.scan(), b"cm");
}

/// Two writers add to one word of the filter, which both keys share here; a reader that met an entry is not denied
/// it. Covers F1.
fn keys_share_a_word_of_the_filter(world: World) {
    let mut room = world.reserve(Kind::Value);
    let mut other_room = world.reserve(Kind::Value);
    let other = thread::spawn({
        let world = world.clone();
        move || {
            world.put(&mut other_room, b'm', 2);
            assert_eq!(world.get(b'm'), Some(b'm'), "F1");
        }
    });
    world.put(&mut room, b'c', 1);
    other.join().unwrap();
    assert_eq!((world.get(b'c'), world.get(b'm')), (Some(b'c'), Some(b'm')), "F1");
}

/// A commit of two entries is made visible as the store does it, by one number behind them: who sees the number
/// finds both. The store's own publisher is a model under shuttle, which does not see orderings.
fn a_visible_commit_is_whole(world: World) {
    let visible = Arc::new(loom::sync::atomic::AtomicU64::new(0));
    let mut rooms = [world.reserve(Kind::Value), world.reserve(Kind::Value)];
    let reader = thread::spawn({
        let (world, visible) = (world.clone(), Arc::clone(&visible));
        move || {
            if visible.load(loom::sync::atomic::Ordering::Acquire) == 2 {
                assert_eq!((world.get(b'c'), world.get(b'm')), (Some(b'c'), Some(b'm')), "half a commit");
            }
        }
    });
    world.put(&mut rooms[0], b'c', 1);
    world.put(&mut rooms[1], b'm', 2);
    match planted() {
        Some(Mutant::RelaxedVisible) => visible.store(2, loom::sync::atomic::Ordering::Relaxed),
        _ => visible.store(2, loom::sync::atomic::Ordering::SeqCst),
    }
    reader.join().unwrap();
}

type Model = fn(World);

/// Tries `model` on nodes of each height and keys of each sort; returns how many orders loom tried.
fn explore(model: Model) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    for height in [1, 2] {
        for keys in [Keys::ToldByLink, Keys::ToldByNode] {
            let orders = Arc::clone(&orders);
            loom::model(move || {
                orders.fetch_add(1, Ordering::Relaxed);
                model(World::new(keys, height));
            });
        }
    }
    orders.load(Ordering::Relaxed)
}

fn check(model: Model, mutant: Mutant) {
    plant(None);
    let orders = explore(model);
    println!("{orders} orders tried");
    assert!(orders > 8, "{orders} orders are not all there are");
    plant(Some(mutant));
    let found = catch_unwind(AssertUnwindSafe(|| explore(model))).is_err();
    plant(None);
    assert!(found, "{mutant:?} was not found");
}

#[test]
fn insert_against_read() {
    check(a_reader_sees_whole_nodes, Mutant::RelaxedPublish);
}

#[test]
fn insert_against_insert() {
    check(neighbours_inserted_at_once_both_stay, Mutant::StoreInsteadOfExchange);
}

#[test]
fn insert_at_a_finger() {
    check(a_finger_leads_to_a_whole_node, Mutant::RelaxedFinger);
}

#[test]
fn counting_range_deletions() {
    check(a_counted_range_deletion_is_in_the_set, Mutant::RelaxedCount);
}

#[test]
fn reserving_against_reserving() {
    check(room_is_given_once, Mutant::StoreInsteadOfExchange);
}

#[test]
fn adding_to_the_filter() {
    check(keys_share_a_word_of_the_filter, Mutant::BitsStoredWhole);
}

#[test]
fn making_a_commit_visible() {
    check(a_visible_commit_is_whole, Mutant::RelaxedVisible);
}
