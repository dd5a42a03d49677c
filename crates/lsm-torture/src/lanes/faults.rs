//! D: every call to the file system fails, in every way, once and for good.
//!
//! A dry run of a script counts the calls that a failure can hit; then the script runs once for each of them,
//! and goes on whatever the store refuses. A seed is a script, a kind of log, a failure, and whether it goes
//! away; a step is the number of the call that fails. In a soak two calls fail.
//!
//! What must hold is in [`attempt`].

mod attempt;
mod scripts;

use std::sync::Arc;

use anyhow::Result;
use lsm_engine::SegmentAccess;
use lsm_testkit::Failure;
use lsm_testkit::faults::Repeat;

use crate::history::setting::{SMALL, Setting};
use crate::lane::{Lane, Steps};
use attempt::{Plan, Prepared};
use scripts::SCRIPTS;

/// See the module.
pub(crate) struct Faults;

const FAILURES: [Failure; 8] = [
    Failure::Io,
    Failure::NoSpace,
    Failure::TooManyFiles,
    Failure::ShortRead,
    Failure::ShortWrite,
    Failure::TornWrite,
    Failure::Sync,
    Failure::Interrupted,
];

const ACCESSES: [SegmentAccess; 2] = [SegmentAccess::Mapped, SegmentAccess::Positioned];

const REPEATS: [Repeat; 2] = [Repeat::Once, Repeat::Sticky];

const SEEDS: usize = SCRIPTS.len() * ACCESSES.len() * FAILURES.len() * REPEATS.len();

impl Lane for Faults {
    fn letter(&self) -> char {
        'D'
    }

    fn name(&self) -> &'static str {
        "faults"
    }

    fn about(&self) -> &'static str {
        "every call to the file system fails in eight ways, once and for good"
    }

    fn unit(&self) -> &'static str {
        "runs"
    }

    fn figure(&self) -> u64 {
        20_000
    }

    fn seeds(&self) -> u64 {
        SEEDS as u64
    }

    /// Background work that failed pauses before it tries again; meanwhile others run.
    fn parallel(&self) -> usize {
        12
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        let mut rest = seed as usize % SEEDS;
        let mut pick = |count: usize| {
            let index = rest % count;
            rest /= count;
            index
        };
        let script = &SCRIPTS[pick(SCRIPTS.len())];
        let setting = Setting { access: ACCESSES[pick(ACCESSES.len())], ..SMALL };
        let (failure, repeat) = (FAILURES[pick(FAILURES.len())], REPEATS[pick(REPEATS.len())]);
        let prepared = Arc::new(Prepared::new(setting, seed, &(script.before)())?);
        let plan = Plan { prepared, ops: (script.ops)(), setting, failure, repeat, second: None };
        let calls = plan.count()?;
        // Behind the seeds of one failure each come those of two: the second strikes somewhere behind the first.
        let round = seed / SEEDS as u64;
        for at in 0..calls {
            if steps.begin(at) {
                let second = (round > 0).then(|| at + 1 + round.wrapping_mul(0x9e37_79b9).wrapping_add(at * 7) % calls);
                let plan = Plan { second, ..plan.clone() };
                plan.attempt(at, steps)?;
                steps.case();
            }
        }
        Ok(())
    }
}
