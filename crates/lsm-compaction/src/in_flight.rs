//! Which tables and key ranges running jobs work on.
//!
//! A job reserves its input tables and, on every level it touches below level 0, the range of user keys
//! it spans. Jobs that do not meet run at the same time: 1→2 beside 4→5, or two ranges of one level
//! pair. Level 0 is reserved by table: its tables overlap by nature, and what flushes add is newer
//! than every running job.
//!
//! One family has one `InFlight`, kept by whoever schedules; [`crate::pick()`] only reads it.
//!
//! # Invariants
//! I1. A table is an input of at most one job.
//! I2. On levels from 1 on no two jobs that share a level overlap in user keys, so each job's outputs
//!     fit where its inputs were, whatever the others do.
//! I3. While tables of level 0 are in a job, no other job takes tables of level 0 down: an older and a
//!     newer version of a key must not pass each other. Merges inside level 0 of newer neighbours may run.

use crate::plan::{KeySpan, Plan};
use lsm_core::filename::FileNumber;
use lsm_manifest::TableMeta;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// Names one reservation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReservationId(u64);

/// The reservations of running jobs.
#[derive(Default, Debug)]
pub struct InFlight {
    next: u64,
    jobs: HashMap<ReservationId, Reservation>,
    tables: HashSet<FileNumber>,
}

#[derive(Debug)]
struct Reservation {
    levels: RangeInclusive<usize>,
    span: KeySpan,
    tables: Vec<FileNumber>,
}

impl InFlight {
    /// No job is running.
    pub fn new() -> InFlight {
        InFlight::default()
    }

    /// Reserves what `plan` works on, until [`InFlight::release`].
    ///
    /// # Panics
    /// When the plan conflicts with a reservation (I1, I2, I3): it was not picked against this value.
    pub fn reserve(&mut self, plan: &Plan) -> ReservationId {
        assert!(!self.conflicts(plan), "I1, I2, I3: plan {plan:?} meets a running job");
        let tables: Vec<FileNumber> = plan.tables().map(|(_, table)| table.number).collect();
        self.tables.extend(tables.iter().copied());
        let id = ReservationId(self.next);
        self.next += 1;
        let levels = plan.start_level..=plan.output_level;
        self.jobs.insert(id, Reservation { levels, span: plan.span.clone(), tables });
        id
    }

    /// Ends a reservation, after the job's edit was applied or the job was given up.
    ///
    /// # Panics
    /// When `id` was released before.
    pub fn release(&mut self, id: ReservationId) {
        let job = self.jobs.remove(&id).expect("a reservation is released once");
        for table in job.tables {
            self.tables.remove(&table);
        }
    }

    /// How many jobs are running.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job is running.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether `table` is an input of a running job.
    pub fn holds(&self, table: &TableMeta) -> bool {
        self.tables.contains(&table.number)
    }

    /// Whether `plan` may not run beside the jobs that are running.
    pub fn conflicts(&self, plan: &Plan) -> bool {
        plan.tables().any(|(_, table)| self.holds(table))
            || (plan.takes_level0_down() && self.is_level0_busy())
            || self.is_range_busy(plan.start_level..=plan.output_level, &plan.span)
    }

    /// Whether a job has tables of level 0 (I3).
    pub fn is_level0_busy(&self) -> bool {
        self.jobs.values().any(|job| *job.levels.start() == 0)
    }

    /// Whether a job shares a level from 1 on with `levels` and overlaps `span` there (I2).
    pub(crate) fn is_range_busy(&self, levels: RangeInclusive<usize>, span: &KeySpan) -> bool {
        let first = (*levels.start()).max(1);
        self.jobs.values().any(|job| {
            let shared = first.max(*job.levels.start()) <= (*levels.end()).min(*job.levels.end());
            shared && job.span.overlaps(span)
        })
    }

    /// Whether a job works on anything from `from` up to and including `to` (`None` is open) on one of `levels`.
    pub(crate) fn is_working_on(&self, levels: RangeInclusive<usize>, from: Option<&[u8]>, to: Option<&[u8]>) -> bool {
        self.jobs.values().any(|job| {
            let shared = levels.start().max(job.levels.start()) <= levels.end().min(job.levels.end());
            let misses = from.is_some_and(|from| job.span.ends_before(from))
                || to.is_some_and(|to| job.span.smallest.as_slice() > to);
            shared && !misses
        })
    }
}
