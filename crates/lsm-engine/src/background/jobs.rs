//! What is due, and the jobs that do it.
//!
//! The invariants are those of [`super`].

use super::State;
use crate::family::Family;
use crate::room::{Shortage, needed_bytes};
use crate::store::{Families, Store};
use crate::sync::Ordering;
use crate::{Error, ErrorKind, Result};
use lsm_compaction::{Plan, ReservationId, pick_level0};
use lsm_core::{ColumnFamilyId, SeqNo};
use std::io;
use std::ops::Bound;
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
        if self.health.check_writable().is_err() {
            return None;
        }
        let oldest_snapshot = self.snapshots.seqs().first().copied();
        let mut state = background.state.lock();
        // Under the lock, under which whoever closes looks whether anything runs: no job begins behind that.
        if background.closing.load(Ordering::Acquire) || state.blocked.is_some() {
            return None;
        }
        let families = self.families.load();
        let has_room = state.flushing.len() < background.threads;
        if let Some(family) = has_room.then(|| state.longest_waiting(&families)).flatten() {
            state.flushing.insert(family.id);
            return Some(Job::Flush(Arc::clone(family)));
        }
        if state.compactions < background.threads {
            let turns = in_turn(&families, state.last_compacted);
            for family in turns.filter(|family| !family.is_dropped()) {
                if state.is_claimed(family.id) {
                    continue;
                }
                if let Some(plan) = self.pick(&mut state, family, oldest_snapshot) {
                    let reservation = state.reserve(family.id, &plan);
                    state.last_compacted = family.id;
                    return Some(Job::Compact(Arc::clone(family), plan, reservation));
                }
            }
        }
        None
    }

    /// Whether a memtable waits whose family has no flush at work.
    fn others_wait_for_flush(&self) -> bool {
        self.background.state.lock().longest_waiting(&self.families.load()).is_some()
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
    pub(super) fn free_bytes(&self) -> u64 {
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
            // The next memtable of the family is begun without going through the executor, unless that would keep
            // others from their turn (G4).
            while self.flush_oldest(family)? && !self.others_wait_for_flush() {}
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
            self.note_room(needed_bytes(plan));
            Ok(())
        };
        self.persist(work, note_full);
    }
}

impl State {
    /// The family whose oldest frozen memtable was written to before all others that wait (G4), less those of which one is
    /// being flushed (G1).
    fn longest_waiting<'f>(&self, families: &'f Families) -> Option<&'f Arc<Family>> {
        let idle = families.values().filter(|family| !family.is_dropped() && !self.flushing.contains(&family.id));
        let waiting = idle.filter_map(|family| Some((family.view.load().frozen.last()?.last_seq, family)));
        waiting.min_by_key(|(last_seq, _)| *last_seq).map(|(_, family)| family)
    }
}

/// All families, from the one behind `last` on (G4).
fn in_turn(families: &Families, last: ColumnFamilyId) -> impl Iterator<Item = &Arc<Family>> {
    let behind = families.range((Bound::Excluded(last), Bound::Unbounded));
    behind.chain(families.range(..=last)).map(|(_, family)| family)
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
    use lsm_fs::MemFs;

    /// A store whose background work is stepped, and which takes level 0 down at two tables.
    fn stepped() -> (Db, Arc<Family>, Arc<StepExecutor>) {
        let executor = Arc::<StepExecutor>::default();
        let options = Options::new().fs(Arc::new(MemFs::new())).executor(Arc::clone(&executor) as _);
        let db = options.level0_file_num_compaction_trigger(2).write_buffer_size(64 << 10).open("/store").unwrap();
        let family = db.store().family(ColumnFamilyId::DEFAULT).unwrap();
        (db, family, executor)
    }

    /// Puts a row into the default family and freezes the memtable that it is in.
    fn freeze(db: &Db, value: u8) {
        db.put("key", [value]).unwrap();
        db.store().rotate_all().unwrap().unwrap();
    }

    /// The same, in a table of level 0.
    fn add_table(db: &Db, family: &Arc<Family>, value: u8) {
        freeze(db, value);
        assert!(db.store().flush_oldest(family).unwrap());
    }

    fn is_due(db: &Db, family: &Family) -> bool {
        db.store().pick(&mut State::default(), family, None).is_some()
    }

    #[test]
    fn level_0_goes_down_later_while_memtables_wait() {
        let (db, family, executor) = stepped();
        for tables in 1..6_u8 {
            freeze(&db, tables);
            let waiting = format!("a memtable beside {} tables", tables - 1);
            assert_eq!(is_due(&db, &family), tables > 2 * BUSY_TRIGGERS as u8, "{waiting}");
            assert!(db.store().flush_oldest(&family).unwrap());
            assert_eq!(is_due(&db, &family), tables >= 2, "{tables} tables");
        }
        while executor.step() {}
    }

    #[test]
    fn level_0_goes_down_later_while_the_memtable_is_more_than_half_full_unless_somebody_waits_for_it() {
        let (db, family, executor) = stepped();
        (0..2).for_each(|value| add_table(&db, &family, value));
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

    #[test]
    fn of_two_families_the_memtable_that_waits_longest_is_flushed_first() {
        // Covers G4.
        let executor = Arc::<StepExecutor>::default();
        let options = Options::new().fs(Arc::new(MemFs::new())).executor(Arc::clone(&executor) as _);
        let db = options.background_threads(1).open("/store").unwrap();
        let families = ["busy", "other"].map(|name| db.column_family(name).unwrap());
        let frozen =
            || families.each_ref().map(|family| db.store().family(family.id()).unwrap().view.load().frozen.len());
        let [busy, other] = &families;
        for (family, value) in [(busy, 1), (other, 2), (busy, 3)] {
            family.put("key", [value]).unwrap();
            db.store().rotate_all().unwrap().unwrap();
        }
        db.store().schedule();
        let mut seen = vec![frozen()];
        while executor.step() {
            seen.push(frozen());
        }
        // Old logs are worked on between.
        seen.dedup();
        assert_eq!(seen, [[2, 1], [1, 1], [1, 0], [0, 0]]);
    }

    #[test]
    fn one_family_alone_is_flushed_without_a_pause() {
        let (db, family, executor) = stepped();
        (0..2).for_each(|value| freeze(&db, value));
        assert_eq!(family.view.load().frozen.len(), 2);
        db.store().schedule();
        let frozen = || family.view.load().frozen.len();
        while frozen() == 2 {
            assert!(executor.step());
        }
        assert_eq!(frozen(), 0);
        while executor.step() {}
    }

    #[test]
    fn compactions_go_round_the_families() {
        // Covers G4.
        let (db, _, executor) = stepped();
        let _families = ["a", "b"].map(|name| db.column_family(name).unwrap());
        let order = |last| -> Vec<u32> {
            in_turn(&db.store().families.load(), ColumnFamilyId(last)).map(|family| family.id.0).collect()
        };
        assert_eq!(
            (order(0), order(1), order(2), order(7)),
            (vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2], vec![0, 1, 2])
        );
        while executor.step() {}
    }

    #[test]
    fn who_asked_for_a_compaction_waits_for_no_later_ones_and_only_until_one_has_ended() {
        // Covers G5.
        let (db, family, executor) = stepped();
        let store = db.store();
        (0..2).for_each(|value| add_table(&db, &family, value));
        let claim = store.claim(&family);
        store.schedule();
        assert_eq!(store.background.running_compactions(), 0, "the family is claimed");
        drop(claim);
        assert_eq!(store.background.running_compactions(), 1, "and was due");
        let mut claim = store.claim(&family);
        // As a job that runs beside does when it ends.
        *store.background.state.lock().releases.entry(family.id).or_default() += 1;
        claim.wait();
        assert_eq!(store.background.running_compactions(), 1, "the other one is still at work");
        claim.look();
        claim.wait();
        assert_eq!(store.background.running_compactions(), 0, "waited for that one, and helped");
        drop(claim);
        while executor.step() {}
    }
}
