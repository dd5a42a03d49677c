//! S: system calls of the writing process fail, one or all from some point on, by the hand of `strace`.
//!
//! A seed is a directory, a step a round on it: a process opens the store and writes while one kind of call on one
//! kind of its files fails. It may end by itself if the store does not open, but not panic. Then the store is opened
//! without a fault: what was acknowledged is there, what was refused is not. Rounds follow one another on the same
//! directory, so recoveries meet faults too, and what faults left behind.
//!
//! | module | what it does |
//! |---|---|
//! | [`fault`] | which calls fail, and the command that makes them |
//!
//! # Invariants
//! S1. A round counts only if a call of the store's has failed: `strace` notes each, with the file it was for.
//! S2. A store that lived on after a failed sync of log, manifest or directory is read-only.

mod fault;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lsm_engine::SegmentAccess;
use lsm_testkit::Choices;

use crate::lane::{Lane, Steps};
use crate::real::child::{Child, Start};
use crate::real::ledger::{Ledger, Promise};
use crate::real::script::Plan;
use fault::Fault;

/// See the module.
pub(crate) struct Syscalls;

/// Processes on one directory.
const ROUNDS: u64 = 4;

/// Batches of each thread.
const BATCHES: u64 = 150;

/// How long a process may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Lane for Syscalls {
    fn letter(&self) -> char {
        'S'
    }

    fn name(&self) -> &'static str {
        "syscalls"
    }

    fn about(&self) -> &'static str {
        "system calls of a writing process fail"
    }

    fn unit(&self) -> &'static str {
        "processes with failed calls"
    }

    fn figure(&self) -> u64 {
        150
    }

    /// Every kind of fault on both kinds of log, four times.
    fn seeds(&self) -> u64 {
        4 * 2 * fault::KINDS / ROUNDS
    }

    fn unavailable(&self) -> Option<String> {
        fault::why_not()
    }

    fn patience(&self) -> Duration {
        2 * PATIENCE
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let dir = directory.path().join("db");
        let mut ledger = Ledger::new(plan(seed)?);
        for round in 0..ROUNDS {
            // A round builds on those before it, so all run whichever is wanted.
            steps.begin(round);
            let mut choices = Choices::from_seed(seed << 8 | round);
            let fault = Fault::of(seed / 2 * ROUNDS + round, &mut choices);
            let name = ledger.plan().setting.name;
            one_round(&dir, &mut ledger, &fault, choices.one_in(2), steps)
                .with_context(|| format!("{name}, {fault}"))?;
        }
        Ok(())
    }
}

/// The first plan from a place of this seed's own whose log is mapped for even seeds, and written for odd ones.
fn plan(seed: u64) -> Result<Plan> {
    let access = if seed.is_multiple_of(2) { SegmentAccess::Mapped } else { SegmentAccess::Positioned };
    (seed << 8..).map(Plan::of).find(|plan| plan.setting.access == access).context("no plan")
}

/// Runs a process under a fault, and checks what it leaves, for reading only or by a recovery.
fn one_round(dir: &Path, ledger: &mut Ledger, fault: &Fault, read_only: bool, steps: &mut Steps) -> Result<()> {
    let notes = tempfile::NamedTempFile::new()?;
    let before = ledger.counts;
    let under = fault.command(dir, notes.path());
    let start = Start { under: &under, batches: Some(BATCHES), ..Start::default() };
    let mut child = Child::start(dir, ledger, &start)?;
    let is_done = hear_to_the_end(&mut child, ledger)?;
    let complaint = child.complaint();
    ensure!(!child.panicked(), "the process panicked{complaint}");
    // An error says that it had ended, which is known by now.
    let _ = child.kill(ledger);
    let failed_calls = fault::failed_calls(notes.path())?;
    if !is_done {
        ensure!(failed_calls > 0, "the process ended by itself, and no call had failed{complaint}");
        steps.count("stores that did not open", 1);
    } else if failed_calls > 0 && fault.must_end_writes() {
        let read_only = ledger.counts.ended_read_only > before.ended_read_only;
        ensure!(read_only, "a sync failed, and the store is not read-only{complaint}");
    }
    if read_only && dir.join("CURRENT").exists() {
        let db = ledger.plan().options().read_only(true).open(dir).context("read-only open")?;
        ledger.check(&db, Promise::Acknowledged)?;
    } else {
        ledger.reopen(dir, Promise::Acknowledged)?;
    }
    let counts = ledger.counts;
    steps.count("acknowledged batches", counts.acknowledged - before.acknowledged);
    steps.count("refused", counts.refused - before.refused);
    steps.count("failed", counts.failed - before.failed);
    steps.count("failed calls", failed_calls);
    if failed_calls > 0 {
        steps.count(fault.call(), 1);
        steps.case();
    }
    Ok(())
}

/// Hears the process until all its threads are done, or until it has ended early; says whether they are done.
fn hear_to_the_end(child: &mut Child, ledger: &mut Ledger) -> Result<bool> {
    let (start, ended) = (Instant::now(), ledger.counts.ended);
    while child.hear_for(ledger, Duration::from_millis(10))? {
        if ledger.counts.ended > ended {
            return Ok(true);
        }
        ensure!(start.elapsed() < PATIENCE, "the process does not go on{}", child.complaint());
    }
    Ok(false)
}
