//! Makes commits visible in the order of their sequence numbers.
//!
//! Commits insert into memtables at the same time, so they finish in any order; readers must see a
//! prefix of all commits. Each commit waits for the one before it, then moves the visible sequence
//! number over its own range.
//!
//! # Invariants
//! P1. The visible sequence number only grows, one whole commit at a time.
//! P2. Once it is `s`, every entry with a sequence number up to `s` is in its memtable.
//! P3. A waiter registers itself before it looks, and a publisher looks for waiters after it has
//!     published: one of the two sees the other (both sides are SeqCst).
//! P4. A commit that panics ends publication: nothing behind it is ever visible, and all who wait hear of it.

use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, spin_loop, thread};
use lsm_core::SeqNo;

/// How often a commit looks again before it goes to sleep: about the time of one memtable insert. A model
/// needs one look to see that it may help, and the sleep after it more often than not.
const SPINS: usize = if cfg!(shuttle) { 1 } else { 40 };

/// How often it then lets others run before it sleeps. With more writers than cores the commit before this
/// one mostly waits for a core, and a wake-up costs more than its whole commit (docs/performance.md).
const YIELDS: usize = if cfg!(shuttle) { 0 } else { 100 };

/// Apart from what else readers look at: each commit writes here.
#[repr(align(128))]
pub(crate) struct Publisher {
    visible: AtomicU64,
    sleepers: AtomicUsize,
    /// A commit was given up (P4).
    broken: AtomicBool,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Publisher {
    pub(crate) fn new(visible: SeqNo) -> Publisher {
        Publisher {
            visible: AtomicU64::new(visible.get()),
            sleepers: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            lock: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    /// The newest commit that readers see (P2).
    pub(crate) fn visible(&self) -> SeqNo {
        SeqNo::new(self.visible.load(Ordering::Acquire))
    }

    /// The turn of the commit that took `count` sequence numbers from `first` on.
    pub(crate) fn turn(&self, first: SeqNo, count: u64) -> Turn<'_> {
        Turn { publisher: self, first, count }
    }

    /// Makes the commit that took `count` sequence numbers from `first` on visible, after all before it; false
    /// if one of those was given up.
    fn publish(&self, first: SeqNo, count: u64) -> bool {
        let before = first.get() - 1;
        if self.visible.load(Ordering::Acquire) != before && !self.wait_for(SeqNo::new(before)) {
            return false;
        }
        self.visible.store(before + count, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock());
            self.moved.notify_all();
        }
        true
    }

    /// Ends publication (P4).
    fn give_up(&self) {
        self.broken.store(true, Ordering::SeqCst);
        drop(self.lock.lock());
        self.moved.notify_all();
    }

    /// Makes everything up to `seq` visible: recovery's way in, before there are commits.
    pub(crate) fn advance(&self, seq: SeqNo) {
        self.visible.fetch_max(seq.get(), Ordering::AcqRel);
    }

    /// Returns once everything up to `seq` is visible; false if it may never be (P4).
    pub(crate) fn wait_for(&self, seq: SeqNo) -> bool {
        for look in 0..SPINS + YIELDS {
            if self.visible.load(Ordering::Acquire) >= seq.get() {
                return true;
            }
            if look < SPINS { spin_loop() } else { thread::yield_now() }
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock();
        let is_visible = loop {
            if self.visible.load(Ordering::SeqCst) >= seq.get() {
                break true;
            }
            if self.broken.load(Ordering::SeqCst) {
                break false;
            }
            self.moved.wait(&mut guard);
        };
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        is_visible
    }
}

/// A commit that is on its way to be visible. One that is dropped before, as by a panic, was given up (P4).
pub(crate) struct Turn<'a> {
    publisher: &'a Publisher,
    first: SeqNo,
    count: u64,
}

impl Turn<'_> {
    /// As the commit is in its memtables, makes it visible after all before it; false if one of those was given up.
    pub(crate) fn publish(self) -> bool {
        let done = self.publisher.publish(self.first, self.count);
        std::mem::forget(self);
        done
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.publisher.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn commits_become_visible_in_order_whatever_finishes_first() {
        // Covers P1: publishers run in every order the scheduler gives them.
        let publisher = Arc::new(Publisher::new(SeqNo::ZERO));
        let threads = 4;
        let commits = 5_000_u64;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let publisher = &publisher;
                scope.spawn(move || {
                    for commit in (thread..commits).step_by(threads as usize) {
                        publisher.publish(SeqNo::new(commit * 3 + 1), 3);
                        assert!(publisher.visible().get() >= commit * 3 + 3);
                        assert_eq!(publisher.visible().get() % 3, 0);
                    }
                });
            }
            publisher.wait_for(SeqNo::new(commits * 3));
        });
        assert_eq!(publisher.visible(), SeqNo::new(commits * 3));
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_models;
