//! What to compact next. Pure: looks at a version and at what is running, opens nothing.
//!
//! Levels are tried in the order of their scores. Inside a level the table goes first that drags the
//! fewest bytes of the next level along per byte of its own (RocksDB's `kMinOverlappingRatio`). Tables
//! that overlap nothing are moved, not rewritten. When no level asks for anything, tables that were
//! marked go, then tables of the bottom that are full of deletions.
//!
//! # Invariants
//! The plans keep P1 to P4 of `plan.rs` and never meet a running job (I1 to I3 of `in_flight.rs`).
//! A store at rest (no writes, no jobs) runs out of plans: each one takes bytes down, or merges tables
//! of level 0, or removes deletions, and none undoes that.

use crate::in_flight::InFlight;
use crate::options::LeveledOptions;
use crate::plan::{KeySpan, Plan, Reason};
use crate::score::{LAST, LevelTargets, Weights, scores_by};
use lsm_core::SeqNo;
use lsm_manifest::{LEVELS, TableMeta, Version};
use std::ops::Range;
use std::sync::Arc;

/// Most neighbours that are moved down together.
const MOVED_MAX: usize = 4;

/// The next compaction, or `None` if nothing needs one that could run beside those in flight.
///
/// `oldest_snapshot` is the oldest live snapshot: deletions that it does not see are not worth a rewrite.
pub fn pick(
    version: &Version,
    in_flight: &InFlight,
    options: &LeveledOptions,
    oldest_snapshot: Option<SeqNo>,
) -> Option<Plan> {
    let picker = Picker::new(version, in_flight, options);
    picker.by_score().or_else(|| picker.marked()).or_else(|| picker.deletions(oldest_snapshot))
}

/// Takes level 0 down though its score does not ask for that: for readers, to whom each of its tables is one more run.
pub fn pick_level0(version: &Version, in_flight: &InFlight, options: &LeveledOptions) -> Option<Plan> {
    Picker::new(version, in_flight, options).level0(Reason::Reads)
}

/// Picks a merge within level 0 that reads at most `bytes_max`: what can still be done on a full disk when a job that
/// takes level 0 down does not fit. It keeps writers from waiting for the number of tables there.
pub fn pick_within_level0(
    version: &Version,
    in_flight: &InFlight,
    options: &LeveledOptions,
    bytes_max: u64,
) -> Option<Plan> {
    Picker::new(version, in_flight, options).within_level0(bytes_max)
}

/// What all steps of one pick look at.
pub(crate) struct Picker<'a> {
    pub(crate) version: &'a Version,
    pub(crate) in_flight: &'a InFlight,
    pub(crate) options: &'a LeveledOptions,
    pub(crate) targets: LevelTargets,
    weights: Weights,
}

impl<'a> Picker<'a> {
    pub(crate) fn new(version: &'a Version, in_flight: &'a InFlight, options: &'a LeveledOptions) -> Picker<'a> {
        let (targets, weights) = (LevelTargets::of(version, options), Weights::of(version));
        Picker { version, in_flight, options, targets, weights }
    }

    fn by_score(&self) -> Option<Plan> {
        let scores = scores_by(self.version, self.in_flight, self.options, &self.targets, &self.weights);
        let mut levels: Vec<usize> = (0..LEVELS).filter(|&level| scores[level] >= 1.0).collect();
        levels.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut level0_waits = false;
        for level in levels {
            let plan = match level {
                0 => self.level0(Reason::Score).or_else(|| {
                    level0_waits = true;
                    self.within_level0(u64::MAX)
                }),
                // Taking the base level down now would keep level 0 waiting for the same tables.
                base if base == self.targets.base && level0_waits => None,
                _ => self.level(level, Reason::Score),
            };
            if plan.is_some() {
                return plan;
            }
        }
        None
    }

    fn marked(&self) -> Option<Plan> {
        self.version.tables().filter(|(_, table)| table.marked_for_compaction).find_map(|(level, table)| match level {
            0 => self.level0(Reason::Marked),
            LAST => self.rewrite(Reason::Marked, LAST, vec![Arc::clone(table)]),
            _ => self.table_down(level, table, Reason::Marked),
        })
    }

    /// A table with nothing below it in which more than a tenth are deletions that every snapshot sees:
    /// rewriting it frees them.
    fn deletions(&self, oldest_snapshot: Option<SeqNo>) -> Option<Plan> {
        let worth = |table: &TableMeta| {
            let stats = table.stats.get().copied().unwrap_or_default();
            let deletions = stats.deletions.saturating_add(stats.range_deletions);
            deletions.saturating_mul(10) > stats.entries
                && oldest_snapshot.is_none_or(|oldest| table.largest_seq <= oldest)
        };
        let candidates = self.version.tables().filter(|(level, table)| *level > 0 && worth(table));
        candidates.filter_map(|(level, table)| self.rewrite(Reason::Deletions, level, vec![Arc::clone(table)])).find(
            |plan| {
                plan.is_bottommost()
                    && plan.tables().all(|(_, table)| oldest_snapshot.is_none_or(|oldest| table.largest_seq <= oldest))
            },
        )
    }

    /// The best table of a level from 1 on, taken one level down.
    fn level(&self, level: usize, reason: Reason) -> Option<Plan> {
        let mut tables: Vec<(bool, u64, &Arc<TableMeta>)> =
            self.version.level(level).iter().map(|table| self.ratio(level, table)).collect();
        // Stable, so that ties go by smallest key.
        tables.sort_by_key(|&(marked, ratio, _)| (!marked, ratio));
        tables.into_iter().find_map(|(_, _, table)| self.table_down(level, table, reason))
    }

    /// Whether a table is marked, and the bytes it drags along per 1024 of its own.
    fn ratio<'t>(&self, level: usize, table: &'t Arc<TableMeta>) -> (bool, u64, &'t Arc<TableMeta>) {
        let overlap = self.overlap_bytes(table, level + 1);
        let ratio = overlap.saturating_mul(1024) / self.weights.bytes(table).max(1);
        (table.marked_for_compaction, ratio, table)
    }

    fn overlap_bytes(&self, table: &Arc<TableMeta>, level: usize) -> u64 {
        let span = KeySpan::of([table]).expect("one table spans something");
        if level == LEVELS { 0 } else { bytes(&span.overlapping(self.version, level)) }
    }

    fn table_down(&self, level: usize, table: &Arc<TableMeta>, reason: Reason) -> Option<Plan> {
        if self.in_flight.holds(table) {
            return None;
        }
        let plan = self.complete(reason, level, vec![Arc::clone(table)], level + 1)?;
        Some(self.moved(&plan).unwrap_or(plan))
    }

    /// Grows `seed` to a plan that keeps P1 to P3; `None` if a running job is in the way.
    pub(crate) fn complete(
        &self,
        reason: Reason,
        level: usize,
        seed: Vec<Arc<TableMeta>>,
        output_level: usize,
    ) -> Option<Plan> {
        let mut upper = self.closed(level, seed);
        let span = KeySpan::of(&upper)?;
        let lower = self.closed(output_level, span.overlapping(self.version, output_level));
        if let Some(grown) = self.grown(level, &upper, output_level, &lower) {
            upper = grown;
        }
        let plan = Plan::new(self.version, reason, output_level, vec![(level, upper), (output_level, lower)]);
        (!self.in_flight.conflicts(&plan)).then_some(plan)
    }

    /// More tables of the upper level, if they come without any more of the lower one: all that overlap what
    /// the job spans by now, or at least those that lie inside of it.
    fn grown(
        &self,
        level: usize,
        upper: &[Arc<TableMeta>],
        output_level: usize,
        lower: &[Arc<TableMeta>],
    ) -> Option<Vec<Arc<TableMeta>>> {
        let span = KeySpan::of(lower)?.join(KeySpan::of(upper)?);
        let over = span.overlapping(self.version, level);
        let lies_inside =
            |table: &&Arc<TableMeta>| KeySpan::of([*table]).is_some_and(|own| own.join(span.clone()) == span);
        let inside = over.iter().filter(lies_inside).cloned().collect();
        [over, inside].into_iter().map(|seed| self.closed(level, seed)).find(|grown| {
            let fits = bytes(grown) + bytes(lower) < 2 * self.options.job_bytes_max();
            let idle = !grown.iter().any(|table| self.in_flight.holds(table));
            let dragged = KeySpan::of(grown).map_or(Vec::new(), |span| span.overlapping(self.version, output_level));
            grown.len() > upper.len() && fits && idle && self.closed(output_level, dragged).len() == lower.len()
        })
    }

    /// `tables` and all tables of their level that share a user key with them, directly or through others.
    pub(crate) fn closed(&self, level: usize, mut tables: Vec<Arc<TableMeta>>) -> Vec<Arc<TableMeta>> {
        while let Some(span) = KeySpan::of(&tables) {
            let more = span.overlapping(self.version, level);
            if more.len() == tables.len() {
                return more;
            }
            tables = more;
        }
        tables
    }

    /// Tables rewritten where they are.
    pub(crate) fn rewrite(&self, reason: Reason, level: usize, seed: Vec<Arc<TableMeta>>) -> Option<Plan> {
        let tables = self.closed(level, seed);
        let plan = Plan::new(self.version, reason, level, vec![(level, tables)]);
        (!self.in_flight.conflicts(&plan)).then_some(plan)
    }

    /// `plan` as a move of its tables, and of neighbours that can come along, if it need not rewrite any.
    pub(crate) fn moved(&self, plan: &Plan) -> Option<Plan> {
        let level = plan.start_level;
        if plan.inputs.len() > 1 || level == 0 || level == plan.output_level {
            return None;
        }
        let first = &plan.inputs[0].1[0];
        let start = self.version.level(level).iter().position(|table| table.number == first.number)?;
        let mut range = start..start + plan.inputs[0].1.len();
        let mut best = self.movable(plan.reason, level, range.clone())?;
        while range.len() < MOVED_MAX && range.end < self.version.level(level).len() {
            let Some(plan) = self.movable(plan.reason, level, range.start..range.end + 1) else { break };
            (best, range.end) = (plan, range.end + 1);
        }
        while range.len() < MOVED_MAX && range.start > 0 {
            let Some(plan) = self.movable(plan.reason, level, range.start - 1..range.end) else { break };
            (best, range.start) = (plan, range.start - 1);
        }
        Some(best)
    }

    /// The tables at `range` of `level` as a trivial move one level down, if they can be moved.
    fn movable(&self, reason: Reason, level: usize, range: Range<usize>) -> Option<Plan> {
        let tables = self.version.level(level)[range].to_vec();
        let whole = self.closed(level, tables.clone()).len() == tables.len();
        let fits = tables.len() == 1 || bytes(&tables) <= self.options.job_bytes_max();
        (whole && fits).then(|| self.as_move(reason, level, tables, level + 1)).flatten()
    }

    /// A trivial move, if the output level has nothing there, writes tables in the same way, and no table
    /// would overlap too much of the level under it.
    pub(crate) fn as_move(
        &self,
        reason: Reason,
        level: usize,
        tables: Vec<Arc<TableMeta>>,
        output_level: usize,
    ) -> Option<Plan> {
        let classes = &self.options.table_classes;
        let heavy =
            |table| table_bytes(table) + self.overlap_bytes(table, output_level + 1) > self.options.job_bytes_max();
        if classes[level] != classes[output_level] || tables.iter().any(heavy) {
            return None;
        }
        let mut plan = Plan::new(self.version, reason, output_level, vec![(level, tables)]);
        plan.trivial_move = true;
        let free = plan.span.overlapping(self.version, output_level).is_empty();
        (free && !self.in_flight.conflicts(&plan)).then_some(plan)
    }
}

fn table_bytes(table: &Arc<TableMeta>) -> u64 {
    table.bytes
}

/// Sum of the file sizes of `tables`.
pub(crate) fn bytes(tables: &[Arc<TableMeta>]) -> u64 {
    tables.iter().map(table_bytes).sum()
}

#[cfg(test)]
mod tests;
