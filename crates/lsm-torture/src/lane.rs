//! What a lane is, and the steps of one of its seeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One way to break a store.
///
/// A lane's work is cut in seeds, a seed's work in steps. What a step does depends on the two numbers alone.
pub(crate) trait Lane: Sync {
    /// One capital letter, unique.
    fn letter(&self) -> char;

    /// One word, unique.
    fn name(&self) -> &'static str;

    /// What is tried, in a line.
    fn about(&self) -> &'static str;

    /// What is counted, in the plural.
    fn unit(&self) -> &'static str;

    /// How many cases a run must reach. A lane that stays below has failed: its checks may have run empty.
    fn figure(&self) -> u64;

    /// Seeds from 0 on that a run must go through at least, for a lane that enumerates instead of drawing.
    fn seeds(&self) -> u64 {
        1
    }

    /// Seeds that may run at once: 1 for a lane that uses both cores itself or measures time.
    fn parallel(&self) -> usize {
        2
    }

    /// Why the lane cannot run on this machine.
    fn unavailable(&self) -> Option<String> {
        None
    }

    /// Makes what the lane needs, before anyone looks at the clock.
    ///
    /// # Errors
    /// Why that is impossible. The lane then fails.
    fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// How long a step may take before it counts as hung.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Runs a seed: each step that `steps` wants, each counted there. An error or a panic is a finding.
    ///
    /// # Errors
    /// What the store did and should not have.
    fn run(&self, seed: u64, steps: &mut Steps) -> anyhow::Result<()>;
}

/// The steps of one seed: which to run, which runs, and what was counted.
#[derive(Default)]
pub(crate) struct Steps {
    only: Option<u64>,
    at: Arc<Mutex<At>>,
    pub(super) cases: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// Where a seed stands, for the one who watches over it.
#[derive(Default)]
pub(super) struct At {
    pub(super) step: Option<u64>,
    pub(super) since: Option<Instant>,
}

impl Steps {
    /// All steps, or a single one.
    pub(super) fn new(only: Option<u64>, at: Arc<Mutex<At>>) -> Steps {
        *at.lock() = At { step: None, since: Some(Instant::now()) };
        Steps { only, at, ..Steps::default() }
    }

    /// Whether `step` is to run; if so it runs from here on. Not counted as a case, see [`Steps::case`].
    pub(crate) fn begin(&mut self, step: u64) -> bool {
        let wanted = self.only.is_none_or(|only| only == step);
        if wanted {
            *self.at.lock() = At { step: Some(step), since: Some(Instant::now()) };
        }
        wanted
    }

    /// A case was tried and held.
    pub(crate) fn case(&mut self) {
        self.cases += 1;
    }

    /// Counts something beside the cases, for the table: `what` names it in the plural.
    pub(crate) fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }
}
