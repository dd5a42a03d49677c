//! A right that threads have one after another, and sleep for until they have it or need it no longer.
//!
//! Whoever ends a turn wakes all whom it served, each by itself, and one of the others, who has the next turn. A condition
//! variable would wake all, to fight for a lock, or one after the other.
//!
//! # Invariants
//! T1. Nobody has the right while it is in the state.
//! T2. While the right is in the state and somebody sleeps, one who slept was woken and has not looked since, or looks now.

use std::sync::Arc;

use lsm_sync::{AtomicU8, Mutex, Ordering, thread};

/// The position of who is served by no turn but the own.
pub(crate) const OWN_TURN: u64 = u64::MAX;

/// What a sleeper is told: nothing yet, that a turn served it, or that the next turn is its own.
const NONE: u8 = 0;
const SERVED: u8 = 1;
const NEXT: u8 = 2;

/// A right of type `T`.
pub(crate) struct Turns<T>(Mutex<State<T>>);

struct State<T> {
    /// Empty while somebody has it (T1).
    right: Option<T>,
    sleepers: Vec<Sleeper>,
    /// How many were woken or slept on when the last turn ended, without the one whose turn is next.
    others: usize,
}

struct Sleeper {
    /// Served by a turn that comes so far.
    position: u64,
    call: Arc<AtomicU8>,
    thread: thread::Thread,
}

impl<T> Turns<T> {
    pub(crate) fn new(right: T) -> Turns<T> {
        Turns(Mutex::new(State { right: Some(right), sleepers: Vec::new(), others: 0 }))
    }

    /// The right, once nobody else has it; `None` as soon as `is_done` says that it is not needed. It is asked with the
    /// right where nobody has that, and without where somebody may.
    pub(crate) fn take_unless(&self, position: u64, is_done: impl Fn(Option<&T>) -> bool) -> Option<T> {
        let mut was_called = false;
        loop {
            let call = {
                let mut state = self.0.lock();
                if is_done(state.right.as_ref()) {
                    // T2: this may be the one who was woken for the next turn.
                    let next = state.right.is_some().then(|| state.next()).flatten();
                    drop(state);
                    next.into_iter().for_each(|sleeper| sleeper.wake(NEXT));
                    return None;
                }
                if let Some(right) = state.right.take() {
                    return Some(right);
                }
                let call = Arc::new(AtomicU8::new(NONE));
                let sleeper = Sleeper { position, call: Arc::clone(&call), thread: thread::current() };
                // Whose turn it was when somebody came before stays the first.
                let place = if was_called { 0 } else { state.sleepers.len() };
                state.sleepers.insert(place, sleeper);
                call
            };
            while call.load(Ordering::Acquire) == NONE {
                thread::park();
            }
            if call.load(Ordering::Relaxed) == SERVED {
                return None;
            }
            was_called = true;
        }
    }

    /// Gives the right back after a turn that came as far as `served`.
    pub(crate) fn end(&self, right: T, served: u64) {
        let mut state = self.0.lock();
        state.right = Some(right);
        let done = state.sleepers.extract_if(.., |sleeper| sleeper.position <= served).collect::<Vec<_>>();
        let next = state.next();
        state.others = done.len() + state.sleepers.len();
        drop(state);
        done.into_iter().for_each(|sleeper| sleeper.wake(SERVED));
        next.into_iter().for_each(|sleeper| sleeper.wake(NEXT));
    }

    /// Offers this processor to those whom the last turn woke, up to `offers` times, until they are all asleep again.
    pub(crate) fn let_others_come(&self, offers: usize) {
        let are_asleep = || {
            let state = self.0.lock();
            state.sleepers.len() >= state.others
        };
        for _ in 0..offers {
            if are_asleep() {
                return;
            }
            thread::yield_now();
        }
    }
}

impl<T> State<T> {
    /// Who slept longest.
    fn next(&mut self) -> Option<Sleeper> {
        (!self.sleepers.is_empty()).then(|| self.sleepers.remove(0))
    }
}

impl Sleeper {
    fn wake(self, call: u8) {
        self.call.store(call, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Waits until `count` threads sleep.
    fn until_asleep(turns: &Turns<u32>, count: usize) {
        while turns.0.lock().sleepers.len() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_turn_serves_those_it_came_to_and_the_next_is_the_oldest_other_s() {
        // Covers T1, T2.
        let turns = Turns::new(7);
        let right = turns.take_unless(1, |right| right.is_none()).unwrap();
        let served = |position| turns.take_unless(position, |_| false).is_none();
        std::thread::scope(|scope| {
            let early = scope.spawn(|| served(5));
            until_asleep(&turns, 1);
            let late = scope.spawn(|| {
                let right = turns.take_unless(10, |_| false)?;
                turns.end(right + 1, 20);
                Some(right)
            });
            until_asleep(&turns, 2);
            let latest = scope.spawn(|| served(20));
            let own =
                scope.spawn(|| turns.take_unless(OWN_TURN, |_| false).map(|right| turns.end(right, OWN_TURN - 1)));
            until_asleep(&turns, 4);
            turns.end(right, 9);
            assert!(early.join().unwrap());
            assert_eq!(late.join().unwrap(), Some(7));
            assert!(latest.join().unwrap() && own.join().unwrap().is_some());
        });
        assert_eq!(turns.take_unless(0, |right| right == Some(&8)), None);
        assert_eq!(turns.take_unless(0, |_| false), Some(8));
    }
}
