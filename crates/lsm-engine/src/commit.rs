//! The write path: one owner of a commit's way from the caller's batch to the acknowledgement.
//!
//! ```text
//!          ┌─ writer lock ────────────────────────────────────┐
//!   gate ─▶│ room in memtables · sequence numbers · log record │─▶ deliver ─▶ insert into ─▶ publish ─▶ leave ─▶ sync
//!          └───────────────────────────────────────────────────┘   (shared)    memtables     in order    gate    (shared)
//!                                                                              (parallel)
//! ```
//!
//! Under the lock nothing waits: the log record is a copy into memory, and a full memtable is met before
//! the log is touched. Inserting happens outside, by as many threads as there are commits inside the gate, which are
//! fewer than there are cores.
//!
//! # Invariants
//! A1. Records stand in the log in the order of their sequence numbers.
//! A2. A memtable is never frozen between a commit's reservation in it and the commit's log record, so a
//!     record lies in a log at or after the memtable's `active_log`.
//! A3. A commit is acknowledged after it is visible; visible means that all before it are in the log.
//! A4. A commit that asked for a sync is visible before it is durable (docs/adr/0003). If the sync
//!     fails, the store is read-only from then on.
//! A5. A commit whose record could not be delivered was never visible: its log is given up behind the last
//!     record that was, the next commit begins another one, and its sequence numbers stay unused.
//! A6. A target's memtable is the active one of its family, for only who holds the writer lock puts another in its place,
//!     and takes the target away.

use crate::family::Family;
use crate::rotate::Full;
use crate::store::Store;
use crate::sync::MutexGuard;
use crate::{Durability, Error, ErrorKind, Result, WriteOptions};
use lsm_core::batch::{Entry, Record};
use lsm_core::{ColumnFamilyId, Kind, SeqNo, WriteBatch};
use lsm_memtable::{EntrySize, Memtable, Reservation};
use lsm_wal::{Position, Wal, WalHandle};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

/// What the commit path owns; behind [`Store::writer`].
pub(crate) struct Writer {
    pub(crate) next_seq: SeqNo,
    pub(crate) wal: Wal,
    /// The newest write that is in no log and perhaps in no table either.
    pub(crate) unlogged: Option<SeqNo>,
    /// Set when the store begins to close: what is written from then on could miss the last flush.
    pub(crate) refuses: bool,
    /// What all memtables take at most, counted anew now and then; of use with several families.
    pub(crate) memtable_bytes: usize,
    /// Where commits go, of the families that were written to since their memtable became the active one.
    targets: Targets,
}

type Targets = BTreeMap<ColumnFamilyId, Target>;

/// A family and its active memtable, without the look at the view that readers take (A6).
struct Target {
    family: Arc<Family>,
    active: Arc<Memtable>,
}

impl Writer {
    pub(crate) fn new(next_seq: SeqNo, wal: Wal) -> Writer {
        Writer { next_seq, wal, unlogged: None, refuses: false, memtable_bytes: 0, targets: Targets::new() }
    }

    /// Forgets a family that was dropped.
    pub(crate) fn forget(&mut self, family: ColumnFamilyId) {
        self.targets.remove(&family);
    }
}

/// A batch that has its sequence numbers, its place in the log, and room in memtables. It is filled where it stays: what
/// was just written in pieces is waited for when it is moved as a whole.
#[derive(Default)]
struct Staged {
    first: SeqNo,
    /// Nearly all batches have one.
    part: Option<Part>,
    others: Vec<Part>,
    log: Option<(Arc<WalHandle>, Position)>,
}

/// A batch that readers see.
pub(crate) struct Applied {
    pub(crate) last_seq: SeqNo,
    pub(crate) durability: Durability,
    log: Option<(Arc<WalHandle>, Position)>,
}

/// The share of one family in a batch.
struct Part {
    family: ColumnFamilyId,
    reservation: Reservation,
}

/// What came of a try to stage a batch.
enum Attempt {
    Staged,
    /// There are fresh memtables, so the next try may succeed.
    Rotated,
    /// All memtables together take too much.
    OverBudget,
    /// These cannot be frozen before a flush.
    Crowded(Vec<Full>),
}

impl Store {
    /// Commits `batch` with the durability it asks for.
    pub(crate) fn commit(self: &Arc<Self>, mut batch: WriteBatch, options: &WriteOptions) -> Result<()> {
        let applied = self.apply(&mut batch, options)?;
        self.settle(&applied)
    }

    /// Makes `batch` visible; its durability comes with [`Store::settle`].
    pub(crate) fn apply(self: &Arc<Self>, batch: &mut WriteBatch, options: &WriteOptions) -> Result<Applied> {
        self.health.check_writable()?;
        let durability = options.durability.unwrap_or(self.options.durability);
        if batch.count() == 0 {
            return Ok(Applied { last_seq: self.publisher.visible(), durability, log: None });
        }
        let help = || self.background.help();
        let alive = || self.check_progress();
        if self.pacer.is_pressed() && (self.background.blocked().is_some() || self.background.shortage().is_some()) {
            self.retry();
        }
        self.pacer.admit(batch.byte_size(), options.no_stall, help, alive)?;
        let mut staged = Staged::default();
        let place = self.stage(&mut staged, batch, durability, options.no_stall)?;
        let count = u64::from(batch.count());
        let turn = self.publisher.turn(staged.first, count);
        let delivered = self.fenced(|| {
            let delivered = self.deliver(&staged);
            if delivered.is_ok() {
                staged.insert(batch);
            }
            delivered
        });
        let is_visible = turn.publish();
        drop(place);
        if !is_visible {
            return Err(self.halted());
        }
        delivered?;
        Ok(Applied { last_seq: staged.first.plus(count - 1), durability, log: staged.log })
    }

    /// Returns once an applied batch has the durability it asked for (A4).
    pub(crate) fn settle(self: &Arc<Self>, applied: &Applied) -> Result<()> {
        let Some((log, position)) = &applied.log else {
            return if applied.durability == Durability::Synced { self.sync() } else { Ok(()) };
        };
        let done = self.fenced(|| match applied.durability {
            Durability::Synced => log.sync(*position),
            // It was delivered before it was visible (A5).
            Durability::Buffered | Durability::Unlogged => Ok(()),
        });
        done.map_err(|error| self.log_failed(log, error))
    }

    /// Hands a staged batch to the system, or gives up the log in which it is (A5).
    fn deliver(&self, staged: &Staged) -> Result<()> {
        let Some((log, position)) = &staged.log else { return Ok(()) };
        let Err(error) = log.deliver(*position) else { return Ok(()) };
        if log.has_failed() {
            return Err(self.fail(error));
        }
        let mut guard = self.writer.lock();
        match guard.as_mut().filter(|writer| Arc::ptr_eq(&writer.wal.handle(), log)) {
            // Somebody else has given it up, or delivered it to begin the next one.
            None => Ok(log.deliver(*position)?),
            Some(writer) => match self.fenced(|| writer.wal.abandon(*position, &error)) {
                Ok(true) => Err(error.into()),
                Ok(false) => Ok(()),
                Err(error) => Err(self.fail(error)),
            },
        }
    }

    /// The part under the writer lock. The place at the gate is kept until the batch is visible.
    fn stage(
        self: &Arc<Self>,
        staged: &mut Staged,
        batch: &mut WriteBatch,
        durability: Durability,
        no_stall: bool,
    ) -> Result<MutexGuard<'_, ()>> {
        loop {
            let place = self.gate.enter();
            let mut guard = self.writer.lock();
            self.health.check_writable()?;
            let writer = guard.as_mut().filter(|writer| !writer.refuses).ok_or_else(Error::closed)?;
            let attempt = self.fenced(|| self.try_stage(writer, staged, batch, durability));
            // Room that was taken goes back under the lock, before anybody takes more behind it.
            match attempt.inspect_err(|_| staged.clear())? {
                Attempt::Staged => return Ok(place),
                Attempt::Rotated => {}
                Attempt::OverBudget => {
                    drop((guard, place));
                    self.wait_for_memtable(|| self.is_over_budget(), no_stall)?;
                }
                Attempt::Crowded(full) => {
                    drop((guard, place));
                    let is_crowded = |full: &Full| full.family.view.load().is_crowded();
                    self.wait_for_memtable(|| full.iter().any(is_crowded), no_stall)?;
                }
            }
        }
    }

    fn try_stage(
        self: &Arc<Self>,
        writer: &mut Writer,
        staged: &mut Staged,
        batch: &mut WriteBatch,
        durability: Durability,
    ) -> Result<Attempt> {
        if writer.wal.is_abandoned() {
            self.switch_log(writer)?;
        }
        if !self.relieve(writer, batch.byte_size())? {
            return Ok(Attempt::OverBudget);
        }
        let full = self.reserve(&mut writer.targets, staged, batch)?;
        if !full.is_empty() {
            staged.clear();
            return Ok(if self.rotate(writer, &full)? { Attempt::Rotated } else { Attempt::Crowded(full) });
        }
        staged.first = writer.next_seq;
        let next_seq = SeqNo::checked(staged.first.get() + u64::from(batch.count()))
            .ok_or_else(|| Error::invalid_argument("all sequence numbers are used up"))?;
        batch.set_seq(staged.first);
        staged.log = match durability {
            Durability::Unlogged => {
                writer.unlogged = Some(SeqNo::new(next_seq.get() - 1));
                None
            }
            Durability::Buffered | Durability::Synced => {
                let position = writer.wal.append(batch.as_bytes())?;
                self.give_out_chore(writer);
                let is_safe = durability == Durability::Buffered && writer.wal.is_delivered(position);
                (!is_safe).then(|| (writer.wal.handle(), position))
            }
        };
        writer.next_seq = next_seq;
        self.counters.note_commit(batch);
        let last = SeqNo::new(next_seq.get() - 1);
        for part in staged.parts() {
            let target = writer.targets.get(&part.family).expect("A6: room was reserved in it");
            // Not when room was taken: if another family had none, it went back under this lock, behind which nobody had
            // taken more, and a memtable that was empty is as good as new.
            target.family.mark_dirty();
            target.family.dead.write(last, keys_brought_to_life(batch, part.family));
        }
        Ok(Attempt::Staged)
    }

    /// Room for all of `batch`, or the families that have none.
    fn reserve(&self, targets: &mut Targets, staged: &mut Staged, batch: &WriteBatch) -> Result<Vec<Full>> {
        let mut full: Vec<Full> = Vec::new();
        let mut next = entries(batch).next().map(|entry| entry.family);
        while let Some(id) = next.take() {
            let target = self.target(targets, id)?;
            let is_done =
                |id| staged.parts().any(|part| part.family == id) || full.iter().any(|full| full.family.id == id);
            // The same walk finds out whether there is another family.
            let is_own = |entry: &Entry<'_>| {
                let is_other = entry.family != id;
                if is_other && next.is_none() && !is_done(entry.family) {
                    next = Some(entry.family);
                }
                !is_other
            };
            match target.active.reserve(entries(batch).filter(is_own).map(size_of_entry)) {
                Ok(reservation) => staged.push(Part { family: id, reservation }),
                Err(_) => {
                    let own = entries(batch).filter(|entry| entry.family == id);
                    let needed_bytes = Memtable::required_bytes(own.map(size_of_entry));
                    check_fits_any(needed_bytes)?;
                    full.push(Full { family: Arc::clone(&target.family), needed_bytes });
                }
            }
        }
        Ok(full)
    }

    /// Where commits into a family go (A6).
    fn target<'a>(&self, targets: &'a mut Targets, id: ColumnFamilyId) -> Result<&'a Target> {
        let target = match targets.entry(id) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let family = self.family(id)?;
                let active = Arc::clone(&family.view.load().active);
                slot.insert(Target { family, active })
            }
        };
        let dropped = || Error::invalid_argument(format!("column family {} was dropped", id.0));
        if target.family.is_dropped() { Err(dropped()) } else { Ok(target) }
    }

    /// Waits while `crowded` says that there is no room for another memtable.
    fn wait_for_memtable(self: &Arc<Self>, crowded: impl Fn() -> bool, no_stall: bool) -> Result<()> {
        self.retry();
        self.pacer.wait_for_change(
            "all memtables wait for their flush",
            no_stall,
            crowded,
            || self.background.help(),
            || self.check_flushes(),
        )
    }

    /// A full disk is an error to writers that wait for background work, not a wait without end. If only compactions
    /// do not fit, that is where they would have to wait for one.
    fn check_progress(&self) -> Result<()> {
        self.check_flushes()?;
        match self.background.shortage().filter(|_| self.pacer.pressure().degree >= 1.0) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// As [`Store::check_progress`], of those that wait for a flush.
    fn check_flushes(&self) -> Result<()> {
        self.health.check_writable()?;
        match self.background.blocked() {
            Some(error) if error.kind() == ErrorKind::NoSpace => Err(error),
            _ => Ok(()),
        }
    }
}

/// Refuses a batch for which no memtable is large enough: fresh ones would be put in each other's place without end.
#[cold]
fn check_fits_any(needed_bytes: usize) -> Result<()> {
    const BYTES_MAX: usize = Memtable::CAPACITY_MAX;
    if needed_bytes <= BYTES_MAX {
        return Ok(());
    }
    let detail =
        format!("a batch that takes {needed_bytes} bytes of memory for one column family, more than {BYTES_MAX}");
    Err(Error::invalid_argument(detail))
}

impl Staged {
    fn push(&mut self, part: Part) {
        match &self.part {
            None => self.part = Some(part),
            Some(_) => self.others.push(part),
        }
    }

    fn clear(&mut self) {
        self.part = None;
        self.others.clear();
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.part.iter().chain(&self.others)
    }

    fn insert(&mut self, batch: &WriteBatch) {
        let mut seq = self.first;
        for entry in entries(batch) {
            let part = self.part.iter_mut().chain(&mut self.others).find(|part| part.family == entry.family);
            let part = part.expect("every family of the batch has a reservation");
            part.reservation.insert(entry.key, seq, entry.kind, entry.value);
            seq = seq.plus(1);
        }
    }
}

fn keys_brought_to_life(batch: &WriteBatch, family: ColumnFamilyId) -> impl Iterator<Item = &[u8]> {
    let gives_life = move |entry: &Entry<'_>| entry.family == family && matches!(entry.kind, Kind::Value | Kind::Merge);
    entries(batch).filter(gives_life).map(|entry| entry.key)
}

pub(crate) fn entries(batch: &WriteBatch) -> impl Iterator<Item = Entry<'_>> {
    batch.records().filter_map(|record| match record {
        Record::Entry(entry) => Some(entry),
        Record::LogData(_) => None,
    })
}

pub(crate) fn size_of_entry(entry: Entry<'_>) -> EntrySize {
    EntrySize { kind: entry.kind, key_bytes: entry.key.len(), value_bytes: entry.value.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_no_memtable_can_hold_is_refused() {
        let needed_bytes = |values: usize| {
            let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 1 << 30 };
            Memtable::required_bytes(std::iter::repeat_n(size, values))
        };
        for needed_bytes in [0, needed_bytes(15), Memtable::CAPACITY_MAX] {
            assert!(check_fits_any(needed_bytes).is_ok());
        }
        for needed_bytes in [Memtable::CAPACITY_MAX + 1, needed_bytes(16), usize::MAX] {
            let error = check_fits_any(needed_bytes).expect_err("it would rotate without end");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
