//! K: the power is cut under a real ext4, at random moments of a process that writes to it.
//!
//! A step is a state: all blocks that were written before the last flush, and of those behind it any. All that was
//! acknowledged as synced must be there, no batch by half, none without those before it.

mod disk;

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
use crate::real::tools;
use disk::Disk;

/// See the module.
pub(crate) struct Power;

/// Moments at which the power is cut, of one run of the writing process.
const CUTS: u64 = 25;

/// Bytes of the file systems.
const IMAGE_BYTES: u64 = 96 << 20;

/// How long a state may take, with the run before it.
const PATIENCE: Duration = Duration::from_secs(120);

impl Lane for Power {
    fn letter(&self) -> char {
        'K'
    }

    fn name(&self) -> &'static str {
        "power"
    }

    fn about(&self) -> &'static str {
        "the power is cut under a real ext4"
    }

    fn unit(&self) -> &'static str {
        "states"
    }

    fn figure(&self) -> u64 {
        200
    }

    fn unavailable(&self) -> Option<String> {
        ground::why_not().or_else(tools::why_no_ext4).or_else(disk::why_not)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let plan = Plan::of(seed);
        let name = plan.setting.name;
        let directory = tempfile::tempdir()?;
        let mut choices = Choices::from_seed(seed);
        let disk = Disk::new(directory.path(), IMAGE_BYTES)?;
        let moments = write_on(&disk, directory.path(), Ledger::new(plan), &mut choices).context(name)?;
        states(&disk, directory.path(), moments, &mut choices, steps).context(name)
    }
}

/// A moment during the run: how many events the disk had seen, and what had been acknowledged before.
struct Moment {
    events: usize,
    ledger: Ledger,
}

/// Runs the writing process on the watched disk and notes moments.
fn write_on(disk: &Disk, directory: &Path, mut ledger: Ledger, choices: &mut Choices) -> Result<Vec<Moment>> {
    let at = directory.join("live");
    std::fs::create_dir(&at)?;
    let live = Mount::ext4(&disk.image(), &at)?;
    let mut child = Child::start(&live.at().join("db"), &ledger, &Start::default())?;
    let mut moments = Vec::new();
    for _ in 0..=CUTS {
        // A full disk refuses batches in the middle, which is a matter for lane N.
        if OsFs.free_space(live.at())? < IMAGE_BYTES / 2 {
            break;
        }
        let alive = child.hear_for(&mut ledger, Duration::from_millis(choices.within(1..=80) as u64))?;
        ensure!(alive, "the process ended by itself{}", child.complaint());
        ensure!(ledger.counts.refused == 0, "a disk with half its room free refused a batch");
        // In this order: what was acknowledged by now lies in the events by then.
        let ledger = ledger.clone();
        moments.push(Moment { events: disk.events(), ledger });
    }
    child.kill(&mut ledger)?;
    Ok(moments)
}

/// Opens the store as a cut between each moment and the next leaves it.
fn states(disk: &Disk, directory: &Path, moments: Vec<Moment>, choices: &mut Choices, steps: &mut Steps) -> Result<()> {
    let (below, at) = (directory.join("states"), directory.join("cut"));
    std::fs::create_dir(&below)?;
    std::fs::create_dir(&at)?;
    let _memory = Mount::tmpfs(&below, 2 * IMAGE_BYTES)?;
    let image = below.join("img");
    let mut durable = disk.replay();
    let ends: Vec<usize> = moments.iter().skip(1).map(|moment| moment.events).collect();
    for (step, (mut moment, end)) in moments.into_iter().zip(ends).enumerate() {
        let wanted = steps.begin(step as u64 + 1);
        // Drawn whether or not it is wanted, so that a step is the same alone.
        let cut = choices.within(moment.events..=end);
        let mut of_step = Choices::from_seed(choices.number());
        if !wanted {
            continue;
        }
        let unsynced = durable.cut(cut, &mut of_step, &image)?;
        let mounted = Mount::ext4(&image, &at).context("ext4 does not come back")?;
        moment
            .ledger
            .reopen(&mounted.at().join("db"), Promise::Synced)
            .with_context(|| format!("cut after {cut} events, {unsynced} sectors since the last flush"))?;
        steps.count("sectors that could be lost", unsynced);
        steps.count("acknowledged batches lost that were not synced", moment.ledger.missing());
        steps.case();
    }
    Ok(())
}
