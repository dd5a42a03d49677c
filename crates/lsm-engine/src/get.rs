//! Point reads: from the newest source down, stopping at the first one that decides.
//!
//! Takes no lock and never waits for a writer. Many keys go down together, table by table, so that they wait for
//! memory together too.

use crate::tables::TableHandle;
use crate::view::{Found, Level, View};
use lsm_core::{Kind, MergeOperator, Result, SeqNo, Slice, operator};
use lsm_sstable::{Entry, Probe, Table, filter_hash};

/// The value of `user_key` as of `visible`.
#[inline]
pub(crate) fn get(
    view: &View,
    user_key: &[u8],
    visible: SeqNo,
    merge_operator: Option<&dyn MergeOperator>,
) -> Result<Option<Slice>> {
    let mut lookup = Lookup::new(user_key, visible);
    lookup.search(view)?;
    lookup.value(merge_operator)
}

/// The values of `user_keys`, which are sorted, as of `visible`.
pub(crate) fn multi_get(
    view: &View,
    user_keys: &[&[u8]],
    visible: SeqNo,
    merge_operator: Option<&dyn MergeOperator>,
) -> Result<Vec<Option<Slice>>> {
    let mut lookups: Vec<_> = user_keys.iter().map(|user_key| Lookup::new(user_key, visible)).collect();
    lookups.iter_mut().try_for_each(|lookup| lookup.search_memtables(view))?;
    let mut open: Vec<_> = lookups.iter_mut().filter(|lookup| lookup.is_open()).collect();
    for (number, level) in view.levels.iter().enumerate() {
        match number {
            0 => level.iter().try_for_each(|handle| search_table(handle, &mut open))?,
            _ => search_run(level, &mut open)?,
        }
        open.retain(|lookup| lookup.is_open());
    }
    lookups.into_iter().map(|lookup| lookup.value(merge_operator)).collect()
}

/// Searches a level below level 0 for sorted keys.
fn search_run(level: &Level, mut lookups: &mut [&mut Lookup<'_>]) -> Result<()> {
    while let Some(lookup) = lookups.first() {
        let first = level.first_from(lookup.user_key);
        let Some(handle) = level.get(first) else { break };
        let behind = lookups.partition_point(|lookup| !handle.meta.ends_before(lookup.user_key));
        let (these, others) = std::mem::take(&mut lookups).split_at_mut(behind);
        search_table(handle, these)?;
        // Two neighbours may share a user key.
        these.iter_mut().try_for_each(|lookup| lookup.search_run_from(level, first + 1))?;
        lookups = others;
    }
    Ok(())
}

/// Searches one table for all keys that it covers.
fn search_table(handle: &TableHandle, lookups: &mut [&mut Lookup<'_>]) -> Result<()> {
    let mut covered: Vec<_> =
        lookups.iter_mut().filter(|lookup| lookup.is_open() && handle.meta.covers(lookup.user_key)).collect();
    let Some(visible) = covered.first().map(|lookup| lookup.visible) else { return Ok(()) };
    let table = handle.table()?;
    let mut probes: Vec<_> = covered.iter().map(|lookup| Probe::new(lookup.user_key, lookup.hash)).collect();
    table.multi_get(&mut probes, visible)?;
    covered.iter_mut().zip(probes).try_for_each(|(lookup, probe)| lookup.take_in(&table, probe.found))
}

/// A search for one key on its way down.
struct Lookup<'a> {
    user_key: &'a [u8],
    visible: SeqNo,
    hash: u64,
    /// The newest range tombstone over the key so far.
    covered: SeqNo,
    /// Merge operands so far, newest first.
    operands: Vec<Slice>,
    /// Once there is one, no older source has to be asked.
    verdict: Option<Verdict>,
}

enum Verdict {
    Value(Slice),
    Gone,
}

impl<'a> Lookup<'a> {
    fn new(user_key: &'a [u8], visible: SeqNo) -> Lookup<'a> {
        let hash = filter_hash(user_key);
        Lookup { user_key, visible, hash, covered: SeqNo::ZERO, operands: Vec::new(), verdict: None }
    }

    fn is_open(&self) -> bool {
        self.verdict.is_none()
    }

    fn search(&mut self, view: &View) -> Result<()> {
        self.search_memtables(view)?;
        for (number, level) in view.levels.iter().enumerate() {
            if !self.is_open() {
                break;
            }
            match number {
                // Runs of one table each.
                0 => level.iter().try_for_each(|handle| self.search_table_if_covered(handle))?,
                _ => self.search_run_from(level, level.first_from(self.user_key))?,
            }
        }
        Ok(())
    }

    fn search_memtables(&mut self, view: &View) -> Result<()> {
        for memtable in view.memtables() {
            if !self.is_open() {
                break;
            }
            if memtable.has_range_tombstones() {
                self.cover(memtable.tombstones().newest(self.user_key, self.visible));
            }
            let user_key = self.user_key;
            let find = |visible| {
                let found = memtable.get(user_key, visible)?;
                Some(Found { seq: found.seq, kind: found.kind, value: Slice::copy_from(found.value) })
            };
            self.descend(find(self.visible), |visible| Ok(find(visible)))?;
        }
        Ok(())
    }

    /// Searches the tables of a run from `first` on, as far as they cover the key.
    fn search_run_from(&mut self, level: &Level, first: usize) -> Result<()> {
        for number in first..level.len() {
            if !self.is_open() || !level.covers(number, self.user_key) {
                break;
            }
            self.search_table(&level[number])?;
        }
        Ok(())
    }

    fn search_table_if_covered(&mut self, handle: &TableHandle) -> Result<()> {
        match self.is_open() && handle.meta.covers(self.user_key) {
            true => self.search_table(handle),
            false => Ok(()),
        }
    }

    /// Searches a table that covers the key.
    fn search_table(&mut self, handle: &TableHandle) -> Result<()> {
        let table = handle.table()?;
        let covers_nothing = table.tombstones().is_empty();
        if covers_nothing && !table.may_contain_hashed(self.user_key, self.hash) {
            return Ok(());
        }
        match table.get_passing(self.user_key, self.visible)? {
            // Nearly all that is found: nothing lies over it, and nothing is looked for below it.
            Some(Entry { kind: Kind::Value, value, .. }) if covers_nothing && self.covered == SeqNo::ZERO => {
                self.verdict = Some(Verdict::Value(value));
                Ok(())
            }
            found => self.take_in(&table, found),
        }
    }

    /// Goes on from the newest visible entry of a table that covers the key.
    fn take_in(&mut self, table: &Table, found: Option<Entry>) -> Result<()> {
        if !table.tombstones().is_empty() {
            // The caller has checked that the key lies within the table's own range.
            self.cover(table.tombstones().newest(self.user_key, self.visible));
        }
        let found_of = |entry: Entry| Found { seq: entry.seq, kind: entry.kind, value: entry.value };
        let (user_key, hash) = (self.user_key, self.hash);
        let older = |visible| Ok(table.get_hashed(user_key, hash, visible)?.map(found_of));
        self.descend(found.map(found_of), older)
    }

    fn cover(&mut self, tombstone: Option<SeqNo>) {
        self.covered = self.covered.max(tombstone.unwrap_or_default());
    }

    /// Goes down the versions of the key in one source, from the newest visible one.
    fn descend(
        &mut self,
        mut newest: Option<Found<Slice>>,
        older: impl Fn(SeqNo) -> Result<Option<Found<Slice>>>,
    ) -> Result<()> {
        while let Some(found) = newest {
            if found.seq < self.covered {
                break;
            }
            match found.kind {
                Kind::Value => {
                    self.verdict = Some(Verdict::Value(found.value));
                    return Ok(());
                }
                Kind::Merge => self.operands.push(found.value),
                Kind::Deletion | Kind::SingleDeletion | Kind::RangeDeletion => {
                    self.verdict = Some(Verdict::Gone);
                    return Ok(());
                }
            }
            newest = match found.seq.get().checked_sub(1) {
                Some(seq) => older(SeqNo::new(seq))?,
                None => None,
            };
        }
        // W2: whatever lies in older sources is older than a tombstone found here.
        if self.covered > SeqNo::ZERO {
            self.verdict = Some(Verdict::Gone);
        }
        Ok(())
    }

    #[inline(always)]
    fn value(self, merge_operator: Option<&dyn MergeOperator>) -> Result<Option<Slice>> {
        match self.verdict {
            _ if !self.operands.is_empty() => self.merged(merge_operator),
            Some(Verdict::Value(value)) => Ok(Some(value)),
            Some(Verdict::Gone) | None => Ok(None),
        }
    }

    #[cold]
    fn merged(self, merge_operator: Option<&dyn MergeOperator>) -> Result<Option<Slice>> {
        let base = match self.verdict {
            Some(Verdict::Value(value)) => Some(value),
            Some(Verdict::Gone) | None => None,
        };
        let oldest_first = self.operands.iter().rev().map(|operand| &**operand);
        let merged = operator::apply(merge_operator, self.user_key, base.as_deref(), oldest_first)?;
        Ok(Some(merged.into()))
    }
}
