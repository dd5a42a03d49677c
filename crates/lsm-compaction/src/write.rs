//! The kernel that flushes and compactions share: sorted entries in, tables out.
//!
//! ```text
//!   cursor ──▶ retain (what may go) ──▶ outputs (where to cut) ──▶ builder ──▶ sink
//! ```
//!
//! A key and its value are copied once, from the block they were read in to the block they are
//! written to; entries that go are not copied at all.

use crate::below::Below;
use crate::cut::Cut;
use crate::output::Outputs;
use crate::retain::{EntryCounts, Retain};
use crate::sink::TableSink;
use crate::tombstones::Kept;
use lsm_core::key::{self, InternalKey};
use lsm_core::range_tombstone::RangeTombstones;
use lsm_core::{Cursor, Error, MergeOperator, Result, SeqNo};
use lsm_manifest::TableMeta;
use lsm_sstable::TableSummary;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Entries read between two looks at whether the job was cancelled.
const ENTRIES_PER_CHECK: u32 = 512;

/// Everything but the entries that [`write_tables`] works with.
#[derive(Clone, Copy)]
pub struct WriteContext<'a> {
    /// The live snapshots, in any order.
    pub snapshots: &'a [SeqNo],
    /// What older entries there may be elsewhere.
    pub below: &'a Below,
    /// Combines merge operands; without one they stay as they are.
    pub merge_operator: Option<&'a dyn MergeOperator>,
    /// Where tables are cut.
    pub cut: Cut<'a>,
    /// First user key to write; `None` for all from the beginning.
    pub from: Option<&'a [u8]>,
    /// First user key not to write; `None` for all to the end.
    pub to: Option<&'a [u8]>,
    /// Epoch of the outputs.
    pub epoch: u64,
    /// Unix seconds of the oldest flush that contributed; zero leaves the sink's `creation_time`.
    pub oldest_ancestor_time: u64,
    /// Set by someone else to make the job end with [`Error::Cancelled`].
    pub cancelled: &'a AtomicBool,
    /// Told how many bytes were written since the last call; slows the job down by sleeping.
    pub throttle: Option<&'a (dyn Fn(u64) + Sync)>,
}

impl WriteContext<'_> {
    fn check_cancelled(&self) -> Result<()> {
        // Relaxed: nothing but the flag itself is handed over.
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Tells the throttle of `bytes` written, and looks whether to go on.
    pub(crate) fn report(&self, bytes: u64) -> Result<()> {
        if let Some(throttle) = self.throttle.filter(|_| bytes > 0) {
            throttle(bytes);
        }
        self.check_cancelled()
    }
}

/// A table that was written and synced, but is in no version yet.
#[derive(Clone, Debug)]
pub struct BuiltTable {
    /// What the manifest will say about it, its statistics included.
    pub meta: Arc<TableMeta>,
    /// What the builder says about it.
    pub summary: Arc<TableSummary>,
}

/// What [`write_tables`] made.
#[derive(Clone, Default, Debug)]
pub struct Written {
    /// The tables in key order; none if everything went.
    pub tables: Vec<BuiltTable>,
    /// What became of the entries.
    pub counts: EntryCounts,
}

impl Written {
    /// Sum of the tables' sizes.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.meta.bytes).sum()
    }
}

/// The ends of the stripes that `snapshots` and the present make.
pub(crate) fn stripes(snapshots: &[SeqNo]) -> Vec<SeqNo> {
    let mut stripes = snapshots.to_vec();
    stripes.push(SeqNo::MAX);
    stripes.sort_unstable();
    stripes.dedup();
    stripes
}

/// Writes what must stay of `input` and `tombstones` to tables of `sink`.
///
/// `input` holds point entries only; it is moved to the start of the range here. For a flush it is a memtable's
/// cursor, for a compaction a merge of tables. `tombstones` are clipped to what their tables cover.
///
/// # Errors
/// Damage and I/O errors of either side, and [`Error::Cancelled`]. Files that were created are discarded then.
pub fn write_tables<C: Cursor + ?Sized>(
    input: &mut C,
    tombstones: &RangeTombstones,
    context: &WriteContext<'_>,
    sink: &dyn TableSink,
) -> Result<Written> {
    let stripes = stripes(context.snapshots);
    let kept = Kept::new(tombstones, &stripes, context.below, (context.from, context.to));
    let outputs = Outputs::new(context, sink, kept);
    let mut retain = Retain::new(&stripes, tombstones, context.below.cursor(), context.merge_operator, outputs);
    match context.from {
        Some(from) => input.seek(InternalKey::for_seek(from, SeqNo::MAX).as_bytes())?,
        None => input.seek_to_first()?,
    }
    let mut until_check = 0;
    while input.valid() {
        if until_check == 0 {
            context.check_cancelled()?;
            until_check = ENTRIES_PER_CHECK;
        }
        until_check -= 1;
        if context.to.is_some_and(|to| key::user_key(input.key()) >= to) {
            break;
        }
        retain.add(input.key(), input.value())?;
        input.next()?;
    }
    let (outputs, counts) = retain.finish()?;
    Ok(Written { tables: outputs.finish()?, counts })
}
