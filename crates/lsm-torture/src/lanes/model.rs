//! F: random histories of all calls, each under every set of options, compared with a map that keeps all
//! versions of all keys.
//!
//! A seed is a history; a step runs it under one of the settings. All settings must answer what the model
//! answers, so they agree with each other. Power cuts keep what their seed says of what was not synced, which
//! differs from setting to setting; the model is then taken back to the state that was found.

use std::time::Duration;

use anyhow::{Context, Result};
use lsm_testkit::Choices;

use crate::history::op::{Mix, Op};
use crate::history::setting::ALL;
use crate::history::world::World;
use crate::lane::{Lane, Steps};

/// See the module.
pub(crate) struct Model;

/// Calls of a history.
const OPS: usize = 3_000;

/// How histories differ: small values and large ones, many reads and few, stores that live long and short.
const MIXES: [Mix; 4] = [
    Mix { value_bytes_max: 300, ends: 3, full_checks: 4, reads: 450 },
    Mix { value_bytes_max: 2000, ends: 3, full_checks: 4, reads: 450 },
    Mix { value_bytes_max: 40, ends: 1, full_checks: 8, reads: 500 },
    Mix { value_bytes_max: 900, ends: 12, full_checks: 4, reads: 300 },
];

impl Lane for Model {
    fn letter(&self) -> char {
        'F'
    }

    fn name(&self) -> &'static str {
        "model"
    }

    fn about(&self) -> &'static str {
        "random histories under ten sets of options answer as a map with versions does"
    }

    fn unit(&self) -> &'static str {
        "operations"
    }

    fn figure(&self) -> u64 {
        3_000_000
    }

    fn seeds(&self) -> u64 {
        MIXES.len() as u64
    }

    /// A step is a whole history, and the machine may be busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let mut choices = Choices::from_seed(seed);
        let mix = &MIXES[seed as usize % MIXES.len()];
        let ops: Vec<Op> = (0..OPS).map(|_| Op::random(&mut choices, mix)).collect();
        for (index, setting) in ALL.into_iter().enumerate() {
            if !steps.begin(index as u64) {
                continue;
            }
            let mut world = World::new(setting, seed);
            world.open()?;
            for (at, op) in ops.iter().enumerate() {
                world.run(op).with_context(|| format!("{}, call {at}: {op:?}", setting.name))?;
                steps.case();
            }
            world.run(&Op::CheckAll).context(setting.name)?;
            world.run(&Op::Close).context(setting.name)?;
            world.run(&Op::CheckAll).context(setting.name)?;
            steps.count("histories", 1);
        }
        Ok(())
    }
}
