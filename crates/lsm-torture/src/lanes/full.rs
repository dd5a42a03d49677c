//! N: a file system filled to the brim, file handles used up, files that may not grow.
//!
//! | seed modulo 4 | limit |
//! |---|---|
//! | 0, 1 | a file system of a few megabytes; a part of it is freed while the process goes on |
//! | 2 | open files |
//! | 3 | the size of a file: writes come back short, then fail |
//!
//! Every write is answered. One answered with `NoSpace` is not there and never comes; one that is acknowledged is
//! there, after a kill, too. Once space is freed the same process is acknowledged again.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lsm_fs::{Fs, OsFs};
use lsm_testkit::Choices;

use crate::lane::{Lane, Steps};
use crate::real::child::{Child, Start};
use crate::real::ground::{self, Mount};
use crate::real::ledger::{Ledger, Promise};
use crate::real::script::Plan;

/// See the module.
pub(crate) struct Full;

/// How long a process may take to fill what it is given, or to go on.
const PATIENCE: Duration = Duration::from_secs(40);

impl Lane for Full {
    fn letter(&self) -> char {
        'N'
    }

    fn name(&self) -> &'static str {
        "full"
    }

    fn about(&self) -> &'static str {
        "the disk is full, no file can be opened, no file may grow"
    }

    fn unit(&self) -> &'static str {
        "limits hit"
    }

    fn figure(&self) -> u64 {
        40
    }

    fn unavailable(&self) -> Option<String> {
        ground::why_not()
    }

    fn patience(&self) -> Duration {
        4 * PATIENCE
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let mut choices = Choices::from_seed(seed);
        // Each limit meets each setting.
        let plan = Plan::of(seed / 4 + seed % 4 * 1000);
        let name = plan.setting.name;
        let mut ledger = Ledger::new(plan);
        let directory = tempfile::tempdir()?;
        if !steps.begin(0) {
            return Ok(());
        }
        match seed % 4 {
            0 | 1 => disk(directory.path(), &mut ledger, &mut choices),
            2 => limited(directory.path(), &mut ledger, &format!("ulimit -n {}", choices.within(10..=60))),
            _ => {
                let blocks = choices.within(40..=1_000);
                limited(directory.path(), &mut ledger, &format!("trap '' XFSZ; ulimit -f {blocks}"))
            }
        }
        .with_context(|| format!("{name}, {} acknowledged", ledger.counts.acknowledged))?;
        let counts = ledger.counts;
        steps.count("acknowledged batches", counts.acknowledged);
        steps.count("refused", counts.refused);
        steps.count("failed", counts.failed);
        steps.case();
        Ok(())
    }
}

/// Fills a small file system, frees a part while the process goes on, may fill it again, kills the process.
fn disk(at: &Path, ledger: &mut Ledger, choices: &mut Choices) -> Result<()> {
    let megabytes = choices.within(4..=10);
    let mount = Mount::tmpfs(at, (megabytes as u64) << 20)?;
    // Half of it: as much as the store can take, so that any compaction fits once it is freed.
    let ballast = mount.at().join("ballast");
    File::create(&ballast)?.write_all(&vec![1; megabytes << 19])?;
    let dir = mount.at().join("db");
    let mut child = Child::start(&dir, ledger, &Start::default())?;
    child.hear(ledger, PATIENCE, |ledger, _| ledger.counts.refused >= 10).context("until the disk is full")?;
    std::fs::remove_file(&ballast)?;
    let before = ledger.counts;
    child.hear(ledger, PATIENCE, |ledger, _| ledger.counts.acknowledged >= before.acknowledged + 50).with_context(
        || {
            let free = OsFs.free_space(mount.at()).map_or(0, |bytes| bytes >> 10);
            let acknowledged = ledger.counts.acknowledged - before.acknowledged;
            let refused = ledger.counts.refused - before.refused;
            format!("since space was freed: {acknowledged} acknowledged, {refused} refused; {free} KiB are free now")
        },
    )?;
    if choices.one_in(2) {
        let before = ledger.counts.refused;
        child
            .hear(ledger, PATIENCE, |ledger, _| ledger.counts.refused >= before + 10)
            .context("until it is full again")?;
    }
    child.kill(ledger)?;
    mount.resize(64 << 20)?;
    ledger.reopen(&dir, Promise::Acknowledged)
}

/// Runs the process under a limit of the shell until it has written enough or fails for good.
fn limited(at: &Path, ledger: &mut Ledger, limits: &str) -> Result<()> {
    let dir = at.join("db");
    let shell = ["sh", "-c", &format!("{limits}; exec \"$0\" \"$@\"")].map(str::to_owned);
    let start = Start { under: &shell, batches: Some(400), ..Start::default() };
    let mut child = Child::start(&dir, ledger, &start)?;
    let threads = ledger.plan().threads();
    // A store that cannot even be opened is an end, too.
    let _ = child.hear(ledger, PATIENCE, |ledger, _| ledger.counts.done == threads);
    ensure!(!child.panicked(), "{limits}: the process panicked{}", child.complaint());
    let _ = child.kill(ledger);
    ledger.reopen(&dir, Promise::Acknowledged).context(limits.to_owned())
}
