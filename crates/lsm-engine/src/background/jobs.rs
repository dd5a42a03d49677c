//! What is due, and the jobs that do it.
//!
//! The invariants are those of [`super`].

use super::State;
use crate::family::Family;
use crate::room::{Shortage, needed_bytes};
use crate::store::Store;
use crate::sync::Ordering;
use crate::{Error, ErrorKind, Result};
use lsm_compaction::{Plan, ReservationId, pick_level0};
use lsm_core::SeqNo;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Pauses before a job that met an I/O error is tried again; after the last one the failure is latched.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// While memtables fill about as fast as they are flushed, level 0 may have so many times the tables at which it is taken down
/// otherwise. Writers wait for flushes, so those get the processors first; and one compaction does then what two would have done.
const BUSY_TRIGGERS: usize = 2;

enum Job {
    Flush(Arc<Family>),
    Compact(Arc<Family>, Plan, ReservationId),
}

impl Store {
    /// Starts whatever is due while there are free slots.
    pub(crate) fn schedule(self: &Arc<Self>) {
        while let Some(job) = self.next_job() {
            let ticket = Ticket { store: Arc::clone(self), job, finished: false };
            self.background.executor.execute(Box::new(move || ticket.run()));
        }
    }

    fn next_job(&self) -> Option<Job> {
        let background = &self.background;
        if background.closing.load(Ordering::Acquire) || self.health.check_writable().is_err() {
            return None;
        }
        let oldest_snapshot = self.snapshots.seqs().first().copied();
        let mut state = background.state.lock();
        if state.blocked.is_some() {
            return None;
        }
        let families = self.families.load();
        if state.flushing.len() < background.threads {
            let due =
                |family: &&Arc<Family>| !state.flushing.contains(&family.id) && !family.view.load().frozen.is_empty();
            if let Some(family) = families.values().find(due) {
                let family = Arc::clone(family);
                state.flushing.insert(family.id);
                return Some(Job::Flush(family));
            }
        }
        if state.compactions < background.threads {
            for family in families.values().filter(|family| !family.is_dropped()) {
                if let Some(plan) = self.pick(&mut state, family, oldest_snapshot) {
                    let reservation = state.reserve(family.id, &plan);
                    return Some(Job::Compact(Arc::clone(family), plan, reservation));
                }
            }
        }
        None
    }

    /// What is due in `family`, as far as it fits on the disk if an earlier compaction filled that.
    fn pick(&self, state: &mut State, family: &Family, oldest_snapshot: Option<SeqNo>) -> Option<Plan> {
        let (mut options, view) = (self.leveled_options(), family.view.load());
        let version = &view.version;
        if view.is_filling() && state.settling == 0 {
            options.level0_trigger *= BUSY_TRIGGERS;
        }
        let in_flight = state.in_flight.entry(family.id).or_default();
        let for_readers = || family.toll.is_asked().then(|| pick_level0(version, in_flight, &options)).flatten();
        let plan = lsm_compaction::pick(version, in_flight, &options, oldest_snapshot).or_else(for_readers)?;
        let Some(shortage) = &state.shortage else { return Some(plan) };
        let room = shortage.room(self.free_bytes(), state.compacting_bytes, self.options.clock.monotonic())?;
        if needed_bytes(&plan) <= room {
            return Some(plan);
        }
        lsm_compaction::pick_within_level0(version, in_flight, &options, room)
    }

    /// What the file system has left; all, if it does not say.
    fn free_bytes(&self) -> u64 {
        self.options.fs.free_space(&self.directory).unwrap_or(u64::MAX)
    }

    /// Runs `work`. An I/O error is tried again a few times, then latched; of a full disk `note_full` takes note.
    fn persist(self: &Arc<Self>, work: impl Fn() -> Result<()>, note_full: impl Fn(Error)) {
        let mut pauses = PAUSES.iter();
        loop {
            let Err(error) = work() else { return };
            if self.background.closing.load(Ordering::Acquire) || self.health.check_writable().is_err() {
                return;
            }
            if error.kind() == ErrorKind::NoSpace {
                self.counters.background_errors.fetch_add(1, Ordering::Relaxed);
                note_full(error);
                // Writers that wait for room must hear of it: a full disk is an error to them, not a wait
                // without end.
                self.pacer.wake();
                return;
            }
            let Some(pause) = pauses.next().filter(|_| error.kind() == ErrorKind::Io) else {
                self.fail(error);
                return;
            };
            self.counters.background_errors.fetch_add(1, Ordering::Relaxed);
            let mut state = self.background.state.lock();
            if !self.background.closing.load(Ordering::Acquire) {
                self.background.changed.wait_for(&mut state, *pause);
            }
        }
    }

    fn flush_in_background(self: &Arc<Self>, family: &Arc<Family>) {
        // Until somebody asks for it again: see [`Store::retry`].
        let note_full = |error| self.background.state.lock().blocked = Some(error);
        let work = || {
            self.flush_family(family)?;
            self.background.state.lock().blocked = None;
            Ok(())
        };
        self.persist(work, note_full);
    }

    fn compact_in_background(self: &Arc<Self>, family: &Arc<Family>, plan: &Plan) {
        let note_full = |error| {
            let (free_bytes, since) = (self.free_bytes(), self.options.clock.monotonic());
            self.note_shortage(Some(Shortage { error, needed_bytes: needed_bytes(plan), free_bytes, since }));
        };
        let work = || {
            self.compact(family, plan)?;
            self.note_shortage(None);
            Ok(())
        };
        self.persist(work, note_full);
    }
}

/// A job on its way to a thread (G3).
struct Ticket {
    store: Arc<Store>,
    job: Job,
    finished: bool,
}

impl Ticket {
    fn run(mut self) {
        let store = Arc::clone(&self.store);
        // N3: this may be a thread of the executor's, or one that waits and helps.
        let _ = store.contained(|| {
            match &self.job {
                Job::Flush(family) => store.flush_in_background(family),
                Job::Compact(family, plan, _) => store.compact_in_background(family, plan),
            }
            Ok(())
        });
        self.finished = true;
        drop(self);
        store.schedule();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let background = &self.store.background;
        {
            let mut state = background.state.lock();
            match &self.job {
                Job::Flush(family) => {
                    state.flushing.remove(&family.id);
                }
                Job::Compact(family, plan, reservation) => state.release(family.id, *reservation, needed_bytes(plan)),
            }
        }
        if !self.finished && !background.closing.load(Ordering::Acquire) {
            let gone = io::Error::other("the runtime of background work was shut down");
            self.store.fail(lsm_core::Error::io("run background work for", &self.store.directory, gone));
        }
        background.changed.notify_all();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::{Db, Options};
    use lsm_compaction::StepExecutor;
    use lsm_core::ColumnFamilyId;
    use lsm_fs::MemFs;

    /// A store whose background work is stepped, and which takes level 0 down at two tables.
    fn stepped() -> (Db, Arc<Family>, Arc<StepExecutor>) {
        let executor = Arc::<StepExecutor>::default();
        let options = Options::new().fs(Arc::new(MemFs::new())).executor(Arc::clone(&executor) as _);
        let db = options.level0_file_num_compaction_trigger(2).write_buffer_size(64 << 10).open("/store").unwrap();
        let family = db.store().family(ColumnFamilyId::DEFAULT).unwrap();
        (db, family, executor)
    }

    fn is_due(db: &Db, family: &Family) -> bool {
        db.store().pick(&mut State::default(), family, None).is_some()
    }

    #[test]
    fn level_0_goes_down_later_while_memtables_wait() {
        let (db, family, executor) = stepped();
        for tables in 1..6_u8 {
            db.put("key", [tables]).unwrap();
            db.store().rotate_all().unwrap().unwrap();
            let waiting = format!("a memtable beside {} tables", tables - 1);
            assert_eq!(is_due(&db, &family), tables > 2 * BUSY_TRIGGERS as u8, "{waiting}");
            db.store().flush_family(&family).unwrap();
            assert_eq!(is_due(&db, &family), tables >= 2, "{tables} tables");
        }
        while executor.step() {}
    }

    #[test]
    fn level_0_goes_down_later_while_the_memtable_is_more_than_half_full_unless_somebody_waits_for_it() {
        let (db, family, executor) = stepped();
        for tables in 0..2_u8 {
            db.put("key", [tables]).unwrap();
            db.store().rotate_all().unwrap().unwrap();
            db.store().flush_family(&family).unwrap();
        }
        assert!(is_due(&db, &family));
        db.put("filler", vec![0; 40 << 10]).unwrap();
        assert!(!is_due(&db, &family));
        while executor.step() {}
        let level0 = || family.view.load().version.level(0).len();
        assert_eq!(level0(), 2);
        db.wait_for_compactions().unwrap();
        assert!(level0() < 2);
        assert_eq!(db.store().background.state.lock().settling, 0);
    }
}
