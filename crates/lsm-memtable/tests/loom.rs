//! All orders in which threads can meet in the memtable, tried by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p lsm-memtable --test loom --release`.
//!
//! Each model runs twice: as the code is, when nothing may fail, and with a bug planted that it must find.
//! The writer whose order matters is the model's own thread and its witness is spawned: the other way
//! round loom tries too few orders and misses the bugs. A leaf has three slots here, so a fourth entry splits it.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;
use lsm_core::Cursor;
use lsm_core::key::{Kind, SeqNo, user_key};
use lsm_memtable::mutant::{Mutant, grow, plant, planted};
use lsm_memtable::{EntrySize, Memtable, Reservation};

/// Keys of one byte differ in the prefix that links carry, those of five bytes only behind it.
#[derive(Clone, Copy)]
enum Keys {
    ToldByLink,
    ToldByEntry,
}

impl Keys {
    fn key(self, byte: u8) -> Vec<u8> {
        match self {
            Keys::ToldByLink => vec![byte],
            Keys::ToldByEntry => vec![b'k', b'k', b'k', b'k', byte],
        }
    }
}

/// A memtable with entries of one shape.
#[derive(Clone)]
struct World {
    memtable: Arc<Memtable>,
    keys: Keys,
}

impl World {
    fn new(keys: Keys) -> World {
        World { memtable: Arc::new(Memtable::new(1024)), keys }
    }

    fn size(&self, kind: Kind) -> EntrySize {
        EntrySize { kind, key_bytes: self.keys.key(0).len(), value_bytes: 1 }
    }

    /// Room for one entry.
    fn reserve(&self, kind: Kind) -> Reservation {
        self.memtable.reserve([self.size(kind)].into_iter()).expect("there is room")
    }

    fn put(&self, room: &mut Reservation, byte: u8, seq: u64) {
        room.insert(&self.keys.key(byte), SeqNo::new(seq), Kind::Value, &[byte]);
    }

    /// As [`World::put`], into room of its own, which is given back.
    fn add(&self, byte: u8, seq: u64) {
        self.put(&mut self.reserve(Kind::Value), byte, seq);
    }

    /// Two writers at once, each with room that it has reserved before.
    fn put_at_once(&self, own: (u8, u64), others: (u8, u64)) {
        let mut room = self.reserve(Kind::Value);
        let mut other_room = self.reserve(Kind::Value);
        let other = thread::spawn({
            let world = self.clone();
            move || world.put(&mut other_room, others.0, others.1)
        });
        self.put(&mut room, own.0, own.1);
        drop(room);
        other.join().unwrap();
    }

    fn fill(&self, bytes: &[u8]) {
        for (seq, byte) in (1..).zip(bytes) {
            self.add(*byte, seq);
        }
    }

    /// The bytes that tell the keys apart, in the order of a scan; each entry must be whole.
    fn scan(&self) -> Vec<u8> {
        let mut cursor = self.memtable.cursor();
        let mut bytes = Vec::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            bytes.push(self.byte_at(&cursor));
            cursor.next().unwrap();
        }
        assert!(bytes.is_sorted_by(|a, b| a < b), "S1: {bytes:?}");
        bytes
    }

    /// As [`World::scan`], from the last one back.
    fn scan_back(&self) -> Vec<u8> {
        let mut cursor = self.memtable.cursor();
        let mut bytes = Vec::new();
        cursor.seek_to_last().unwrap();
        while cursor.valid() {
            bytes.push(self.byte_at(&cursor));
            cursor.prev().unwrap();
        }
        assert!(bytes.is_sorted_by(|a, b| a > b), "S1: {bytes:?}");
        bytes
    }

    fn byte_at(&self, cursor: &impl Cursor) -> u8 {
        let byte = cursor.value()[0];
        assert_eq!(user_key(cursor.key()), self.keys.key(byte), "an entry is whole");
        byte
    }

    fn get(&self, byte: u8) -> Option<u8> {
        self.memtable.get(&self.keys.key(byte), SeqNo::MAX).map(|found| found.value[0])
    }
}

/// The writer inserts before an entry that is there; a reader meets the new one whole or not at all,
/// and the old one always. Covers I2.
fn a_reader_sees_whole_entries(world: World) {
    world.add(b'm', 1);
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

/// The writer splits a leaf; a reader misses nothing that was there, meets nothing twice, and meets the new one whole
/// or not at all. Covers S3, I2.
fn a_reader_sees_both_halves(world: World) {
    world.fill(b"cmx");
    let mut room = world.reserve(Kind::Value);
    let reader = thread::spawn({
        let world = world.clone();
        move || {
            assert_eq!(world.get(b'm'), Some(b'm'), "B1");
            let bytes = world.scan();
            assert!(bytes == b"cmx" || bytes == b"chmx", "{bytes:?}");
        }
    });
    world.put(&mut room, b'h', 4);
    reader.join().unwrap();
    assert_eq!(world.scan(), b"chmx");
}

/// As above, and the reader walks back.
fn a_reader_walks_back_over_a_split(world: World) {
    world.fill(b"cmx");
    let mut room = world.reserve(Kind::Value);
    let reader = thread::spawn({
        let world = world.clone();
        move || {
            let bytes = world.scan_back();
            assert!(bytes == b"xmc" || bytes == b"xmhc", "{bytes:?}");
        }
    });
    world.put(&mut room, b'h', 4);
    reader.join().unwrap();
    assert_eq!(world.scan_back(), b"xmhc");
}

/// A reader has come to the first entry of a leaf when that is split, and walks on. Covers M1.
fn a_cursor_walks_on_over_a_split(world: World) {
    world.fill(b"cmpx");
    let mut room = world.reserve(Kind::Value);
    let mut cursor = world.memtable.cursor();
    cursor.seek_to_first().unwrap();
    let reader = thread::spawn({
        let world = world.clone();
        move || {
            let mut bytes = Vec::new();
            while cursor.valid() {
                bytes.push(world.byte_at(&cursor));
                cursor.next().unwrap();
            }
            assert!(bytes == b"cmpx" || bytes == b"cmpqx", "{bytes:?}");
        }
    });
    world.put(&mut room, b'h', 5);
    world.put(&mut world.reserve(Kind::Value), b'q', 6);
    reader.join().unwrap();
    assert_eq!(world.scan(), b"chmpqx");
}

/// Two writers insert into the same leaf; both entries stay, in order. Covers T1.
fn neighbours_inserted_at_once_both_stay(world: World) {
    world.put_at_once((b'c', 1), (b'm', 2));
    assert_eq!(world.scan(), b"cm");
    assert_eq!((world.get(b'c'), world.get(b'm')), (Some(b'c'), Some(b'm')));
}

/// Two writers meet at a full leaf, which one of them splits; the other looks again. Covers T2.
fn a_writer_waits_for_a_split(world: World) {
    world.fill(b"cmx");
    world.put_at_once((b'b', 4), (b'd', 5));
    assert_eq!(world.scan(), b"bcdmx");
    assert_eq!((world.get(b'b'), world.get(b'd')), (Some(b'b'), Some(b'd')));
}

/// Two writers append behind a full leaf; the second finds that it is no longer the last. Covers T2.
fn two_writers_append(world: World) {
    world.fill(b"abc");
    world.put_at_once((b'm', 4), (b'x', 5));
    assert_eq!(world.scan(), b"abcmx");
    assert_eq!((world.get(b'm'), world.get(b'x')), (Some(b'm'), Some(b'x')));
}

/// A writer inserts into the upper half of another's split, and then walks over all of it. Covers S4.
fn an_entry_of_an_upper_half_is_met_at_once(world: World) {
    world.fill(b"cmp");
    let mut room = world.reserve(Kind::Value);
    let mut other_room = world.reserve(Kind::Value);
    let other = thread::spawn({
        let world = world.clone();
        move || {
            world.put(&mut other_room, b'n', 5);
            let bytes = world.scan();
            assert!(bytes == b"cmnp" || bytes == b"bcmnp", "B1: {bytes:?}");
        }
    });
    world.put(&mut room, b'b', 4);
    other.join().unwrap();
    assert_eq!(world.scan(), b"bcmnp");
}

/// Two writers split different leaves, and link their nodes into the same gap of an upper level; what one finds by
/// the other's link is whole. Covers S1, I2.
fn two_nodes_are_linked(world: World) {
    grow(1);
    world.fill(b"cmpqxy");
    grow(2);
    world.put_at_once((b'd', 7), (b'r', 8));
    assert_eq!(world.scan(), b"cdmpqrxy");
    let mut cursor = world.memtable.cursor();
    cursor.seek_to_last().unwrap();
    assert_eq!(world.byte_at(&cursor), b'y');
}

/// A writer inserts at the node where another has left its hint. Covers I2.
fn a_hint_leads_to_a_whole_node(world: World) {
    world.fill(b"abc");
    world.put_at_once((b'm', 4), (b'x', 5));
    assert_eq!(world.scan(), b"abcmx");
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

/// Reservations made and given back at once do not overlap, and nothing of them is lost. Covers A1, E1, E2.
fn room_is_given_once(world: World) {
    let empty = world.memtable.bytes_used();
    let other = thread::spawn({
        let world = world.clone();
        move || world.add(b'm', 2)
    });
    world.add(b'c', 1);
    other.join().unwrap();
    assert_eq!(world.scan(), b"cm");
    let entry = (8 + world.size(Kind::Value).key_bytes + 8 + 1).next_multiple_of(8);
    let kept = world.memtable.bytes_used() - empty - 2 * entry;
    // The second reservation keeps back the amortised need of its entry if the first one still lives.
    let amortised = Memtable::required_bytes([world.size(Kind::Value)].into_iter()) - empty - 7 - entry;
    assert!(kept == 0 || kept == amortised, "E3: {kept}");
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

/// A thread that is stopped more often at arbitrary places makes orders by the hundred thousand, and nothing new.
const PREEMPTIONS_MAX: usize = 3;

/// Tries `model` on nodes of each height and keys of each sort; returns how many orders loom tried.
fn explore(model: Model) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    for height in [1, 2] {
        for keys in [Keys::ToldByLink, Keys::ToldByEntry] {
            let orders = Arc::clone(&orders);
            grow(height);
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(PREEMPTIONS_MAX);
            builder.check(move || {
                orders.fetch_add(1, Ordering::Relaxed);
                model(World::new(keys));
            });
        }
    }
    orders.load(Ordering::Relaxed)
}

fn check(model: Model, mutants: &[Mutant]) {
    plant(None);
    let orders = explore(model);
    println!("{orders} orders tried");
    assert!(orders > 8, "{orders} orders are not all there are");
    for mutant in mutants {
        plant(Some(*mutant));
        let found = catch_unwind(AssertUnwindSafe(|| explore(model))).is_err();
        plant(None);
        assert!(found, "{mutant:?} was not found");
    }
}

#[test]
fn insert_against_read() {
    check(a_reader_sees_whole_entries, &[Mutant::RelaxedPublish]);
}

#[test]
fn split_against_read() {
    check(a_reader_sees_both_halves, &[Mutant::RelaxedPublish, Mutant::LinkBeforeLeaf]);
}

#[test]
fn split_against_read_back() {
    check(a_reader_walks_back_over_a_split, &[Mutant::RelaxedPublish, Mutant::LinkBeforeLeaf]);
}

#[test]
fn split_under_a_cursor() {
    check(a_cursor_walks_on_over_a_split, &[Mutant::RelaxedPublish]);
}

#[test]
fn insert_against_insert() {
    check(neighbours_inserted_at_once_both_stay, &[Mutant::StoreInsteadOfExchange]);
}

#[test]
fn split_against_insert() {
    check(a_writer_waits_for_a_split, &[Mutant::DeadNotSeen, Mutant::StoreInsteadOfExchange]);
}

#[test]
fn append_against_append() {
    check(two_writers_append, &[Mutant::EndNotSeen]);
}

#[test]
fn insert_into_an_upper_half() {
    check(an_entry_of_an_upper_half_is_met_at_once, &[Mutant::BornUnlocked]);
}

#[test]
fn split_against_split() {
    check(two_nodes_are_linked, &[Mutant::RelaxedUpperLink]);
}

#[test]
fn insert_at_a_hint() {
    check(a_hint_leads_to_a_whole_node, &[Mutant::RelaxedHint]);
}

#[test]
fn counting_range_deletions() {
    check(a_counted_range_deletion_is_in_the_set, &[Mutant::RelaxedCount]);
}

#[test]
fn reserving_against_reserving() {
    check(room_is_given_once, &[Mutant::StoreInsteadOfExchange]);
}

#[test]
fn adding_to_the_filter() {
    check(keys_share_a_word_of_the_filter, &[Mutant::BitsStoredWhole]);
}

#[test]
fn making_a_commit_visible() {
    check(a_visible_commit_is_whole, &[Mutant::RelaxedVisible]);
}
