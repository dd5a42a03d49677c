//! Opens what a crash left, twice, and crashes that too.

use std::sync::Arc;

use anyhow::{Context, Error, Result, ensure};
use lsm_compaction::StepExecutor;
use lsm_core::SeqNo;
use lsm_engine::{Db, Fs};
use lsm_fs::{Crash, MemFs};
use lsm_testkit::faults::Moment;
use lsm_testkit::{Choices, FaultFs};
use parking_lot::Mutex;

use super::fates;
use crate::history::STORE;
use crate::history::record::Record;
use crate::history::setting::Setting;
use crate::history::survivor::{check_checkpoint, check_files, state_of};

/// How deep recoveries are crashed.
const DEPTH_MAX: usize = 3;

/// Of so many recoveries one is crashed at some of its calls, by depth.
const CRASHED_ONE_IN: [usize; DEPTH_MAX] = [120, 12, 6];

/// Of so many calls of a crashed recovery one is a crash point, by depth.
const POINTS_ONE_IN: [usize; DEPTH_MAX] = [2, 6, 12];

/// Of so many recovered stores one is verified.
const VERIFIED_ONE_IN: usize = 16;

/// Of so many checkpoints one is opened.
const COPIES_ONE_IN: usize = 8;

/// What is to be recovered and what was promised.
#[derive(Clone, Copy)]
pub(in crate::lanes) struct Recovery<'a> {
    pub(in crate::lanes) setting: &'a Setting,
    pub(in crate::lanes) record: &'a Record,
    /// Whether only processes ended since the record was made, so that everything buffered is there.
    pub(in crate::lanes) survived: bool,
    pub(in crate::lanes) depth: usize,
}

/// Recoveries that were tried and held.
#[derive(Clone, Copy, Default)]
pub(in crate::lanes) struct Counted {
    pub(in crate::lanes) recoveries: u64,
    pub(in crate::lanes) nested: u64,
}

/// Opens `memory`, and what two more crashes leave of it.
pub(in crate::lanes) fn check(memory: MemFs, recovery: &Recovery<'_>, choices: &mut Choices) -> Result<Counted> {
    let floor = if recovery.survived { recovery.record.buffered } else { recovery.record.synced };
    let is_crashed = recovery.depth < DEPTH_MAX && choices.one_in(CRASHED_ONE_IN[recovery.depth]);
    let mut counted = Counted { recoveries: 1, nested: 0 };
    let db = if is_crashed {
        crashed_open(&memory, recovery, choices, &mut counted)?
    } else {
        open(recovery.setting, Arc::new(memory.clone()))?
    };
    let first = state_of(&db, recovery.record, floor)?;
    if choices.one_in(VERIFIED_ONE_IN) {
        db.verify().context("verify")?;
    }
    for copy in &recovery.record.checkpoints {
        if choices.one_in(COPIES_ONE_IN) {
            check_checkpoint(copy, recovery.record, recovery.setting, Arc::new(memory.clone()))?;
        }
    }
    // Once it was opened, what is there stays there, whatever comes.
    let fate =
        *choices.pick(&[None, Some(Crash::KeepAll), Some(Crash::DropUnsynced), Some(Crash::Random(choices.seed()))]);
    let left = match fate {
        None => {
            db.close().context("close")?;
            memory
        }
        Some(fate) => {
            let left = memory.crash(fate);
            drop(db);
            left
        }
    };
    let again = open(recovery.setting, Arc::new(left.clone())).context("the second open")?;
    let second = state_of(&again, recovery.record, SeqNo::ZERO).context("the second open")?;
    ensure!(
        first.holds_the_same(&second),
        "the first open found the state at {}, the second one, after {}, that at {}",
        first.state,
        fate.map_or("close".to_owned(), |fate| format!("{fate:?}")),
        second.state
    );
    // The first one leaves files alone when the manifest had a torn end.
    check_files(&again, &left)?;
    Ok(counted)
}

fn open(setting: &Setting, fs: Arc<dyn Fs>) -> Result<Db> {
    setting.options(fs, Arc::new(StepExecutor::new())).open(STORE).context("open")
}

/// Opens `memory` and crashes that at some of its calls.
fn crashed_open(memory: &MemFs, recovery: &Recovery<'_>, choices: &mut Choices, counted: &mut Counted) -> Result<Db> {
    let points: Arc<Mutex<Points>> = Arc::default();
    let fs = FaultFs::over(memory.clone());
    let (world, seen) = (memory.clone(), Arc::clone(&points));
    let (seed, one_in) = (choices.number(), POINTS_ONE_IN[recovery.depth]);
    fs.observe(Arc::new(move |moment: &Moment<'_>| {
        let mut choices = Choices::from_seed(seed ^ moment.number);
        if choices.one_in(one_in) {
            let name = format!("{} {}", moment.name, moment.path.display());
            for fate in fates::some(&mut choices) {
                seen.lock().0.push((fate, name.clone(), world.crash(fate)));
            }
        }
    }));
    let db = open(recovery.setting, Arc::new(fs.clone()))?;
    fs.unobserve();
    let points = std::mem::take(&mut points.lock().0);
    for (fate, name, left) in points {
        let survived = recovery.survived && fate == Crash::KeepAll;
        let deeper = Recovery { survived, depth: recovery.depth + 1, ..*recovery };
        let inner = check(left, &deeper, choices)
            .map_err(|error: Error| error.context(format!("{fate:?} of a recovery before {name}")))?;
        counted.recoveries += inner.recoveries;
        counted.nested += 1 + inner.nested;
    }
    Ok(db)
}

/// Crashes of a recovery that are to be looked at.
#[derive(Default)]
struct Points(Vec<(Crash, String, MemFs)>);
