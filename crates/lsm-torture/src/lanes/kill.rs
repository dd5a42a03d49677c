//! J: processes that write are killed at random moments, again and again on the same directory.
//!
//! A seed is a directory, a step a round on it: a process opens the store, writes from several threads and says
//! over a pipe what was acknowledged; it is killed 1 to 200 ms after its start, so that recoveries are hit too.
//! Every acknowledged batch must be there, synced or not. Every fourth directory is written by `lsm load`.

mod load;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lsm_testkit::Choices;

use crate::lane::{Lane, Steps};
use crate::real::child::{Child, Start};
use crate::real::ledger::{Ledger, Promise};
use crate::real::script::{FORMAT_OF_LDB, Plan};
use crate::real::tools;

/// See the module.
pub(crate) struct Kill;

/// Kills on one directory.
const ROUNDS: u64 = 12;

/// Milliseconds from the start of a process to its end, at most.
const LIFE_MS_MAX: usize = 200;

impl Lane for Kill {
    fn letter(&self) -> char {
        'J'
    }

    fn name(&self) -> &'static str {
        "kill"
    }

    fn about(&self) -> &'static str {
        "processes that write to a real file system are killed; what they acknowledged must be there"
    }

    fn unit(&self) -> &'static str {
        "kills"
    }

    fn figure(&self) -> u64 {
        300
    }

    /// All settings, and `lsm load`.
    fn seeds(&self) -> u64 {
        20
    }

    fn prepare(&self) -> Result<()> {
        tools::lsm().map(|_| ())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let dir = directory.path().join("db");
        if seed % 4 == 3 { load::run(seed, &dir, steps) } else { writer(seed, &dir, steps) }
    }
}

/// How long a process of this round lives.
pub(super) fn life(choices: &mut Choices) -> Duration {
    Duration::from_micros(choices.within(1_000..=LIFE_MS_MAX * 1_000) as u64)
}

fn writer(seed: u64, dir: &Path, steps: &mut Steps) -> Result<()> {
    let plan = Plan::of(seed);
    let name = plan.setting.name;
    let mut ledger = Ledger::new(plan);
    for round in 0..ROUNDS {
        let mut choices = Choices::from_seed(seed << 8 | round);
        // A round builds on those before it, so all run whichever is wanted.
        steps.begin(round);
        let before = ledger.counts;
        let mut child = Child::start(dir, &ledger, &Start::default())?;
        child.hear_for(&mut ledger, life(&mut choices))?;
        child.kill(&mut ledger).context(name)?;
        steps.count("acknowledged batches", ledger.counts.acknowledged - before.acknowledged);
        anyhow::ensure!(ledger.counts.failed + ledger.counts.refused == 0, "{name}: writes failed on a sound disk");
        // Rounds without a check leave what is there to the next process, whose recovery is killed too.
        let checks = choices.weighted(&[5, 3, 2]);
        match if round + 1 == ROUNDS { 1 } else { checks } {
            0 => check_untouched(dir, &mut ledger),
            1 => check_and_go_on(dir, &mut ledger, &mut choices, steps),
            _ => Ok(()),
        }
        .with_context(|| format!("{name}, after {} acknowledged batches", ledger.counts.acknowledged))?;
        steps.case();
    }
    Ok(())
}

/// Reads the store as the killed process left it, and changes nothing.
fn check_untouched(dir: &Path, ledger: &mut Ledger) -> Result<()> {
    if !dir.join("CURRENT").exists() && ledger.counts.acknowledged == 0 {
        return Ok(());
    }
    let db = ledger.plan().options().read_only(true).open(dir).context("read-only open")?;
    ledger.check(&db, Promise::Acknowledged)
}

/// Opens the store for writing, checks, and closes it.
fn check_and_go_on(dir: &Path, ledger: &mut Ledger, choices: &mut Choices, steps: &mut Steps) -> Result<()> {
    let db = ledger.plan().options().open(dir).context("open")?;
    ledger.check(&db, Promise::Acknowledged)?;
    if choices.one_in(2) {
        db.verify().context("verify")?;
        steps.count("verified", 1);
    }
    db.close().context("close")?;
    let readable = ledger.plan().setting.format_version == FORMAT_OF_LDB;
    if readable && choices.one_in(2) && tools::ldb_is_there() {
        tools::run(tools::ldb(dir).arg("checkconsistency"))?;
        steps.count("consistent for RocksDB", 1);
    }
    Ok(())
}
