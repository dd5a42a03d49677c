//! Compaction of a key range on request, level by level.
//!
//! A [`RangeCompaction`] remembers how far it has come. Whoever runs it asks [`pick_range`] for a step,
//! runs the plan (or waits for a running job), and asks again. Tables that flushes add meanwhile are left
//! to the next request, so it comes to an end on a busy store too.

use crate::below::end_behind;
use crate::in_flight::InFlight;
use crate::options::LeveledOptions;
use crate::pick::Picker;
use crate::plan::{Plan, Reason};
use crate::score::LevelTargets;
use lsm_manifest::{LEVELS, TableMeta, Version};
use std::sync::Arc;

/// Whether tables that already are at the bottom of the range are rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BottomRewrite {
    /// They stay as they are.
    Never,
    /// Those that hold deletions, or are not known to hold none, are rewritten without.
    Deletions,
    /// All of them are rewritten.
    Always,
}

/// A request to compact a key range, and how far it has come.
#[derive(Clone, Debug)]
pub struct RangeCompaction {
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    rewrite: BottomRewrite,
    /// The deepest level that held anything of the range so far.
    bottom: usize,
    level: usize,
    /// What lies before this key was dealt with on `level`.
    resume: Option<Vec<u8>>,
}

/// What to do next for a [`RangeCompaction`].
#[derive(Debug)]
pub enum RangeStep {
    /// Reserve and run this, then ask again (asking before it ended is allowed too).
    Run(Box<Plan>),
    /// A running job works on the range; ask again when one has ended.
    Wait,
    /// The range's data lie at the bottom.
    Done,
}

impl RangeCompaction {
    /// Everything from `from` up to and including `to` is to be at the deepest level that holds any of it;
    /// if that is level 0, at the base level. `None` is open.
    pub fn new(
        version: &Version,
        options: &LeveledOptions,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        rewrite: BottomRewrite,
    ) -> RangeCompaction {
        let bottom = deepest(version, from, to).unwrap_or_else(|| LevelTargets::of(version, options).base);
        let (from, to) = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
        RangeCompaction { from, to, rewrite, bottom, level: 0, resume: None }
    }

    fn next_level(&mut self, level: usize) {
        self.level = level;
        self.resume = None;
    }

    /// The tables of the present level that are still to be dealt with.
    fn rest(&self, version: &Version) -> Vec<Arc<TableMeta>> {
        let from = self.resume.as_deref().max(self.from.as_deref());
        version.overlapping(self.level, from, self.to.as_deref())
    }

    fn wants_rewrite(&self, table: &TableMeta) -> bool {
        match self.rewrite {
            BottomRewrite::Never => false,
            BottomRewrite::Deletions => {
                table.stats.get().is_none_or(|stats| stats.deletions > 0 || stats.range_deletions > 0)
            }
            BottomRewrite::Always => true,
        }
    }
}

/// The next step of `range`.
pub fn pick_range(
    range: &mut RangeCompaction,
    version: &Version,
    in_flight: &InFlight,
    options: &LeveledOptions,
) -> RangeStep {
    let picker = Picker::new(version, in_flight, options);
    loop {
        let output_level = match range.level {
            level if level > range.bottom => {
                let deepest = deepest(version, range.from.as_deref(), range.to.as_deref());
                let Some(deeper) = deepest.filter(|&deepest| deepest > range.bottom) else { return RangeStep::Done };
                // A job that ran beside has taken some of the range further down: the rest follows.
                range.next_level(range.bottom);
                range.bottom = deeper;
                continue;
            }
            0 => picker.targets.base.min(range.bottom),
            level if level == range.bottom => level,
            level => level + 1,
        };
        let tables = range.rest(version);
        let at_bottom = range.level == range.bottom;
        let wanted = tables.into_iter().skip_while(|table| at_bottom && !range.wants_rewrite(table));
        let seed = chunk(wanted.take_while(|table| !at_bottom || range.wants_rewrite(table)), range.level, options);
        let Some(last) = seed.last() else {
            if in_flight.is_working_on(range.level..=output_level, range.from.as_deref(), range.to.as_deref()) {
                // What a running job brings down must be met on the next level.
                return RangeStep::Wait;
            }
            range.next_level(range.level + 1);
            continue;
        };
        let last = Arc::clone(last);
        let plan = match at_bottom {
            true => picker.rewrite(Reason::Manual, range.level, seed),
            false => picker.complete(Reason::Manual, range.level, seed, output_level),
        };
        let Some(plan) = plan else { return RangeStep::Wait };
        if range.level == 0 {
            range.next_level(1);
        } else {
            let taken = plan.inputs.iter().filter(|(level, _)| *level == range.level).flat_map(|(_, tables)| tables);
            range.resume = taken.chain([&last]).map(|table| end_behind(table)).max();
        }
        return RangeStep::Run(Box::new(picker.moved(&plan).unwrap_or(plan)));
    }
}

/// The deepest level below level 0 that holds anything of a range.
fn deepest(version: &Version, from: Option<&[u8]>, to: Option<&[u8]>) -> Option<usize> {
    (1..LEVELS).rev().find(|&level| !version.overlapping(level, from, to).is_empty())
}

/// As many tables as one job should take: all of level 0, or the first few of another level.
fn chunk(tables: impl Iterator<Item = Arc<TableMeta>>, level: usize, options: &LeveledOptions) -> Vec<Arc<TableMeta>> {
    let mut bytes = 0_u64;
    let fits = |table: &Arc<TableMeta>| {
        let first = bytes == 0;
        bytes += table.bytes;
        level == 0 || first || bytes <= options.job_bytes_max()
    };
    tables.take_while(fits).collect()
}
