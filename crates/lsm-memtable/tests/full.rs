//! Memtables filled to the brim: whatever was reserved can be inserted, in any order and beside any others.
#![cfg(not(loom))]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use lsm_core::Cursor;
use lsm_core::key::{Kind, SeqNo, user_key};
use lsm_memtable::{EntrySize, Memtable, Reservation};

/// An entry that was reserved.
struct Promise {
    key: Vec<u8>,
    value_bytes: usize,
    kind: Kind,
}

impl Promise {
    fn size(&self) -> EntrySize {
        EntrySize { kind: self.kind, key_bytes: self.key.len(), value_bytes: self.value_bytes }
    }
}

/// How keys come.
#[derive(Clone, Copy, Debug)]
enum Order {
    Ascending,
    Descending,
    Scattered,
    /// Runs that end in a full leaf each, and then one entry into each of them.
    RunsAndThenBetween,
    /// All in descending order, just behind a full leaf.
    DescendingBehindFull,
}

const ORDERS: [Order; 5] =
    [Order::Ascending, Order::Descending, Order::Scattered, Order::RunsAndThenBetween, Order::DescendingBehindFull];

fn key(order: Order, nth: u64, len: u64) -> [u8; 8] {
    match order {
        Order::Ascending => nth,
        Order::Descending => u64::MAX - nth,
        Order::Scattered => nth.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        Order::RunsAndThenBetween if nth < len * 14 / 15 => 2 * nth,
        Order::RunsAndThenBetween => (nth - len * 14 / 15) * 28 + 1,
        Order::DescendingBehindFull if nth < 14 => nth,
        Order::DescendingBehindFull => u64::MAX - nth,
    }
    .to_be_bytes()
}

/// A memtable under a random load of several reservations at once.
struct Load {
    memtable: Arc<Memtable>,
    random: Rng,
    order: Order,
    open: Vec<(Reservation, VecDeque<Promise>)>,
    promised: u64,
    inserted: u64,
    points: BTreeSet<Vec<u8>>,
}

impl Load {
    /// Reserves a batch; false if it does not fit.
    fn open(&mut self) -> bool {
        let len_max = if self.random.u8(..) < 32 { 30 } else { 3 };
        let len = self.random.u64(1..=len_max);
        let batch: VecDeque<Promise> = (0..len)
            .map(|nth| Promise {
                key: key(self.order, self.promised + nth, 600).to_vec(),
                value_bytes: self.random.usize(..24),
                kind: if self.random.u8(..) < 16 { Kind::RangeDeletion } else { Kind::Value },
            })
            .collect();
        let Ok(room) = self.memtable.reserve(batch.iter().map(Promise::size)) else { return false };
        self.promised += len;
        self.open.push((room, batch));
        true
    }

    /// Inserts the next entry of some reservation, or drops it.
    fn go_on(&mut self) {
        let Some(index) = (!self.open.is_empty()).then(|| self.random.usize(..self.open.len())) else { return };
        let (room, batch) = &mut self.open[index];
        let next = batch.pop_front().filter(|_| self.random.u8(..) > 2);
        let Some(Promise { key, value_bytes, kind }) = next else {
            self.open.swap_remove(index);
            return;
        };
        self.inserted += 1;
        room.insert(&key, SeqNo::new(self.inserted), kind, &vec![1; value_bytes]);
        if kind == Kind::Value {
            self.points.insert(key);
        }
    }

    fn check(&self) {
        let mut cursor = self.memtable.cursor();
        let mut seen = Vec::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            seen.push(user_key(cursor.key()).to_vec());
            cursor.next().unwrap();
        }
        assert!(seen.iter().eq(&self.points));
        assert_eq!(self.memtable.len() as u64, self.inserted);
    }
}

#[test]
fn what_was_reserved_can_be_inserted_in_arenas_of_any_size() {
    // Covers R1, E1, E2, E3.
    let least = Memtable::required_bytes(std::iter::empty());
    for capacity in (least..least + 12_000).step_by(8) {
        for order in ORDERS {
            let mut load = Load {
                memtable: Arc::new(Memtable::new(capacity)),
                random: Rng::with_seed(capacity as u64),
                order,
                open: Vec::new(),
                promised: 0,
                inserted: 0,
                points: BTreeSet::new(),
            };
            let open_max = load.random.usize(1..5);
            let mut refused = 0;
            while refused < 8 {
                if load.open.len() < open_max && load.random.bool() {
                    refused += usize::from(!load.open());
                } else {
                    load.go_on();
                }
                assert!(load.memtable.bytes_used() <= load.memtable.capacity(), "E1");
            }
            while !load.open.is_empty() {
                load.go_on();
            }
            load.check();
        }
    }
}

#[test]
fn a_memtable_of_the_required_size_holds_a_batch_in_any_order() {
    // Covers T3.
    let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 8 };
    for order in ORDERS {
        for len in (1..400).chain([1000, 5000, 100_000]) {
            let required = Memtable::required_bytes((0..len).map(|_| size));
            let memtable = Arc::new(Memtable::new(required));
            let mut room = memtable.reserve((0..len).map(|_| size)).expect("the size was computed for this batch");
            for nth in 0..len {
                room.insert(&key(order, nth, len), SeqNo::new(nth + 1), Kind::Value, &[0; 8]);
            }
            let empty = Memtable::required_bytes(std::iter::empty());
            assert!(required <= empty + len as usize * (32 + 50), "{order:?}: {required} for {len}");
            drop(room);
            assert!(memtable.bytes_used() <= required);
        }
    }
}

#[test]
fn the_first_reservation_may_split_leaves_that_others_filled() {
    // Covers E3: small reservations fill leaves, and the first one, which has put aside the amortised need of its own
    // entries only, splits them.
    const LEAVES: u64 = 100;
    let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 0 };
    let memtable = Arc::new(Memtable::new(1 << 20));
    let mut first = memtable.reserve((0..9 * LEAVES).map(|_| size)).expect("there is room");
    let mut seq = 0;
    let mut insert = |room: &mut Reservation, key: u64| {
        seq += 1;
        room.insert(&key.to_be_bytes(), SeqNo::new(seq), Kind::Value, b"");
    };
    // In descending order, leaves are left with eight entries each.
    (0..8 * LEAVES).rev().for_each(|key| insert(&mut first, 10 * key));
    for key in (0..8 * LEAVES).filter(|key| key % 4 != 3) {
        let mut small = memtable.reserve([size].into_iter()).expect("there is room");
        insert(&mut small, 10 * key + 5);
    }
    // Now they have fourteen.
    (0..LEAVES).for_each(|leaf| insert(&mut first, 80 * leaf + 42));
    drop(first);
    assert_eq!(memtable.len() as u64, seq);
}

// Covers E3: what the first reservation takes of the others' parts does not go back with what those have not used.
#[test]
fn what_the_first_reservation_took_of_others_stays_taken() {
    let memtable = Arc::new(Memtable::new(1 << 20));
    let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 0 };
    let reserve = |len| memtable.reserve(std::iter::repeat_n(size, len)).unwrap();
    let mut seq = 0;
    let mut insert = |room: &mut Reservation, number: u64| {
        seq += 1;
        room.insert(&number.to_be_bytes(), SeqNo::new(seq), Kind::Value, b"");
    };
    let (mut first, mut second) = (reserve(1), reserve(30));
    (0..14).for_each(|number| insert(&mut second, 1000 * number));
    // It finds a full leaf, and splits it.
    insert(&mut first, 1);
    drop(first);
    drop(second);
    // Each of them fills a leaf and splits it in the end.
    (2..200).for_each(|number| insert(&mut reserve(1), number));
}
