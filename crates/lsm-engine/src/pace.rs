//! Holds writers back, smoothly, when flush or compaction falls behind.
//!
//! Each change of a view gives a *pressure* between 0 and 1: how far the worst of level-0 tables, waiting
//! memtables and pending compaction is between "slow down" and "stop". Under pressure writers pass at a
//! rate derived from the measured rate at which the store drains, twice that rate at pressure 0 and next to
//! nothing at pressure 1, so that the balance settles in between. At 1 they wait until something is done.
//! No wait has a fixed length: every change of pressure wakes all waiters.
//!
//! The alternative, RocksDB's fixed `delayed_write_rate`, drops to a rate that has nothing to do with what
//! the machine can do.
//!
//! # Invariants
//! C1. Changes are counted, and nobody goes to sleep who has not looked at everything since the last one:
//!     a notification to somebody who is still looking is not lost.
//! C2. Whoever works out the pressure last is the last to say it: what somebody found before is not said after,
//!     when nothing may be left to do that would correct it.

use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::{Error, Result};
use lsm_fs::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Waits shorter than this are saved up: a thread cannot sleep that precisely.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Assumed rate of draining in bytes per second before any was measured.
const DRAIN_BYTES_PER_SECOND_INITIAL: f64 = 64e6;

/// Weight of a new measurement in the running mean.
const DRAIN_WEIGHT: f64 = 0.3;

/// How far behind the store is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Pressure {
    /// 0: not at all; 1: writers must wait.
    pub(crate) degree: f64,
    pub(crate) because: &'static str,
}

impl Pressure {
    pub(crate) const NONE: Pressure = Pressure { degree: 0.0, because: "" };

    /// Pressure of `amount` between `slow` and `stop`.
    pub(crate) fn of(amount: f64, slow: f64, stop: f64, because: &'static str) -> Pressure {
        Pressure { degree: ((amount - slow) / (stop - slow)).clamp(0.0, 1.0), because }
    }

    pub(crate) fn max(self, other: Pressure) -> Pressure {
        if other.degree > self.degree { other } else { self }
    }
}

pub(crate) struct Pacer {
    clock: Arc<dyn Clock>,
    /// Whether there is any pressure: all that an unhindered write looks at.
    pressed: AtomicBool,
    /// Held while the pressure is worked out and said (C2).
    turn: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
    waits: AtomicU64,
    waited_micros: AtomicU64,
}

struct State {
    pressure: Pressure,
    /// How often waiters were woken (C1).
    changes: u64,
    drain_bytes_per_second: f64,
    /// When the bytes admitted so far will have drained.
    busy_until: Duration,
}

impl Pacer {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Pacer {
        Pacer {
            clock,
            pressed: AtomicBool::new(false),
            turn: Mutex::new(()),
            state: Mutex::new(State {
                pressure: Pressure::NONE,
                changes: 0,
                drain_bytes_per_second: DRAIN_BYTES_PER_SECOND_INITIAL,
                busy_until: Duration::ZERO,
            }),
            changed: Condvar::new(),
            waits: AtomicU64::new(0),
            waited_micros: AtomicU64::new(0),
        }
    }

    /// Admits a write of `bytes`, waiting if the store is behind. `help` does a piece of background work
    /// where that is stepped by hand, and says whether there was one; `alive` fails to end the wait.
    pub(crate) fn admit(
        &self,
        bytes: usize,
        no_stall: bool,
        help: impl Fn() -> bool,
        alive: impl Fn() -> Result<()>,
    ) -> Result<()> {
        if !self.pressed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let begun = self.clock.monotonic();
        let mut state = self.state.lock();
        // When this write's own bytes will have drained: those of later ones are not waited for.
        let mut due = None;
        let mut waited = false;
        loop {
            let now = self.clock.monotonic();
            let stopped = state.pressure.degree >= 1.0;
            if !stopped && due.is_none() {
                let rate = (2.0 * (1.0 - state.pressure.degree)).max(0.05) * state.drain_bytes_per_second;
                let busy_until = state.busy_until.max(now) + Duration::from_secs_f64(bytes as f64 / rate);
                if no_stall && busy_until.saturating_sub(now) >= WAIT_MIN {
                    // Refused, so it takes no turn from those that wait.
                    return Err(Error::stalled(state.pressure.because));
                }
                state.busy_until = busy_until;
                due = Some(busy_until);
            }
            // The queue may have been forgotten since, when there was no pressure for a moment.
            let wait = due.map(|due| due.min(state.busy_until).saturating_sub(now));
            if state.pressure.degree == 0.0 || wait.is_some_and(|wait| wait < WAIT_MIN) {
                break;
            }
            if no_stall {
                return Err(Error::stalled(state.pressure.because));
            }
            waited = true;
            let before = state.changes;
            drop(state);
            let helped = help();
            alive()?;
            state = self.state.lock();
            if !helped && state.changes == before {
                match wait.filter(|_| !stopped) {
                    Some(wait) => {
                        self.changed.wait_for(&mut state, wait);
                    }
                    None => self.changed.wait(&mut state),
                }
            }
        }
        drop(state);
        if waited {
            self.note_wait(begun);
        }
        Ok(())
    }

    /// Whether writers are held back at all.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// Waits for any change, as when no memtable is free.
    pub(crate) fn wait_for_change(
        &self,
        because: &'static str,
        no_stall: bool,
        still: impl Fn() -> bool,
        help: impl Fn() -> bool,
        alive: impl Fn() -> Result<()>,
    ) -> Result<()> {
        if no_stall {
            return Err(Error::stalled(because));
        }
        let begun = self.clock.monotonic();
        loop {
            let before = self.state.lock().changes;
            alive()?;
            if help() {
                // What was just done may be why there is no point in waiting.
                alive()?;
                break;
            }
            let mut state = self.state.lock();
            if !still() {
                break;
            }
            if state.changes == before {
                self.changed.wait(&mut state);
            }
        }
        self.note_wait(begun);
        Ok(())
    }

    /// Has the pressure worked out anew, takes it over and wakes all waiters (C2).
    pub(crate) fn refresh(&self, work_out: impl FnOnce() -> Pressure) {
        let _turn = self.turn.lock();
        self.press(work_out());
    }

    fn press(&self, pressure: Pressure) {
        let mut state = self.state.lock();
        state.pressure = pressure;
        state.changes += 1;
        if pressure.degree == 0.0 {
            state.busy_until = Duration::ZERO;
        }
        self.pressed.store(pressure.degree > 0.0, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// Wakes all waiters, so that they look at what they wait for again.
    pub(crate) fn wake(&self) {
        self.state.lock().changes += 1;
        self.changed.notify_all();
    }

    /// Takes in a measurement: `bytes` drained in `time`.
    pub(crate) fn drained(&self, bytes: u64, time: Duration) {
        let rate = bytes as f64 / time.as_secs_f64().max(1e-6);
        let mut state = self.state.lock();
        state.drain_bytes_per_second += DRAIN_WEIGHT * (rate - state.drain_bytes_per_second);
        state.drain_bytes_per_second = state.drain_bytes_per_second.max(1e6);
    }

    fn note_wait(&self, begun: Duration) {
        let micros = self.clock.monotonic().saturating_sub(begun).as_micros();
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited_micros.fetch_add(micros.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.state.lock().pressure
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_fs::SystemClock;

    fn pacer() -> Pacer {
        Pacer::new(Arc::new(SystemClock::new()))
    }

    #[test]
    fn without_pressure_nobody_waits() {
        let pacer = pacer();
        for _ in 0..1000 {
            pacer.admit(1 << 20, true, || false, || Ok(())).unwrap();
        }
        assert_eq!(pacer.waits(), 0);
    }

    #[test]
    fn under_pressure_writes_pass_at_a_rate() {
        let pacer = pacer();
        pacer.press(Pressure { degree: 0.5, because: "test" });
        let begun = std::time::Instant::now();
        for _ in 0..40 {
            pacer.admit(64_000, false, || false, || Ok(())).unwrap();
        }
        // 2.56 MB at 64 MB/s.
        assert!(begun.elapsed() >= Duration::from_millis(35), "{:?}", begun.elapsed());
        let stalled = (0..1000).find_map(|_| pacer.admit(64_000, true, || false, || Ok(())).err());
        assert_eq!(stalled.unwrap().kind(), crate::ErrorKind::Stalled);
    }

    #[test]
    fn a_stop_ends_with_the_next_change() {
        let pacer = pacer();
        pacer.press(Pressure { degree: 1.0, because: "test" });
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pacer.admit(1, false, || false, || Ok(())));
            while pacer.waits() == 0 && !waiter.is_finished() {
                pacer.press(Pressure::NONE);
                std::thread::yield_now();
            }
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_failed_store_ends_the_wait() {
        let pacer = pacer();
        pacer.press(Pressure { degree: 1.0, because: "test" });
        assert!(pacer.admit(1, false, || false, || Err(Error::closed())).is_err());
    }

    /// Fails from its second call on; whoever makes it fail wakes all waiters right behind the first one.
    fn dies_after_the_first_look(pacer: &Pacer) -> impl Fn() -> Result<()> + '_ {
        let looks = AtomicU64::new(0);
        move || {
            if looks.fetch_add(1, Ordering::Relaxed) > 0 {
                return Err(Error::closed());
            }
            pacer.wake();
            Ok(())
        }
    }

    /// Runs `wait` on a thread of its own and says whether it ended.
    fn ends(wait: impl FnOnce() + Send + 'static) -> bool {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            wait();
            sender.send(())
        });
        receiver.recv_timeout(Duration::from_secs(5)).is_ok()
    }

    #[test]
    fn a_wake_between_the_look_and_the_wait_is_not_lost() {
        assert!(ends(|| {
            let pacer = pacer();
            let alive = dies_after_the_first_look(&pacer);
            assert!(pacer.wait_for_change("test", false, || true, || false, alive).is_err());
        }));
        assert!(ends(|| {
            let pacer = pacer();
            pacer.press(Pressure { degree: 1.0, because: "test" });
            let alive = dies_after_the_first_look(&pacer);
            assert!(pacer.admit(1, false, || false, alive).is_err());
        }));
    }

    #[test]
    fn a_write_waits_for_its_own_bytes_and_not_for_later_ones() {
        let pacer = Arc::new(pacer());
        pacer.press(Pressure { degree: 0.5, because: "test" });
        let first = Arc::clone(&pacer);
        // A tenth of a second; what comes behind it takes a hundred.
        assert!(ends(move || {
            std::thread::scope(|scope| {
                let early = scope.spawn(|| first.admit(6_400_000, false, || false, || Ok(())));
                while first.state.lock().busy_until == Duration::ZERO {
                    std::thread::yield_now();
                }
                let late = scope.spawn(|| first.admit(6_400_000_000, false, || false, || Ok(())));
                early.join().unwrap().unwrap();
                first.press(Pressure::NONE);
                late.join().unwrap().unwrap();
            });
        }));
    }

    #[test]
    fn refused_writes_take_no_turn() {
        let pacer = pacer();
        pacer.press(Pressure { degree: 0.5, because: "test" });
        // Each would take a millisecond and a half.
        for _ in 0..2000 {
            assert!(pacer.admit(96_000, true, || false, || Ok(())).is_err());
        }
        pacer.admit(1000, true, || false, || Ok(())).unwrap();
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_models;
