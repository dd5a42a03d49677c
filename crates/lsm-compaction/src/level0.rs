//! How level 0 is compacted: down into the base level, or within itself while it has to wait.
//!
//! Tables of level 0 overlap, and of two that do the newer must stay above. So a job takes whatever
//! overlaps its oldest table, and only one job takes tables down at a time (I3).

use crate::pick::{Picker, bytes};
use crate::plan::{KeySpan, Plan, Reason};
use lsm_manifest::TableMeta;
use std::sync::Arc;

/// Fewer tables than this are not worth merging inside level 0.
const MERGED_MIN: usize = 4;

impl Picker<'_> {
    /// Takes tables of level 0 down, unless that has to wait.
    pub(crate) fn level0(&self, reason: Reason) -> Option<Plan> {
        if self.in_flight.is_level0_busy() {
            return None;
        }
        self.small_level0().or_else(|| self.level0_move(reason)).or_else(|| {
            let oldest = self.version.level(0).last()?;
            self.complete(reason, 0, vec![Arc::clone(oldest)], self.targets.base)
        })
    }

    /// All of level 0 merged into one table when it is tiny beside the base level: rewriting the base for
    /// it would cost far more.
    fn small_level0(&self) -> Option<Plan> {
        let level0 = self.version.level_bytes(0) as f64;
        let base = self.version.level_bytes(self.targets.base) as f64;
        let tiny = base > level0 * self.options.multiplier.max(10.0) * 2.0;
        let tables = self.version.level(0);
        (tiny && tables.len() >= MERGED_MIN).then(|| self.merged(tables.to_vec())).flatten()
    }

    /// Tables moved to the base level, from the oldest on, as long as they overlap neither it nor each other.
    fn level0_move(&self, reason: Reason) -> Option<Plan> {
        let mut moved: Vec<Arc<TableMeta>> = Vec::new();
        let mut plan = None;
        for table in self.version.level(0).iter().rev() {
            let span = KeySpan::of([table])?;
            if KeySpan::of(&moved).is_some_and(|taken| taken.overlaps(&span)) {
                break;
            }
            // Newest first, as level 0 is.
            moved.insert(0, Arc::clone(table));
            match self.as_move(reason, 0, moved.clone(), self.targets.base) {
                Some(longer) => plan = Some(longer),
                None => break,
            }
        }
        plan
    }

    /// The newest tables of level 0 merged into one while the older ones are on their way down: as many as
    /// make the bytes rewritten per table removed fall, and `bytes_max` at most.
    pub(crate) fn within_level0(&self, bytes_max: u64) -> Option<Plan> {
        let tables = self.version.level(0);
        if tables.len() < self.options.level0_trigger + 2 || self.in_flight.holds(&tables[0]) {
            return None;
        }
        let bytes_max = self.options.job_bytes_max().min(bytes_max);
        let mut count = 1;
        let mut rewritten = tables[0].bytes;
        let mut best = u64::MAX;
        for table in &tables[1..] {
            rewritten += table.bytes;
            let per_table = rewritten / count as u64;
            if self.in_flight.holds(table) || per_table > best || rewritten > bytes_max {
                break;
            }
            best = per_table;
            count += 1;
        }
        if count < MERGED_MIN { None } else { self.merged(tables[..count].to_vec()) }
    }

    fn merged(&self, tables: Vec<Arc<TableMeta>>) -> Option<Plan> {
        if bytes(&tables) > self.options.job_bytes_max() {
            return None;
        }
        let plan = Plan::new(self.version, Reason::WithinLevel0, 0, vec![(0, tables)]);
        (!self.in_flight.conflicts(&plan)).then_some(plan)
    }
}
