//! Models of publishing under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use crate::sync::{explore, thread};
use std::sync::Arc;

type Publish = fn(&Publisher, SeqNo, u64) -> bool;
type WaitFor = fn(&Publisher, SeqNo) -> bool;

/// Entries of each commit.
const COUNT: u64 = 2;

/// Three commits that finish in any order, and one who waits for the last but one. A wake-up that gets
/// lost is a deadlock, which shuttle reports.
fn commits_meet_a_waiter(publish: Publish, wait_for: WaitFor) {
    let publisher = Arc::new(Publisher::new(SeqNo::ZERO));
    let inserted = Arc::new([const { AtomicU64::new(0) }; 3]);
    let threads = [2_u64, 0, 1].map(|commit| {
        let (publisher, inserted) = (Arc::clone(&publisher), Arc::clone(&inserted));
        thread::spawn(move || {
            inserted[commit as usize].store(1, Ordering::Relaxed);
            assert!(publish(&publisher, SeqNo::new(commit * COUNT + 1), COUNT));
            assert!(publisher.visible().get() >= (commit + 1) * COUNT, "one sees one's own commit");
        })
    });
    assert!(wait_for(&publisher, SeqNo::new(2 * COUNT)));
    let visible = publisher.visible().get();
    assert!(visible >= 2 * COUNT && visible % COUNT == 0, "P1: {visible} is visible");
    for commit in 0..visible / COUNT {
        assert_eq!(inserted[commit as usize].load(Ordering::Relaxed), 1, "P2: {visible} is visible");
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(publisher.visible().get(), 3 * COUNT, "P1");
    assert_eq!(publisher.sleepers.load(Ordering::Relaxed), 0);
}

#[test]
fn commits_become_visible_in_order_and_wake_all_who_wait() {
    // Covers P1, P2, P3.
    explore::holds(|| commits_meet_a_waiter(Publisher::publish, Publisher::wait_for));
}

#[test]
fn a_publisher_that_looks_for_sleepers_before_it_stores_is_found() {
    fn publish(publisher: &Publisher, first: SeqNo, count: u64) -> bool {
        let before = first.get() - 1;
        publisher.wait_for(SeqNo::new(before));
        let sleepers = publisher.sleepers.load(Ordering::SeqCst);
        publisher.visible.store(before + count, Ordering::SeqCst);
        if sleepers > 0 {
            drop(publisher.lock.lock());
            publisher.moved.notify_all();
        }
        true
    }
    explore::finds("deadlock", || commits_meet_a_waiter(publish, Publisher::wait_for));
}

#[test]
fn a_publisher_that_notifies_without_the_lock_is_found() {
    // Between the sleeper's look and its sleep there would be a moment in which nothing wakes it.
    fn publish(publisher: &Publisher, first: SeqNo, count: u64) -> bool {
        let before = first.get() - 1;
        publisher.wait_for(SeqNo::new(before));
        publisher.visible.store(before + count, Ordering::SeqCst);
        if publisher.sleepers.load(Ordering::SeqCst) > 0 {
            publisher.moved.notify_all();
        }
        true
    }
    explore::finds("deadlock", || commits_meet_a_waiter(publish, Publisher::wait_for));
}

#[test]
fn a_publisher_that_does_not_wait_for_its_turn_is_found() {
    fn publish(publisher: &Publisher, first: SeqNo, count: u64) -> bool {
        publisher.visible.fetch_max(first.get() - 1 + count, Ordering::SeqCst);
        if publisher.sleepers.load(Ordering::SeqCst) > 0 {
            drop(publisher.lock.lock());
            publisher.moved.notify_all();
        }
        true
    }
    explore::finds("P2", || commits_meet_a_waiter(publish, Publisher::wait_for));
}

#[test]
fn a_waiter_that_looks_before_it_registers_is_found() {
    fn wait_for(publisher: &Publisher, seq: SeqNo) -> bool {
        let mut guard = publisher.lock.lock();
        while publisher.visible.load(Ordering::SeqCst) < seq.get() {
            publisher.sleepers.fetch_add(1, Ordering::SeqCst);
            publisher.moved.wait(&mut guard);
            publisher.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
        true
    }
    explore::finds("deadlock", || commits_meet_a_waiter(Publisher::publish, wait_for));
}

/// Of three commits the second one panics; one waits for the third.
fn a_commit_is_given_up(give_up: fn(&Publisher)) {
    let publisher = Arc::new(Publisher::new(SeqNo::ZERO));
    let threads = [2_u64, 0, 1].map(|commit| {
        let publisher = Arc::clone(&publisher);
        thread::spawn(move || match commit {
            1 => give_up(&publisher),
            _ => {
                let published = publisher.turn(SeqNo::new(commit * COUNT + 1), COUNT).publish();
                assert!(commit == 0 || !published, "P4: {commit} is visible");
            }
        })
    });
    assert!(!publisher.wait_for(SeqNo::new(3 * COUNT)), "P4");
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(publisher.visible().get() <= COUNT, "P4");
}

#[test]
fn who_waits_for_a_commit_that_is_given_up_hears_of_it() {
    // Covers P4.
    explore::holds(|| a_commit_is_given_up(|publisher| drop(publisher.turn(SeqNo::new(COUNT + 1), COUNT))));
}

#[test]
fn giving_up_without_a_notification_is_found() {
    explore::finds("deadlock", || a_commit_is_given_up(|publisher| publisher.broken.store(true, Ordering::SeqCst)));
}

#[test]
fn giving_up_by_publishing_is_found() {
    fn publish(publisher: &Publisher) {
        publisher.publish(SeqNo::new(COUNT + 1), COUNT);
    }
    explore::finds("P4", || a_commit_is_given_up(publish));
}

/// A commit on its way: room in the memtable that was active, and sequence numbers.
struct Writer {
    next_seq: u64,
    active: Arc<lsm_memtable::Memtable>,
}

/// Two commits reserve room in a memtable; a third party freezes it meanwhile, and reads it to make a table.
fn a_memtable_is_frozen_under_its_writers(wait_for: WaitFor) {
    use lsm_core::key::Kind;
    use lsm_memtable::{EntrySize, Memtable};
    let publisher = Arc::new(Publisher::new(SeqNo::ZERO));
    let writer = Arc::new(Mutex::new(Writer { next_seq: 1, active: Arc::new(Memtable::new(4096)) }));
    let commits = [b'a', b'b'].map(|key| {
        let (publisher, writer) = (Arc::clone(&publisher), Arc::clone(&writer));
        thread::spawn(move || {
            let (mut room, seq) = {
                let mut writer = writer.lock();
                let size = EntrySize { kind: Kind::Value, key_bytes: 1, value_bytes: 0 };
                let room = writer.active.reserve([size].into_iter()).unwrap();
                writer.next_seq += 1;
                (room, SeqNo::new(writer.next_seq - 1))
            };
            thread::yield_now();
            room.insert(&[key], seq, Kind::Value, b"");
            assert!(publisher.turn(seq, 1).publish());
        })
    });
    let (frozen, last_seq) = {
        let mut writer = writer.lock();
        let frozen = std::mem::replace(&mut writer.active, Arc::new(Memtable::new(4096)));
        frozen.freeze();
        (frozen, SeqNo::new(writer.next_seq - 1))
    };
    wait_for(&publisher, last_seq);
    assert_eq!(frozen.len() as u64, last_seq.get(), "the table misses an insert in flight");
    commits.into_iter().for_each(|commit| commit.join().unwrap());
}

#[test]
fn a_flush_has_all_inserts_in_flight() {
    explore::holds(|| a_memtable_is_frozen_under_its_writers(Publisher::wait_for));
}

#[test]
fn a_flush_that_does_not_wait_for_inserts_in_flight_is_found() {
    explore::finds("in flight", || a_memtable_is_frozen_under_its_writers(|_, _| true));
}
