//! A store and its record, and the calls that change both.
//!
//! A call that the store refuses gives its error back, and the record then holds what is visible in the
//! store (R3): all of the batch or nothing of it. Everything else that is not as it should be is an error
//! that no [`lsm_engine::Error`] is behind, see [`refusal`].

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use lsm_compaction::StepExecutor;
use lsm_core::SeqNo;
use lsm_engine::{
    ColumnFamily, ColumnFamilyOptions, Commit, Db, Durability, ErrorKind, Snapshot, WriteBatch, WriteOptions,
};
use lsm_fs::{Crash, Fs, MemFs};
use lsm_testkit::{AppendOperator, FaultFs, Write};
use parking_lot::Mutex;

use super::STORE;
use super::op::{Change, Op, SLOTS, key};
use super::record::{Checkpoint, Record, Step, family_name};
use super::setting::Setting;
use super::survivor;
use crate::gate::Gate;

pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) memory: MemFs,
    /// What the store sees: `memory`, or something around it.
    pub(crate) fs: Arc<dyn Fs>,
    /// Shared with those who look at the store while a call is under way.
    pub(crate) record: Arc<Mutex<Record>>,
    pub(crate) gate: Option<Arc<Gate>>,
    executor: Arc<StepExecutor>,
    pub(super) db: Option<Db>,
    pub(super) families: [Option<ColumnFamily>; SLOTS],
    pub(super) snapshots: Vec<(Snapshot, SeqNo)>,
    checkpoints: u64,
    /// The state before a batch whose call failed, while nobody could look whether it is there, and whether it
    /// failed for want of space.
    unsettled: Option<(SeqNo, bool)>,
}

/// The store's own error, if it refused a call.
pub(crate) fn refusal(error: &anyhow::Error) -> Option<&lsm_engine::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

impl World {
    /// A store that is not open yet on an empty file system, with ids that follow from `seed`.
    pub(crate) fn new(setting: Setting, seed: u64) -> World {
        let memory = MemFs::seeded(seed);
        World {
            setting,
            fs: Arc::new(memory.clone()),
            memory,
            record: Arc::new(Mutex::new(Record::new())),
            gate: None,
            executor: Arc::default(),
            db: None,
            families: Default::default(),
            snapshots: Vec::new(),
            checkpoints: 0,
            unsettled: None,
        }
    }

    /// From its next opening on the store sees the disk through a faulty file system.
    pub(crate) fn make_faulty(&mut self) -> FaultFs {
        let fs = FaultFs::over(self.memory.clone());
        self.fs = Arc::new(fs.clone());
        fs
    }

    /// Opens the store and the families that it has.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.executor = Arc::default();
        let options = self.setting.options(Arc::clone(&self.fs), Arc::clone(&self.executor));
        let db = options.open(STORE).context("open")?;
        let names = db.column_families();
        for slot in 1..SLOTS {
            self.families[slot] = None;
            if names.iter().any(|name| name == family_name(slot)) {
                self.families[slot] = Some(family(&db, slot)?);
            }
        }
        self.db = Some(db);
        Ok(())
    }

    /// The store; a history has one between its calls.
    pub(super) fn db(&self) -> Result<&Db> {
        self.db.as_ref().context("the store is not open")
    }

    pub(crate) fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// Ends the process that has the store open, if there is one.
    pub(crate) fn abandon(&mut self) {
        drop(self.let_go());
    }

    /// Runs one call.
    pub(crate) fn run(&mut self, op: &Op) -> Result<()> {
        self.settle_refused()?;
        match op {
            Op::Write(changes, synced) => self.write(changes, *synced)?,
            Op::Group(batches) => self.group(batches)?,
            Op::Sync => {
                self.db()?.sync()?;
                self.record.lock().acknowledge(true);
            }
            Op::Get(number) => self.check_get(&key(*number))?,
            Op::Snapshot => {
                let snapshot = self.db()?.snapshot();
                let at = self.record.lock().last();
                self.snapshots.push((snapshot, at));
            }
            Op::DropSnapshot => drop(self.snapshots.pop()),
            Op::CheckAll => self.check_all()?,
            Op::CheckRange(from, to) => self.check_range(&key(*from), &key(*to))?,
            Op::Walk(moves) => self.walk(moves)?,
            Op::Flush => {
                self.db()?.flush()?;
                // Tables are synced; what the flush holds needs no log any more.
                self.record.lock().acknowledge(true);
            }
            Op::Compact(from, to) => {
                let bound =
                    |number: &Option<u8>| number.map_or(Bound::Unbounded, |number| Bound::Included(key(number)));
                self.db()?.compact_range((bound(from), bound(to)))?;
                self.record.lock().acknowledge(true);
            }
            Op::Step => drop(self.executor.step()),
            Op::Settle => self.db()?.wait_for_compactions()?,
            Op::Checkpoint => self.checkpoint()?,
            Op::Verify => {
                self.db()?.verify()?;
            }
            Op::CreateFamily(slot) => self.create_family(*slot)?,
            Op::DropFamily(slot) => self.drop_family(*slot)?,
            Op::Close => {
                let end = self.let_go().context("the store is not open")?.close();
                end.context("close")?;
                self.record.lock().acknowledge(true);
                self.open()?;
            }
            Op::Kill => self.crash(Crash::KeepAll)?,
            Op::PowerCut(seed) => self.crash(Crash::Random(*seed))?,
            Op::Fill(left) => self.memory.set_capacity(Some(self.used_bytes()? + left)),
            Op::MakeRoom => self.memory.set_capacity(None),
            Op::Refused(op) => {
                let Err(error) = self.run(op) else { bail!("{op:?} found space on a full disk") };
                let kind = refusal(&error).map(lsm_engine::Error::kind);
                ensure!(kind == Some(ErrorKind::NoSpace), "on a full disk: {error:#}");
            }
        }
        Ok(())
    }

    /// Drops everything that holds the store, and hands it over.
    pub(crate) fn let_go(&mut self) -> Option<Db> {
        self.snapshots.clear();
        self.families = Default::default();
        self.db.take()
    }

    fn write(&mut self, changes: &[Change], synced: bool) -> Result<()> {
        let synced = synced && self.setting.syncs;
        let before = self.record.lock().last();
        let batch = self.batch(changes);
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        match self.db()?.write_with(batch, &WriteOptions::new().durability(durability)) {
            Ok(()) => self.record.lock().acknowledge(synced),
            Err(error) => return self.refused(before, error).context("write"),
        }
        Ok(())
    }

    /// The batch of `changes`, which the record has at once (R1).
    fn batch(&self, changes: &[Change]) -> WriteBatch {
        let steps = self.record.lock().write(changes, |slot| slot == 0 || self.families[slot].is_some());
        let mut batch = WriteBatch::new();
        for (slot, key, step) in steps {
            match (step, self.families[slot].as_ref()) {
                (Step::DeleteRange(start, end), Some(family)) => batch.delete_range_cf(family, start..end),
                (Step::DeleteRange(start, end), None) => batch.delete_range(start..end),
                (Step::Write(Write::Put(value)), Some(family)) => batch.put_cf(family, &key, value),
                (Step::Write(Write::Put(value)), None) => batch.put(&key, value),
                (Step::Write(Write::Delete), Some(family)) => batch.delete_cf(family, &key),
                (Step::Write(Write::Delete), None) => batch.delete(&key),
                (Step::Write(Write::SingleDelete), Some(family)) => batch.single_delete_cf(family, &key),
                (Step::Write(Write::SingleDelete), None) => batch.single_delete(&key),
                (Step::Write(Write::Merge(operand)), Some(family)) => batch.merge_cf(family, &key, operand),
                (Step::Write(Write::Merge(operand)), None) => batch.merge(&key, operand),
            }
        }
        batch
    }

    /// A write failed that came after the state at `before`.
    fn refused(&mut self, before: SeqNo, error: lsm_engine::Error) -> Result<()> {
        self.unsettled = Some((before, error.kind() == ErrorKind::NoSpace));
        match self.settle_refused() {
            // Nor can it be read now.
            Err(second) if refusal(&second).is_some() => {}
            settled => settled.context(error.to_string())?,
        }
        Err(error.into())
    }

    /// Is a batch whose call failed visible, whole, or not at all (R3)? One that found no space is not.
    fn settle_refused(&mut self) -> Result<()> {
        let Some((before, for_space)) = self.unsettled else { return Ok(()) };
        let mut record = self.record.lock();
        if self.shows(&record, before)? {
            record.rewind(before);
        } else {
            ensure!(self.shows(&record, record.last())?, "a part of a failed write is visible");
            ensure!(!for_space, "a write that found no space is visible");
        }
        drop(record);
        self.unsettled = None;
        Ok(())
    }

    /// Takes what an opened store holds for the record: some state from the last one on that was promised.
    pub(crate) fn adopt(&mut self, floor: SeqNo) -> Result<()> {
        let mut record = self.record.lock();
        let found = survivor::state_of(self.db()?, &record, floor)?.state;
        record.rewind(found);
        record.acknowledge(true);
        survivor::settle_slots(self.db()?, &mut record);
        drop(record);
        self.unsettled = None;
        Ok(())
    }

    /// Batches through the writer thread. With a gate the first one is on its way before the others are
    /// submitted, which then form one group; without, each waits for the one before.
    fn group(&mut self, batches: &[Vec<Change>]) -> Result<()> {
        let options = WriteOptions::new().durability(Durability::Synced);
        let mut commits: Vec<Commit> = Vec::new();
        for (index, changes) in batches.iter().enumerate() {
            let before = self.record.lock().last();
            let batch = self.batch(changes);
            let gate = self.gate.as_ref().filter(|_| index == 0 && batches.len() > 1);
            gate.inspect(|gate| gate.shut());
            let synced = self.setting.syncs && index + 1 == batches.len();
            let commit = if synced { self.db()?.submit_with(batch, &options) } else { self.db()?.submit(batch) };
            gate.inspect(|gate| gate.wait_for_arrival());
            if self.gate.is_none() {
                match commit.wait() {
                    Ok(()) => self.record.lock().acknowledge(synced),
                    Err(error) => return self.refused(before, error).context("submit"),
                }
            }
            commits.push(commit);
        }
        self.gate.as_ref().inspect(|gate| gate.open());
        for commit in &commits {
            commit.wait().context("submit")?;
        }
        self.record.lock().acknowledge(self.setting.syncs);
        Ok(())
    }

    fn create_family(&mut self, slot: usize) -> Result<()> {
        if self.families[slot].is_some() {
            return Ok(());
        }
        self.record.lock().begin_create(slot);
        self.families[slot] = Some(family(self.db()?, slot)?);
        self.record.lock().slots[slot].must_exist = true;
        Ok(())
    }

    fn drop_family(&mut self, slot: usize) -> Result<()> {
        if self.families[slot].is_none() {
            return Ok(());
        }
        self.record.lock().slots[slot].must_exist = false;
        self.db()?.drop_column_family(family_name(slot))?;
        self.families[slot] = None;
        self.record.lock().slots[slot].may_exist = false;
        Ok(())
    }

    fn crash(&mut self, crash: Crash) -> Result<()> {
        let left = self.memory.crash(crash);
        ensure!(self.let_go().is_some(), "the store is not open");
        self.memory = left;
        self.fs = Arc::new(self.memory.clone());
        self.open()?;
        let floor = {
            let record = self.record.lock();
            if crash == Crash::KeepAll { record.buffered } else { record.synced }
        };
        self.adopt(floor)?;
        self.check_all()
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.checkpoints += 1;
        let target = format!("/checkpoint-{}", self.checkpoints);
        self.db()?.checkpoint(&target).context("checkpoint")?;
        let mut record = self.record.lock();
        record.acknowledge(true);
        let copy = Checkpoint { path: target, at: record.last(), slots: record.slots };
        record.checkpoints.push(copy.clone());
        survivor::check_checkpoint(&copy, &record, &self.setting, Arc::clone(&self.fs))
    }

    fn used_bytes(&self) -> Result<u64> {
        let mut used = 0;
        for name in self.memory.read_dir(Path::new(STORE))? {
            used += self.memory.metadata(&Path::new(STORE).join(name))?.bytes;
        }
        Ok(used)
    }
}

pub(super) fn family(db: &Db, slot: usize) -> lsm_engine::Result<ColumnFamily> {
    let options = ColumnFamilyOptions::new().merge_operator(Arc::new(AppendOperator));
    db.column_family_with(family_name(slot), options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::op::Mix;
    use crate::history::setting::SMALL;
    use lsm_testkit::Choices;

    /// Every file of the store after a random history.
    fn files(seed: u64, history: u64) -> Vec<(String, Vec<u8>)> {
        let mut world = World::new(SMALL, seed);
        world.open().unwrap();
        let mut choices = Choices::from_seed(history);
        for _ in 0..300 {
            world
                .run(&Op::random(&mut choices, &Mix { value_bytes_max: 900, ends: 6, full_checks: 10, reads: 20 }))
                .unwrap();
        }
        world.abandon();
        let directory = Path::new(STORE);
        let mut names = world.memory.read_dir(directory).unwrap();
        names.sort();
        let content = |name: &String| {
            let file = world.memory.open(&directory.join(name)).unwrap();
            let mut bytes = vec![0; file.size().unwrap() as usize];
            file.read_exact_at(0, &mut bytes).unwrap();
            bytes
        };
        names.iter().map(|name| (name.clone(), content(name))).collect()
    }

    // What a lane finds comes back with its seed only so.
    #[test]
    fn every_byte_of_a_store_follows_from_its_seed_and_its_history() {
        assert_eq!(files(1, 7), files(1, 7));
        assert_ne!(files(1, 7), files(2, 7));
    }
}
