//! Models of the slots under shuttle's schedules: as they are, and with bugs that must be found.

use super::tests::{block, bytes_in};
use super::*;
use lsm_sync::{explore, thread};

type Put = fn(&Slots, &Slot, Option<Arc<CachedBlock>>);

fn cached(value_bytes: usize) -> Option<Arc<CachedBlock>> {
    Some(Arc::new(CachedBlock { block: block(value_bytes), guide: Guide::NotYet }))
}

/// Two threads put blocks into one slot and take out what is there.
fn a_slot_changes_hands(put: Put) {
    let cache = BlockCache::new(1 << 20);
    let slots = Slots::new(&cache, 1);
    let threads = [100, 200].map(|value_bytes| {
        let slots = Arc::clone(&slots);
        thread::spawn(move || {
            put(&slots, &slots.slots[0], cached(value_bytes));
            put(&slots, &slots.slots[0], None);
            put(&slots, &slots.slots[0], cached(value_bytes + 1));
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(cache.used_bytes(), bytes_in(&[Some(slots)]), "C1");
}

/// A thread puts a block into a slot while the hand takes out the one that was there.
fn the_hand_comes_by(put: Put) {
    let cache = BlockCache::new(1 << 20);
    let slots = Slots::new(&cache, 1);
    put(&slots, &slots.slots[0], cached(100));
    let threads = [None, cached(200)].map(|block| {
        let slots = Arc::clone(&slots);
        thread::spawn(move || put(&slots, &slots.slots[0], block))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(cache.used_bytes(), bytes_in(&[Some(slots)]), "C1");
}

/// A block that was read from the file is kept by one thread, noted by another and forgotten by the hand.
fn a_note_meets_a_block(note: fn(&Slot)) {
    let cache = BlockCache::new(1 << 20);
    let slots = Slots::new(&cache, 1);
    let keep: fn(&Slots) = |slots| slots.put(&slots.slots[0], cached(100));
    let forget: fn(&Slots) = |slots| slots.put(&slots.slots[0], None);
    let threads = [keep, forget].map(|act| {
        let slots = Arc::clone(&slots);
        thread::spawn(move || act(&slots))
    });
    note(&slots.slots[0]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(cache.used_bytes(), bytes_in(&[Some(slots)]), "C1");
}

/// A table is opened with what its builder has left, while readers put blocks into the cache that no longer fit then.
fn fresh_blocks_settle_in() {
    let block_bytes = cached(1000).map_or(0, |cached| cached.bytes());
    let cache = BlockCache::new(2 * block_bytes);
    let (first, second) = (Slots::new(&cache, 2), Slots::new(&cache, 1));
    let (fresh, slots) = (cache.fresh(), Arc::clone(&first));
    let payload = block(1000).data().to_vec();
    let builder = thread::spawn(move || {
        fresh.leave(&payload);
        fresh.leave(&payload);
        fresh.settle_in(&slots);
        fresh.leave(&payload);
    });
    second.insert(0, block(1000), Guide::NotYet);
    builder.join().unwrap();
    assert_eq!(cache.used_bytes(), bytes_in(&[Some(first), Some(second)]), "C1, F1");
    assert!(cache.used_bytes() <= cache.capacity() + block_bytes, "C2");
}

/// Threads insert more than fits and read, while one of the tables is closed.
fn tables_share_a_budget() {
    let block_bytes = cached(1000).map_or(0, |cached| cached.bytes());
    let cache = BlockCache::new(2 * block_bytes);
    let (first, second) = (Slots::new(&cache, 2), Slots::new(&cache, 2));
    let threads = [Arc::clone(&first), second].map(|slots| {
        thread::spawn(move || {
            for number in [0, 1, 0, 1] {
                if slots.get(number).is_none() {
                    slots.admit(number, &block(1000));
                }
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(cache.used_bytes(), bytes_in(&[Some(first)]), "C1");
    assert!(cache.used_bytes() <= cache.capacity() + 2 * block_bytes, "C2");
}

#[test]
fn what_is_used_is_what_is_there() {
    // Covers C1, C2 and C5.
    explore::holds(|| a_slot_changes_hands(Slots::put));
    explore::holds(|| the_hand_comes_by(Slots::put));
    explore::holds(|| a_note_meets_a_block(|slot| _ = slot.pass(EMPTY, SEEN)));
    explore::holds(tables_share_a_budget);
    explore::holds(fresh_blocks_settle_in);
}

#[test]
fn a_block_that_the_hand_passes_by_is_found() {
    fn put(slots: &Slots, slot: &Slot, block: Option<Arc<CachedBlock>>) {
        // Too early: the other thread may say that the slot is empty before the swap.
        slot.state.store(if block.is_some() { KEPT } else { EMPTY }, Ordering::Relaxed);
        if let Some(block) = &block {
            slots.cache.used.fetch_add(block.bytes(), Ordering::Relaxed);
        }
        thread::yield_now();
        if let Some(before) = slot.block.swap(block) {
            slots.cache.used.fetch_sub(before.bytes(), Ordering::Relaxed);
        }
    }
    explore::finds("C5", || the_hand_comes_by(put));
}

#[test]
fn a_note_over_a_block_is_found() {
    fn note(slot: &Slot) {
        if slot.state.load(Ordering::Relaxed) == EMPTY {
            thread::yield_now();
            slot.state.store(SEEN, Ordering::Relaxed);
        }
    }
    explore::finds("C5", || a_note_meets_a_block(note));
}

#[test]
fn a_block_that_two_threads_take_out_is_found() {
    fn put(slots: &Slots, slot: &Slot, block: Option<Arc<CachedBlock>>) {
        let used = &slots.cache.used;
        if let Some(block) = &block {
            used.fetch_add(block.bytes(), Ordering::Relaxed);
        }
        let before = slot.block.load_full();
        thread::yield_now();
        slot.block.store(block);
        if let Some(before) = before {
            used.fetch_sub(before.bytes(), Ordering::Relaxed);
        }
        slot.state.store(KEPT, Ordering::Relaxed);
    }
    explore::finds("C1", || a_slot_changes_hands(put));
}
