//! Background work: what is running, and waiting for it.
//!
//! Every change that may make work due (a rotation, a finished job) calls [`Store::schedule`], which hands
//! jobs to the executor while there are free slots. Flushes have slots of their own, since writers wait
//! for them. The executor is Tokio's blocking threads, or steps by hand in tests.
//!
//! # Invariants
//! G1. At most one flush per column family runs, so memtables become tables in order.
//! G2. A running compaction holds a reservation; plans are picked against all reservations under one lock.
//! G3. A job that ends in any way, even by never being run, gives back its slot and its reservation.
//! G4. No family waits for one that always has work: the memtable that has waited longest is flushed first, and
//!     compactions are picked from the family behind the one that had the last.

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

    /// Returns once no compaction of `family` is running.
    pub(crate) fn wait_for_family(&self, family: ColumnFamilyId) {
        self.wait_for_state(|state| state.in_flight.get(&family).is_none_or(InFlight::is_empty));
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
            let idle = |state: &State| state.flushing.is_empty() && state.compactions == 0;
            if idle(&self.background.state.lock()) {
                return Ok(());
            }
            self.background.wait_for_state(idle);
        }
    }

    fn note_shortage(&self, shortage: Option<Shortage>) {
        let changed = {
            let mut state = self.background.state.lock();
            let changed = state.shortage.is_some() != shortage.is_some();
            state.shortage = shortage;
            changed
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
