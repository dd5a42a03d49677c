//! W: a real ext4 on an image with holes, below which the disk is full: what was written is accepted, and lost later.
//!
//! Such a file system has room and says yes to every write. When its pages are to go to the disk, there is none; the
//! next sync fails, the system takes the pages for written, and *a second sync succeeds although the data is gone*. A
//! seed is a run of the writing process that meets this at some moment.
//!
//! # Invariants
//! W1. After the failed sync the process is told that the store is read-only, and nothing more is acknowledged (L3 of
//!     the ledger). A round counts only if that came.
//! W2. Once there is room again: opened on the same mount, where the system still shows pages that the disk lacks, the
//!     store has all that was acknowledged, and has it still when these pages are gone. On a new mount it has all
//!     that was acknowledged as synced.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lsm_core::filename::FileKind;
use lsm_testkit::Choices;

use crate::lane::{Lane, Steps};
use crate::real::child::{Child, Start};
use crate::real::ground::{self, Mount};
use crate::real::ledger::{Ledger, Promise};
use crate::real::script::Plan;
use crate::real::tools;
use crate::real::writer::{Kind, Report};

/// See the module.
pub(crate) struct Writeback;

/// How large the file system takes itself to be, and how much of that there is.
const IMAGE_BYTES: u64 = 96 << 20;
const BACKING_BYTES: u64 = 48 << 20;

/// Batches refused for want of room after which no sync of a log can be expected.
const REFUSALS: u64 = 20;

/// How long a process may take to meet the failure.
const PATIENCE: Duration = Duration::from_secs(40);

impl Lane for Writeback {
    fn letter(&self) -> char {
        'W'
    }

    fn name(&self) -> &'static str {
        "writeback"
    }

    fn about(&self) -> &'static str {
        "a real ext4 loses what was written to it: a sync fails, and a second one would not"
    }

    fn unit(&self) -> &'static str {
        "failed syncs"
    }

    fn figure(&self) -> u64 {
        20
    }

    fn unavailable(&self) -> Option<String> {
        ground::why_not().or_else(tools::why_no_ext4).or_else(why_not)
    }

    fn patience(&self) -> Duration {
        3 * PATIENCE
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let mut choices = Choices::from_seed(seed);
        let plan = Plan::of(seed);
        let name = plan.setting.name;
        let directory = tempfile::tempdir()?;
        if !steps.begin(0) {
            return Ok(());
        }
        let mut ledger = Ledger::new(plan);
        let is_case = one_round(directory.path(), &mut ledger, &mut choices, steps)
            .with_context(|| format!("{name}, {} acknowledged", ledger.counts.acknowledged))?;
        steps.count("acknowledged batches", ledger.counts.acknowledged);
        if is_case {
            steps.case();
        }
        Ok(())
    }
}

/// Why no loop device can be told to write one page at a time.
fn why_not() -> Option<String> {
    let probe = || -> Result<()> {
        let directory = tempfile::tempdir()?;
        let image = directory.path().join("img");
        ground::make_ext4(&image, 16 << 20)?;
        let mounted = Mount::ext4(&image, directory.path())?;
        mounted.write_page_by_page().map(drop)
    };
    probe().err().map(|error| format!("no loop device for a trial: {error:#}"))
}

/// Says whether a sync failed that ends all writes.
fn one_round(directory: &Path, ledger: &mut Ledger, choices: &mut Choices, steps: &mut Steps) -> Result<bool> {
    let [below, at] = ["below", "at"].map(|name| directory.join(name));
    std::fs::create_dir(&below)?;
    std::fs::create_dir(&at)?;
    let (image, ballast, dir) = (below.join("img"), below.join("ballast"), at.join("db"));
    let _backing = Mount::tmpfs(&below, BACKING_BYTES)?;
    ground::make_ext4(&image, IMAGE_BYTES)?;
    // With its first block on the disk: where ext4 loses blocks of its own it makes itself read-only.
    Mount::ext4(&image, &at).and_then(|_mounted| Ok(std::fs::create_dir(&dir)?))?;
    let mounted = Mount::ext4(&image, &at)?;
    let _one_by_one = mounted.write_page_by_page()?;
    let is_read_only = write_until_it_fails(&dir, &ballast, ledger, choices)?;
    if !is_read_only {
        steps.count("refusals before such a sync", 1);
    }
    steps.count("logs that a second sync calls durable", second_syncs(&dir)?);
    let gives_room_first = choices.one_in(2);
    if gives_room_first {
        std::fs::remove_file(&ballast)?;
    }
    if gives_room_first && is_writable(&at) {
        ledger.reopen(&dir, Promise::Acknowledged).context("on the same mount")?;
        drop(mounted);
        let _mounted = Mount::ext4(&image, &at)?;
        ledger.reopen(&dir, Promise::Acknowledged).context("on the mount after it")?;
        steps.count("opened on the same mount", 1);
    } else {
        drop(mounted);
        if !gives_room_first {
            std::fs::remove_file(&ballast)?;
        }
        let _mounted = Mount::ext4(&image, &at).context("ext4 does not come back")?;
        ledger.reopen(&dir, Promise::Synced).context("on a new mount")?;
        steps.count("acknowledged batches lost that were not synced", ledger.missing());
    }
    Ok(is_read_only)
}

/// Runs the process, fills the disk below it at some moment, and ends it when it has become read-only (W1), or refuses
/// batches because its tables find no room; says whether it is read-only.
fn write_until_it_fails(dir: &Path, ballast: &Path, ledger: &mut Ledger, choices: &mut Choices) -> Result<bool> {
    let start = Start { sync_one_in: Some(choices.within(1..=40)), ..Start::default() };
    let mut child = Child::start(dir, ledger, &start)?;
    let before = choices.within(20..=1_000) as u64;
    child.hear(ledger, PATIENCE, |ledger, _| ledger.counts.acknowledged >= before).context("on a sound disk")?;
    fill(ballast)?;
    let mut is_read_only = false;
    let enough = |ledger: &Ledger, report: Report| {
        is_read_only = report.kind == Kind::Latched;
        is_read_only || ledger.counts.refused >= REFUSALS
    };
    child.hear(ledger, PATIENCE, enough).context("until a sync fails")?;
    // Time enough for others to be acknowledged wrongly.
    child.hear_for(ledger, Duration::from_millis(50))?;
    child.kill(ledger)?;
    Ok(is_read_only)
}

/// Whether ext4 has not made itself read-only.
fn is_writable(at: &Path) -> bool {
    File::create(at.join("probe")).is_ok_and(|probe| probe.sync_all().is_ok())
}

/// Takes all room that there is.
fn fill(ballast: &Path) -> Result<()> {
    let mut file = File::create(ballast)?;
    loop {
        match file.write_all(&[1; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("ballast"),
        }
    }
}

/// How many logs a sync by somebody else calls durable: the failure was told once, and to the store.
fn second_syncs(dir: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let is_log = matches!(FileKind::parse(&entry.file_name().to_string_lossy()), Some(FileKind::Log(_)));
        count += u64::from(is_log && File::open(entry.path())?.sync_data().is_ok());
    }
    Ok(count)
}
