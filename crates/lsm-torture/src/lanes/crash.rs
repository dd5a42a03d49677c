//! C: the power goes, or the process ends, at every call of scripted scenarios and at random calls of
//! random histories.
//!
//! A history runs once. Before each call that changes a file the world is copied as a crash would leave it,
//! in many ways, and each copy is opened, compared with the record, opened again. Recoveries are crashed in
//! the same manner, three deep.
//!
//! | seeds | history |
//! |---|---|
//! | 0 up to twice the number of scenarios | a scenario, with a mapped and with a positioned log |
//! | the others | about 400 random calls |
//!
//! A step is the number of the call before which the world stops.

mod fates;
pub(super) mod recovery;
mod scenarios;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lsm_engine::SegmentAccess;
use lsm_testkit::Choices;
use parking_lot::Mutex;

use crate::gate::Gate;
use crate::history::op::{Mix, Op};
use crate::history::setting::{ALL, SMALL, Setting};
use crate::history::world::World;
use crate::lane::{Lane, Steps};
use scenarios::SCENARIOS;
use witness::{Rate, Witness};

/// See the module.
pub(crate) struct Crash;

/// Random histories of a run.
const RANDOM_SEEDS: u64 = 80;

/// Calls of a random history.
const RANDOM_OPS: usize = 400;

/// Of so many calls to the file system of a random history one is a crash point, about 20 in all.
const RANDOM_ONE_IN: usize = 60;

const RANDOM_MIX: Mix = Mix { value_bytes_max: 900, ends: 6, full_checks: 10, reads: 20 };

impl Lane for Crash {
    fn letter(&self) -> char {
        'C'
    }

    fn name(&self) -> &'static str {
        "crash"
    }

    fn about(&self) -> &'static str {
        "the world stops at every call; what is left is opened, and crashed again while it is"
    }

    fn unit(&self) -> &'static str {
        "recoveries"
    }

    fn figure(&self) -> u64 {
        50_000
    }

    fn seeds(&self) -> u64 {
        2 * SCENARIOS.len() as u64 + RANDOM_SEEDS
    }

    /// A step is many recoveries, and the machine may be busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        if seed < 2 * SCENARIOS.len() as u64 {
            let scenario = &SCENARIOS[seed as usize / 2];
            let access = [SegmentAccess::Mapped, SegmentAccess::Positioned][seed as usize % 2];
            let setting = Setting { access, ..SMALL };
            watched(seed, setting, Rate::Every, (scenario.before)(), (scenario.ops)(), steps)
        } else {
            let mut choices = Choices::from_seed(seed);
            let setting = *choices.pick(&ALL);
            let ops = (0..RANDOM_OPS).map(|_| Op::random(&mut choices, &RANDOM_MIX)).collect();
            watched(seed, setting, Rate::OneIn(RANDOM_ONE_IN), Vec::new(), ops, steps)
        }
    }
}

/// Runs `before` unseen and ends that process, then opens the store and runs `ops` under a witness.
fn watched(seed: u64, setting: Setting, rate: Rate, before: Vec<Op>, ops: Vec<Op>, steps: &mut Steps) -> Result<()> {
    let mut world = World::new(setting, seed);
    world.open()?;
    for op in &before {
        world.run(op)?;
    }
    drop(world.let_go());
    world.gate = Some(Arc::new(Gate::new("lsm-writer")));
    let witness = Arc::new(Mutex::new(Witness::new(seed, rate, &world, std::mem::take(steps))));
    let ran = witness::attend(&witness, &mut world, &ops);
    drop(world);
    *steps = std::mem::take(&mut witness.lock().steps);
    witness.lock().finding.take().map_or(ran, Err).context(setting.name)
}
