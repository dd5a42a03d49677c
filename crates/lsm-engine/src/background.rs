//! Background work: what is running, and waiting for it.
//!
//! Every change that may make work due (a rotation, a finished job) calls [`Store::schedule`], which hands
//! jobs to the executor while there are free slots. Flushes have slots of their own, since writers wait
//! for them, but no threads: those who help with the parts of a compaction queue where flushes do. The executor is Tokio's
//! blocking threads, or steps by hand in tests.
//!
//! # Invariants
//! G1. At most one flush per column family runs, so memtables become tables in order.
//! G2. A running compaction holds a reservation; plans are picked against all reservations under one lock.
//! G3. A job that ends in any way, even by never being run, gives back its slot and its reservation.
//! G4. No family waits for one that always has work: the memtable that has waited longest is flushed first, and
//!     compactions are picked from the family behind the one that had the last.
//! G5. A compaction that somebody asked for waits for jobs that are running when it begins to, and for no others of the
//!     background's.

mod jobs;

use crate::family::Family;
use crate::room::{Shortage, needed_bytes};
use crate::store::Store;
use crate::sync::{Condvar, Mutex, Ordering};
use crate::{Error, Result};
use lsm_compaction::{Executor, InFlight, Plan, ReservationId};
use lsm_core::ColumnFamilyId;
use lsm_manifest::FileNumbers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::runtime::Runtime;

pub(crate) struct Background {
    pub(crate) executor: Arc<dyn Executor>,
    /// The store's own runtime, unless the user gave one.
    runtime: Mutex<Option<Runtime>>,
    numbers: Arc<FileNumbers>,
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Tells running compactions to give up. It goes to lsm-compaction, so it is always std's.
    pub(crate) closing: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    flushing: BTreeSet<ColumnFamilyId>,
    in_flight: BTreeMap<ColumnFamilyId, InFlight>,
    /// How many reservations of the family were given back.
    releases: BTreeMap<ColumnFamilyId, u64>,
    /// Callers who wait to compact something of the family (G5).
    claims: BTreeMap<ColumnFamilyId, usize>,
    compactions: usize,
    /// Where compactions were picked last (G4).
    last_compacted: ColumnFamilyId,
    /// What all running compactions together write at most.
    compacting_bytes: u64,
    /// Callers who wait until nothing is due.
    settling: usize,
    /// Why flushes do not get on at the moment.
    blocked: Option<Error>,
    /// Why compactions do not get on at the moment.
    shortage: Option<Shortage>,
}

impl Background {
    pub(crate) fn new(
        executor: Arc<dyn Executor>,
        runtime: Option<Runtime>,
        numbers: Arc<FileNumbers>,
        threads: usize,
    ) -> Background {
        Background {
            executor,
            runtime: Mutex::new(runtime),
            numbers,
            threads: threads.max(1),
            state: Mutex::default(),
            changed: Condvar::new(),
            closing: Arc::default(),
        }
    }

    pub(crate) fn numbers(&self) -> &FileNumbers {
        &self.numbers
    }

    pub(crate) fn shared_numbers(&self) -> Arc<FileNumbers> {
        Arc::clone(&self.numbers)
    }

    /// Wakes everyone who waits for background work.
    pub(crate) fn wake(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }

    /// Runs a waiting job on this thread, where jobs are stepped by hand; says whether it did.
    pub(crate) fn help(&self) -> bool {
        self.executor.help()
    }

    /// Returns once `done` says so, or with the reason why flushes do not get on.
    pub(crate) fn wait_for_flushes(&self, done: impl Fn() -> bool) -> Result<()> {
        // What has blocked them is noted under the lock: somebody else may ask for another try right after.
        let blocked = std::cell::RefCell::new(None);
        self.wait_for_state(|state| {
            let done = done();
            *blocked.borrow_mut() = state.blocked.clone().filter(|_| !done);
            done || state.blocked.is_some()
        });
        blocked.into_inner().map_or(Ok(()), Err)
    }

    /// `done` is asked under the lock, after every change: it must not take the lock itself.
    fn wait_for_state(&self, done: impl Fn(&State) -> bool) {
        loop {
            if done(&self.state.lock()) {
                return;
            }
            if self.help() {
                continue;
            }
            let mut state = self.state.lock();
            if !done(&state) {
                self.changed.wait(&mut state);
            }
        }
    }

    pub(crate) fn running_flushes(&self) -> usize {
        self.state.lock().flushing.len()
    }

    pub(crate) fn running_compactions(&self) -> usize {
        self.state.lock().compactions
    }

    /// Why flushes do not get on, if they do not.
    pub(crate) fn blocked(&self) -> Option<Error> {
        self.state.lock().blocked.clone()
    }

    /// Why compactions do not get on, if they do not.
    pub(crate) fn shortage(&self) -> Option<Error> {
        self.state.lock().shortage.as_ref().map(|shortage| shortage.error.clone())
    }

    /// Takes no more jobs, and returns once none is running.
    pub(crate) fn stop(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
        self.wait_for_state(|state| state.flushing.is_empty() && state.compactions == 0);
        self.end_runtime();
    }

    fn end_runtime(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            // Not a plain drop, which may not happen inside of an asynchronous task.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end_runtime();
    }
}

impl Store {
    /// Reserves what `plan` says for a compaction on the caller's own thread; `None` while another job is
    /// at work there. The plan is made under the lock of all reservations (G2).
    pub(crate) fn reserve_manual(
        self: &Arc<Self>,
        family: &Arc<Family>,
        plan: impl FnOnce(&InFlight) -> Option<Plan>,
    ) -> Option<(Plan, ManualReservation)> {
        let mut state = self.background.state.lock();
        let plan = plan(state.in_flight.entry(family.id).or_default())?;
        let reservation = state.reserve(family.id, &plan);
        let needed_bytes = needed_bytes(&plan);
        let guard = ManualReservation { store: Arc::clone(self), family: family.id, reservation, needed_bytes };
        Some((plan, guard))
    }

    /// Keeps background compactions of `family` from being picked while the caller waits for those that run (G5).
    pub(crate) fn claim(self: &Arc<Self>, family: &Family) -> Claim {
        let mut state = self.background.state.lock();
        *state.claims.entry(family.id).or_default() += 1;
        Claim { store: Arc::clone(self), family: family.id, releases: state.releases(family.id) }
    }

    /// Returns once no job is running or due.
    pub(crate) fn wait_for_compactions(self: &Arc<Self>) -> Result<()> {
        self.note_shortage(None);
        self.background.state.lock().settling += 1;
        let settled = self.wait_until_settled();
        self.background.state.lock().settling -= 1;
        settled
    }

    fn wait_until_settled(self: &Arc<Self>) -> Result<()> {
        self.retry();
        loop {
            self.health.check_writable()?;
            self.schedule();
            if let Some(error) = self.background.blocked().or_else(|| self.background.shortage()) {
                return Err(error);
            }
            // What is due in a family that is claimed becomes a job afterwards.
            let idle = |state: &State| state.flushing.is_empty() && state.compactions == 0 && state.claims.is_empty();
            if idle(&self.background.state.lock()) {
                return Ok(());
            }
            self.background.wait_for_state(idle);
        }
    }

    fn note_shortage(&self, shortage: Option<Shortage>) {
        self.change_shortage(|_| shortage);
    }

    /// A compaction that is still reserved and would have written `needed_bytes` at most did find room: a shortage is over if
    /// that says anything about the one that did not.
    fn note_room(&self, needed_bytes: u64) {
        if self.background.state.lock().shortage.is_none() {
            return;
        }
        let (free_bytes, now) = (self.free_bytes(), self.options.clock.monotonic());
        self.change_shortage(|state| {
            let others = state.compacting_bytes.saturating_sub(needed_bytes);
            state.shortage.take().filter(|shortage| !shortage.is_over(needed_bytes, free_bytes, others, now))
        });
    }

    fn change_shortage(&self, change: impl FnOnce(&mut State) -> Option<Shortage>) {
        let changed = {
            let mut state = self.background.state.lock();
            let before = state.shortage.is_some();
            state.shortage = change(&mut state);
            before != state.shortage.is_some()
        };
        if changed {
            self.refresh_pressure();
        }
    }

    /// Lets flushes that a full disk has blocked try again, and compactions if they fit by now.
    pub(crate) fn retry(self: &Arc<Self>) {
        self.background.state.lock().blocked = None;
        self.schedule();
    }
}

impl State {
    fn reserve(&mut self, family: ColumnFamilyId, plan: &Plan) -> ReservationId {
        self.compactions += 1;
        self.compacting_bytes += needed_bytes(plan);
        self.in_flight.entry(family).or_default().reserve(plan)
    }

    fn release(&mut self, family: ColumnFamilyId, reservation: ReservationId, needed_bytes: u64) {
        self.compactions -= 1;
        self.compacting_bytes -= needed_bytes;
        if let Some(in_flight) = self.in_flight.get_mut(&family) {
            in_flight.release(reservation);
        }
        *self.releases.entry(family).or_default() += 1;
    }

    fn releases(&self, family: ColumnFamilyId) -> u64 {
        self.releases.get(&family).copied().unwrap_or_default()
    }

    fn is_claimed(&self, family: ColumnFamilyId) -> bool {
        self.claims.contains_key(&family)
    }
}

/// The reservation of a compaction that runs on the caller's thread.
pub(crate) struct ManualReservation {
    store: Arc<Store>,
    family: ColumnFamilyId,
    reservation: ReservationId,
    needed_bytes: u64,
}

impl Drop for ManualReservation {
    fn drop(&mut self) {
        self.store.background.state.lock().release(self.family, self.reservation, self.needed_bytes);
        self.store.background.changed.notify_all();
    }
}

/// Somebody waits to compact something of a family (G5).
pub(crate) struct Claim {
    store: Arc<Store>,
    family: ColumnFamilyId,
    /// As many had given back their reservations when the caller last looked what it can do.
    releases: u64,
}

impl Claim {
    /// Says that the caller looks, from now on, what it can do.
    pub(crate) fn look(&mut self) {
        self.releases = self.store.background.state.lock().releases(self.family);
    }

    /// Returns once a job of the family has ended since the caller looked, or none is running.
    pub(crate) fn wait(&self) {
        let is_idle = |state: &State| state.in_flight.get(&self.family).is_none_or(InFlight::is_empty);
        let has_ended = |state: &State| state.releases(self.family) != self.releases;
        self.store.background.wait_for_state(|state| has_ended(state) || is_idle(state));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        {
            let mut state = self.store.background.state.lock();
            let claims = state.claims.get_mut(&self.family).expect("it was claimed");
            *claims -= 1;
            if *claims == 0 {
                state.claims.remove(&self.family);
            }
        }
        self.store.background.changed.notify_all();
        self.store.schedule();
    }
}
