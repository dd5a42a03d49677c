//! Q: two processes, or two handles, on one directory.
//!
//! The second to open a store is answered `Locked`, in whichever process it is, and so is RocksDB's `ldb` where it
//! is installed, in either order. A read-only open needs no lock and sees what was acknowledged. A process that is
//! killed holds no lock.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lsm_engine::ErrorKind;

use crate::lane::{Lane, Steps};
use crate::real::child::{Child, Start};
use crate::real::ledger::{Ledger, Promise};
use crate::real::script::{FORMAT_OF_LDB, Plan};
use crate::real::tools;

/// See the module.
pub(crate) struct Locks;

/// Batches of each thread before a process only holds the store.
const BATCHES: u64 = 60;

/// How long a process may take to write them, or `ldb` to start.
const PATIENCE: Duration = Duration::from_secs(30);

impl Lane for Locks {
    fn letter(&self) -> char {
        'Q'
    }

    fn name(&self) -> &'static str {
        "locks"
    }

    fn about(&self) -> &'static str {
        "a second process opens the directory, RocksDB's too"
    }

    fn unit(&self) -> &'static str {
        "openings"
    }

    fn figure(&self) -> u64 {
        80
    }

    fn patience(&self) -> Duration {
        4 * PATIENCE
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        if !steps.begin(0) {
            return Ok(());
        }
        let directory = tempfile::tempdir()?;
        let dir = directory.path().join("db");
        // The first plan from a place of this seed's own whose files `ldb` can read.
        let plans = (seed << 8..).map(Plan::of);
        let plan = plans.into_iter().find(|plan| plan.setting.format_version == FORMAT_OF_LDB);
        let mut ledger = Ledger::new(plan.context("no plan")?);
        held_by_a_process(&dir, &mut ledger, steps).context("held by a process")?;
        held_by_us(&dir, &mut ledger, steps).context("held by this process")?;
        if tools::ldb_is_there() {
            held_by_ldb(&dir, &mut ledger, steps).context("held by ldb")?;
        }
        Ok(())
    }
}

fn held_by_a_process(dir: &Path, ledger: &mut Ledger, steps: &mut Steps) -> Result<()> {
    let mut child = Child::start(dir, ledger, &Start { batches: Some(BATCHES), ..Start::default() })?;
    child.hear(ledger, PATIENCE, |_, _| true).context("until it is open")?;
    is_locked(dir, ledger, steps)?;
    let threads = ledger.plan().threads();
    child.hear(ledger, PATIENCE, |ledger, _| ledger.counts.done == threads).context("until it only holds")?;
    is_locked(dir, ledger, steps)?;
    ldb_is_refused(dir, steps)?;
    let reader = ledger.plan().options().read_only(true).open(dir).context("read-only open")?;
    ledger.check(&reader, Promise::Acknowledged).context("read-only")?;
    drop(reader);
    steps.case();
    is_locked(dir, ledger, steps).context("after a read-only handle was closed")?;
    child.kill(ledger)?;
    let db = ledger.plan().options().open(dir).context("the process was killed")?;
    steps.case();
    ledger.check(&db, Promise::Acknowledged)
}

fn held_by_us(dir: &Path, ledger: &mut Ledger, steps: &mut Steps) -> Result<()> {
    let db = ledger.plan().options().open(dir).context("first open")?;
    is_locked(dir, ledger, steps)?;
    ldb_is_refused(dir, steps)?;
    let mut child = Child::start(dir, ledger, &Start::default())?;
    match child.hear(ledger, PATIENCE, |_, _| true) {
        Ok(()) => bail!("another process opened a store that we hold"),
        Err(_) => ensure!(child.complaint().contains("another handle"), "the process failed{}", child.complaint()),
    }
    steps.case();
    db.close()?;
    let db = ledger.plan().options().open(dir).context("after a close")?;
    steps.case();
    ledger.check(&db, Promise::Acknowledged)
}

fn held_by_ldb(dir: &Path, ledger: &mut Ledger, steps: &mut Steps) -> Result<()> {
    // It reads pairs to load, of which there never is one, and holds the store until its input ends.
    let said = tempfile::NamedTempFile::new()?;
    let mut ldb = tools::ldb(dir);
    let mut ldb = ldb.arg("load").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(said.reopen()?).spawn()?;
    let start = Instant::now();
    while !has_a_lock(ldb.id())? {
        let waits = ldb.try_wait()?.is_none() && start.elapsed() < PATIENCE;
        ensure!(waits, "ldb does not open the store: {}", std::fs::read_to_string(said.path())?);
        std::thread::sleep(Duration::from_millis(5));
    }
    is_locked(dir, ledger, steps)?;
    drop(ldb.stdin.take());
    let status = ldb.wait()?;
    ensure!(status.success(), "ldb: {status}: {}", std::fs::read_to_string(said.path())?);
    steps.count("while ldb held it", 1);
    steps.case();
    let db = ledger.plan().options().open(dir).context("after ldb")?;
    ledger.check(&db, Promise::Acknowledged)?;
    steps.case();
    db.close().context("close")
}

/// Whether a process holds a lock on any file.
fn has_a_lock(process: u32) -> Result<bool> {
    let locks = std::fs::read_to_string("/proc/locks").context("/proc/locks")?;
    Ok(locks.lines().any(|line| line.split_whitespace().nth(4) == Some(&process.to_string())))
}

fn is_locked(dir: &Path, ledger: &Ledger, steps: &mut Steps) -> Result<()> {
    match ledger.plan().options().open(dir) {
        Ok(_) => bail!("the store could be opened twice"),
        Err(error) => ensure!(error.kind() == ErrorKind::Locked, "expected Locked: {error}"),
    }
    match ledger.plan().options().repair(dir) {
        Ok(_) => bail!("a store in use could be repaired"),
        Err(error) => ensure!(error.kind() == ErrorKind::Locked, "expected Locked from repair: {error}"),
    }
    steps.case();
    Ok(())
}

fn ldb_is_refused(dir: &Path, steps: &mut Steps) -> Result<()> {
    if !tools::ldb_is_there() {
        return Ok(());
    }
    let put: &mut Command = &mut tools::ldb(dir);
    let error = tools::run(put.args(["put", "key", "value"])).err().context("ldb wrote into a store that is open")?;
    ensure!(format!("{error:#}").contains("lock"), "ldb was refused for another reason: {error:#}");
    steps.case();
    Ok(())
}
