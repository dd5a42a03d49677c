//! One run of a script with one or two calls that fail.
//!
//! # Invariants
//! N1. What was acknowledged is there: after the end of the process and after a power cut, as promised.
//! N2. A call that failed had its effect whole or not at all, and one that found no space had none.
//! N3. After a failed sync of the log, the manifest or the directory nothing is acknowledged any more.
//! N4. A failed sync is never tried again on the same handle; what it covered is on no disk.
//! N5. After a failure that went away, and was neither a sync nor a damaged log or manifest, the store goes
//!     on in the same process; after a full disk always. After every other one reopening it is enough.
//! N6. No call hangs or panics (the driver sees to that).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lsm_engine::ErrorKind;
use lsm_fs::{Crash, MemFs};
use lsm_testkit::faults::Repeat;
use lsm_testkit::{Choices, Failure, Fault, FaultFs};

use crate::history::STORE;
use crate::history::op::{Op, put};
use crate::history::record::Record;
use crate::history::setting::Setting;
use crate::history::world::{World, refusal};
use crate::lane::Steps;
use crate::lanes::crash::recovery::{Recovery, check};

#[derive(Clone)]
pub(super) struct Plan {
    /// What ran before any call fails, and whose process has ended.
    pub(super) prepared: Arc<Prepared>,
    pub(super) ops: Vec<Op>,
    pub(super) setting: Setting,
    pub(super) failure: Failure,
    pub(super) repeat: Repeat,
    /// A second call that fails.
    pub(super) second: Option<u64>,
}

/// A store that is not open, and what it holds.
pub(super) struct Prepared {
    memory: MemFs,
    record: Record,
}

impl Prepared {
    pub(super) fn new(setting: Setting, seed: u64, before: &[Op]) -> Result<Prepared> {
        let mut world = World::new(setting, seed);
        world.open()?;
        for op in before {
            world.run(op)?;
        }
        world.abandon();
        let record = world.record.lock().clone();
        Ok(Prepared { memory: world.memory, record })
    }
}

/// A script that goes on whatever the store refuses.
struct Run {
    world: World,
    fs: FaultFs,
    /// Syncs that had failed when the store was opened.
    failed_before: usize,
}

impl Plan {
    /// How many calls the failure can hit.
    pub(super) fn count(&self) -> Result<u64> {
        let mut run = self.start()?;
        run.script(&self.ops).context("without a failure")?;
        Ok(run.fs.count(self.failure))
    }

    /// Runs the script with call `at` failing, and sees what is left.
    pub(super) fn attempt(&self, at: u64, steps: &mut Steps) -> Result<()> {
        let mut run = self.start()?;
        run.fs.inject(Fault { at, failure: self.failure, repeat: self.repeat });
        if let Some(second) = self.second {
            run.fs.inject_too(Fault::once(second, self.failure));
        }
        self.see(&mut run, at, steps).with_context(|| {
            let (failure, repeat, access) = (self.failure, self.repeat, self.setting.access);
            format!("{failure:?}, {repeat:?}, {access:?} log, first struck: {:?}", run.fs.first_struck())
        })
    }

    fn see(&self, run: &mut Run, at: u64, steps: &mut Steps) -> Result<()> {
        run.script(&self.ops)?;
        ensure!(run.fs.struck() > 0, "nothing was made to fail");
        run.fs.heal();
        let was_open = run.world.is_open();
        if !was_open || !run.goes_on()? {
            steps.count(if was_open { "ended read-only" } else { "ended closed" }, 1);
            ensure!(!was_open || !self.must_go_on(&run.fs), "the store has not gone on (N5)");
            run.reopen().context("reopened without a failure")?;
            ensure!(run.goes_on()?, "the store does not even go on when it is reopened (N5)");
        }
        ensure!(run.fs.retried_syncs() == 0, "a failed sync was tried again (N4)");
        run.survives(at)
    }

    /// N5.
    fn must_go_on(&self, fs: &FaultFs) -> bool {
        let struck = fs.first_struck().unwrap_or_default();
        let is_critical =
            [".log", "MANIFEST", "CURRENT", ".dbtmp", "sync directory"].iter().any(|part| struck.contains(part));
        match (self.failure, self.repeat) {
            (Failure::Sync | Failure::SyncNoSpace | Failure::Panic, _) => false,
            (Failure::NoSpace | Failure::ShortRead | Failure::ShortWrite, _) => true,
            (Failure::Interrupted, _) | (Failure::TooManyFiles, Repeat::Once) => true,
            (Failure::Io | Failure::TornWrite, Repeat::Once) => !is_critical && self.second.is_none(),
            (_, Repeat::Sticky) => false,
        }
    }

    /// The prepared store, with nothing failing yet and not yet open.
    fn start(&self) -> Result<Run> {
        let mut world = World::new(self.setting, 0);
        world.memory = self.prepared.memory.crash(Crash::KeepAll);
        *world.record.lock() = self.prepared.record.clone();
        let fs = world.make_faulty();
        Ok(Run { world, fs, failed_before: 0 })
    }
}

impl Run {
    fn script(&mut self, ops: &[Op]) -> Result<()> {
        if tolerate(self.reopen())?.is_some() {
            tolerate(self.reopen())?;
        }
        for op in ops {
            if !self.world.is_open() && tolerate(self.reopen())?.is_some() {
                continue;
            }
            let is_latched = self.critical_sync_failed();
            match tolerate(self.world.run(op)).with_context(|| format!("{op:?}"))? {
                None => ensure!(!is_latched || !acknowledges(op), "{op:?} was acknowledged after a failed sync (N3)"),
                Some(ErrorKind::ReadOnly | ErrorKind::Closed) => self.world.abandon(),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Ends the process, if it has the store open, and opens it.
    fn reopen(&mut self) -> Result<()> {
        self.world.abandon();
        self.failed_before = self.fs.failed_syncs().len();
        let floor = self.world.record.lock().buffered;
        let opened = self.world.open().and_then(|()| self.world.adopt(floor));
        if opened.is_err() {
            self.world.abandon();
        }
        opened
    }

    /// Whether the store takes a write, a flush and a read, now that nothing fails any more.
    fn goes_on(&mut self) -> Result<bool> {
        if !self.world.is_open() {
            return Ok(false);
        }
        for op in [Op::Write(vec![put(0, 1, 33)], true), Op::Flush, Op::CheckAll, Op::Settle, Op::CheckAll] {
            if let Some(kind) = tolerate(self.world.run(&op))? {
                ensure!(kind == ErrorKind::ReadOnly, "{op:?} without a failure: {kind:?}");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// N1, in several ways.
    fn survives(&mut self, at: u64) -> Result<()> {
        let mut choices = Choices::from_seed(at);
        let record = self.world.record.lock().clone();
        for fate in [Crash::KeepAll, Crash::DropUnsynced, Crash::Random(choices.number())] {
            let survived = fate == Crash::KeepAll;
            let recovery = Recovery { setting: &self.world.setting, record: &record, survived, depth: usize::MAX };
            check(self.world.memory.crash(fate), &recovery, &mut choices).with_context(|| format!("{fate:?}"))?;
        }
        Ok(())
    }

    /// Whether this handle saw the sync of its log, its manifest or its directory fail.
    fn critical_sync_failed(&self) -> bool {
        let failed: Vec<PathBuf> = self.fs.failed_syncs().split_off(self.failed_before);
        let is_critical = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path == Path::new(STORE)
                || path.parent() == Some(Path::new(STORE)) && (name.ends_with(".log") || name.starts_with("MANIFEST"))
        };
        failed.iter().any(is_critical)
    }
}

/// Whether the success of `op` tells the caller that something is safe.
fn acknowledges(op: &Op) -> bool {
    matches!(
        op,
        Op::Write(..)
            | Op::Group(_)
            | Op::Sync
            | Op::Flush
            | Op::Checkpoint
            | Op::CreateFamily(_)
            | Op::DropFamily(_)
            | Op::Close
    )
}

/// What the store refused, if it did; everything else that went wrong is a finding.
fn tolerate(done: Result<()>) -> Result<Option<ErrorKind>> {
    match done {
        Ok(()) => Ok(None),
        Err(error) => match refusal(&error) {
            Some(refused) => Ok(Some(refused.kind())),
            None => Err(error),
        },
    }
}
