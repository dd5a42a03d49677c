//! Carries a plan out: opens its tables, splits its range, merges, and adds up what came of it.
//!
//! # Invariants
//! J1. Each user key is in one part, so the parts write what one thread alone would write; only cuts may
//!     fall elsewhere.
//! J2. If a part fails, all tables of all parts are discarded: a job has either all its outputs or none.

use crate::below::Below;
use crate::concat::ConcatCursor;
use crate::cut::Cut;
use crate::executor::Executor;
use crate::options::LeveledOptions;
use crate::plan::{Plan, Reason};
use crate::retain::EntryCounts;
use crate::share::share;
use crate::sink::{TableSink, TableSource};
use crate::subcompaction::{ANCHORS_PER_TABLE, boundaries};
use crate::tombstones;
use crate::write::{BuiltTable, WriteContext, Written, stripes, write_tables};
use lsm_core::merge::MergeCursor;
use lsm_core::range_tombstone::RangeTombstones;
use lsm_core::{Cursor, MergeOperator, Result, SeqNo};
use lsm_manifest::TableMeta;
use lsm_sstable::{ReadOptions, Table};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Bytes that a compaction reads at once from each input. More would save next to nothing, for the system reads ahead of that,
/// and an allocator keeps what a dozen inputs took for each thread that ever compacted.
const READAHEAD_BYTES: usize = 64 << 10;

/// What a job works with besides its plan.
#[derive(Clone)]
pub struct JobContext {
    /// Opens inputs.
    pub source: Arc<dyn TableSource>,
    /// Takes outputs.
    pub sink: Arc<dyn TableSink>,
    /// The live snapshots, read after the plan's version became the current one.
    pub snapshots: Vec<SeqNo>,
    /// Combines merge operands; without one they stay as they are.
    pub merge_operator: Option<Arc<dyn MergeOperator>>,
    /// Sizes of tables and number of parts.
    pub options: LeveledOptions,
    /// Set by someone else to make the job end with [`lsm_core::Error::Cancelled`].
    pub cancelled: Arc<AtomicBool>,
    /// Told how many bytes were written since the last call, by several threads; slows them down by sleeping.
    pub throttle: Option<Throttle>,
}

/// A rate limit that whoever starts jobs owns.
pub type Throttle = Arc<dyn Fn(u64) + Send + Sync>;

/// What a job made.
#[derive(Clone, Default, Debug)]
pub struct JobOutput {
    /// The tables in key order.
    pub tables: Vec<BuiltTable>,
    /// Sizes of the inputs.
    pub read_bytes: u64,
    /// Sizes of the outputs.
    pub written_bytes: u64,
    /// What became of the entries.
    pub counts: EntryCounts,
    /// Key ranges that were worked on separately.
    pub parts: usize,
}

/// Merges the inputs of `plan` into tables of its output level. Nothing refers to them yet:
/// [`Plan::edit`] makes the change that does.
///
/// The calling thread does the work itself and lets tasks on `executor` help; it may block on I/O.
///
/// # Errors
/// Damage and I/O errors, [`lsm_core::Error::Cancelled`]; all outputs are discarded then (J2).
///
/// # Panics
/// When a merge operator, a source or a sink does.
pub fn run(plan: &Plan, context: &JobContext, executor: &dyn Executor) -> Result<JobOutput> {
    let job = Arc::new(Job::open(plan, context)?);
    let boundaries = job.boundaries()?;
    let parts = boundaries.len() + 1;
    let (sink, shared) = (Arc::clone(&context.sink), Arc::clone(&job));
    let results = share(parts, executor, move |part| {
        let from = part.checked_sub(1).map(|before| boundaries[before].as_slice());
        shared.run_part(from, boundaries.get(part).map(Vec::as_slice))
    });
    let mut output = JobOutput { read_bytes: plan.input_bytes(), parts, ..JobOutput::default() };
    let mut failure = None;
    for result in results {
        match result {
            Ok(written) => output.add(written),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        None => Ok(output),
        Some(error) => {
            output.tables.iter().for_each(|table| sink.discard(table.meta.number));
            Err(error)
        }
    }
}

impl JobOutput {
    fn add(&mut self, part: Written) {
        self.written_bytes += part.bytes();
        self.counts.add(&part.counts);
        self.tables.extend(part.tables);
    }
}

/// A plan with its tables open, shared by the threads that work on it.
struct Job {
    plan: Plan,
    context: JobContext,
    below: Below,
    inputs: Vec<(usize, Vec<Input>)>,
    tombstones: RangeTombstones,
}

struct Input {
    meta: Arc<TableMeta>,
    table: Arc<Table>,
}

impl Job {
    fn open(plan: &Plan, context: &JobContext) -> Result<Job> {
        let stripes = stripes(&context.snapshots);
        let mut inputs = Vec::new();
        let mut tombstones = Vec::new();
        for (level, metas) in &plan.inputs {
            let mut tables = Vec::with_capacity(metas.len());
            for meta in metas {
                let table = context.source.open(meta)?;
                tombstones.extend(tombstones::of_table(table.tombstones(), meta, &stripes));
                tables.push(Input { meta: Arc::clone(meta), table });
            }
            inputs.push((*level, tables));
        }
        // Tables of level 0 that are not inputs may be older than the result of a merge within level 0.
        let below = if plan.output_level == 0 { Below::unknown() } else { Below::tables(plan.below.clone()) };
        let (plan, context, tombstones) = (plan.clone(), context.clone(), RangeTombstones::new(tombstones));
        Ok(Job { plan, context, below, inputs, tombstones })
    }

    /// Where the job is split: only where one job is all there is to do (level 0 goes down one job at a
    /// time), or someone is waiting for it. Elsewhere other key ranges keep the other threads busy.
    fn boundaries(&self) -> Result<Vec<Vec<u8>>> {
        let parts = self.context.options.subcompactions_max;
        let splits = self.plan.takes_level0_down() || self.plan.reason == Reason::Manual;
        if parts < 2 || !splits || self.plan.output_level == 0 {
            return Ok(Vec::new());
        }
        let mut anchors = Vec::new();
        for (_, tables) in &self.inputs {
            for input in tables {
                anchors.extend(input.table.anchors(ANCHORS_PER_TABLE)?);
            }
        }
        Ok(boundaries(anchors, parts, self.context.options.table_bytes_target))
    }

    fn run_part(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<Written> {
        let context = WriteContext {
            snapshots: &self.context.snapshots,
            below: &self.below,
            merge_operator: self.context.merge_operator.as_deref(),
            cut: self.cut(),
            from,
            to,
            epoch: self.plan.epoch(),
            oldest_ancestor_time: self.plan.oldest_ancestor_time(),
            cancelled: &self.context.cancelled,
            throttle: self.context.throttle.as_deref().map(|throttle| throttle as &(dyn Fn(u64) + Sync)),
        };
        write_tables(&mut self.cursor(), &self.tombstones, &context, &*self.context.sink)
    }

    fn cut(&self) -> Cut<'_> {
        let options = &self.context.options;
        match self.plan.output_level {
            0 => Cut::Never,
            _ => Cut::Leveled {
                table_bytes_target: options.table_bytes_target,
                job_bytes_max: options.job_bytes_max(),
                grandparents: self.plan.grandparents(),
            },
        }
    }

    /// All entries in order: one cursor per table of level 0, one per deeper level.
    fn cursor(&self) -> MergeCursor {
        let mut cursors: Vec<Box<dyn Cursor>> = Vec::new();
        for (level, tables) in &self.inputs {
            let opened = tables.iter().map(|input| (input.meta.largest.clone(), input.cursor()));
            if *level == 0 {
                cursors.extend(opened.map(|(_, cursor)| Box::new(cursor) as Box<dyn Cursor>));
            } else {
                cursors.push(Box::new(ConcatCursor::new(opened.collect())));
            }
        }
        MergeCursor::new(cursors)
    }
}

impl Input {
    fn cursor(&self) -> lsm_sstable::TableCursor {
        // A compaction passes by once: what it reads would only push out what readers use.
        self.table.cursor_with(ReadOptions { fill_cache: false, readahead: READAHEAD_BYTES })
    }
}
