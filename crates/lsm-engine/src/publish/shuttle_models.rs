//! Models of publishing under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use crate::sync::{explore, thread};
use std::sync::Arc;

type Publish = fn(&Publisher, SeqNo, u64);
type WaitFor = fn(&Publisher, SeqNo);

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
            publish(&publisher, SeqNo::new(commit * COUNT + 1), COUNT);
            assert!(publisher.visible().get() >= (commit + 1) * COUNT, "one sees one's own commit");
        })
    });
    wait_for(&publisher, SeqNo::new(2 * COUNT));
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
    fn publish(publisher: &Publisher, first: SeqNo, count: u64) {
        let before = first.get() - 1;
        publisher.wait_for(SeqNo::new(before));
        let sleepers = publisher.sleepers.load(Ordering::SeqCst);
        publisher.visible.store(before + count, Ordering::SeqCst);
        if sleepers > 0 {
            drop(publisher.lock.lock());
            publisher.moved.notify_all();
        }
    }
    explore::finds("deadlock", || commits_meet_a_waiter(publish, Publisher::wait_for));
}

#[test]
fn a_publisher_that_notifies_without_the_lock_is_found() {
    // Between the sleeper's look and its sleep there would be a moment in which nothing wakes it.
    fn publish(publisher: &Publisher, first: SeqNo, count: u64) {
        let before = first.get() - 1;
        publisher.wait_for(SeqNo::new(before));
        publisher.visible.store(before + count, Ordering::SeqCst);
        if publisher.sleepers.load(Ordering::SeqCst) > 0 {
            publisher.moved.notify_all();
        }
    }
    explore::finds("deadlock", || commits_meet_a_waiter(publish, Publisher::wait_for));
}

#[test]
fn a_publisher_that_does_not_wait_for_its_turn_is_found() {
    fn publish(publisher: &Publisher, first: SeqNo, count: u64) {
        publisher.visible.fetch_max(first.get() - 1 + count, Ordering::SeqCst);
        if publisher.sleepers.load(Ordering::SeqCst) > 0 {
            drop(publisher.lock.lock());
            publisher.moved.notify_all();
        }
    }
    explore::finds("P2", || commits_meet_a_waiter(publish, Publisher::wait_for));
}

#[test]
fn a_waiter_that_looks_before_it_registers_is_found() {
    fn wait_for(publisher: &Publisher, seq: SeqNo) {
        let mut guard = publisher.lock.lock();
        while publisher.visible.load(Ordering::SeqCst) < seq.get() {
            publisher.sleepers.fetch_add(1, Ordering::SeqCst);
            publisher.moved.wait(&mut guard);
            publisher.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
    explore::finds("deadlock", || commits_meet_a_waiter(Publisher::publish, wait_for));
}
