//! Point reads: from the newest source down, stopping at the first one that decides.
//!
//! Takes no lock and never waits for a writer.

use crate::tables::TableHandle;
use crate::view::{Found, View};
use lsm_core::{Kind, MergeOperator, Result, SeqNo, Slice, operator};
use lsm_sstable::filter_hash;

/// The value of `user_key` as of `visible`.
pub(crate) fn get(
    view: &View,
    user_key: &[u8],
    visible: SeqNo,
    merge_operator: Option<&dyn MergeOperator>,
) -> Result<Option<Slice>> {
    let mut lookup = Lookup { user_key, visible, covered: SeqNo::ZERO, operands: Vec::new() };
    let base = match lookup.search(view)? {
        Some(Verdict::Value(value)) => Some(value),
        Some(Verdict::Gone) | None => None,
    };
    if lookup.operands.is_empty() {
        return Ok(base);
    }
    let merged = operator::apply(merge_operator, user_key, base.as_deref(), &lookup.operands)?;
    Ok(Some(merged.into()))
}

/// A search on its way down.
struct Lookup<'a> {
    user_key: &'a [u8],
    visible: SeqNo,
    /// The newest range tombstone over the key so far.
    covered: SeqNo,
    /// Merge operands so far, newest first.
    operands: Vec<Slice>,
}

/// What decides a search: no older source has to be asked.
enum Verdict {
    Value(Slice),
    Gone,
}

impl Lookup<'_> {
    fn search(&mut self, view: &View) -> Result<Option<Verdict>> {
        for memtable in view.memtables() {
            if memtable.has_range_tombstones() {
                self.cover(memtable.tombstones().newest(self.user_key, self.visible));
            }
            let found = |visible| {
                let found = memtable.get(self.user_key, visible)?;
                Some(Found { seq: found.seq, kind: found.kind, value: Slice::copy_from(found.value) })
            };
            let verdict = descend(self.visible, self.covered, &mut self.operands, |visible| Ok(found(visible)))?;
            if verdict.is_some() {
                return Ok(verdict);
            }
        }
        let hash = filter_hash(self.user_key);
        for (number, level) in view.levels.iter().enumerate() {
            // Level 0 has runs of one table each; deeper levels are one run.
            let first = match number {
                0 => 0,
                _ => level.partition_point(|handle| handle.meta.ends_before(self.user_key)),
            };
            for handle in &level[first..] {
                let outside = !handle.meta.covers(self.user_key);
                match number {
                    0 if outside => continue,
                    0 => {}
                    _ if outside => break,
                    _ => {}
                }
                let verdict = self.search_table(handle, hash)?;
                if verdict.is_some() {
                    return Ok(verdict);
                }
            }
        }
        Ok(None)
    }

    fn search_table(&mut self, handle: &TableHandle, hash: u64) -> Result<Option<Verdict>> {
        let table = handle.table()?;
        if !table.tombstones().is_empty() {
            // The caller has checked that the key lies within the table's own range.
            self.cover(table.tombstones().newest(self.user_key, self.visible));
        }
        descend(self.visible, self.covered, &mut self.operands, |visible| {
            let found = table.get_hashed(self.user_key, hash, visible)?;
            Ok(found.map(|entry| Found { seq: entry.seq, kind: entry.kind, value: entry.value }))
        })
    }

    fn cover(&mut self, tombstone: Option<SeqNo>) {
        self.covered = self.covered.max(tombstone.unwrap_or_default());
    }
}

/// Goes down the versions of a key in one source.
fn descend(
    mut visible: SeqNo,
    covered: SeqNo,
    operands: &mut Vec<Slice>,
    find: impl Fn(SeqNo) -> Result<Option<Found<Slice>>>,
) -> Result<Option<Verdict>> {
    while let Some(found) = find(visible)? {
        if found.seq < covered {
            return Ok(Some(Verdict::Gone));
        }
        match found.kind {
            Kind::Value => return Ok(Some(Verdict::Value(found.value))),
            Kind::Merge => operands.push(found.value),
            Kind::Deletion | Kind::SingleDeletion | Kind::RangeDeletion => return Ok(Some(Verdict::Gone)),
        }
        match found.seq.get().checked_sub(1) {
            Some(older) => visible = SeqNo::new(older),
            None => break,
        }
    }
    // W2: whatever lies in older sources is older than a tombstone found here.
    Ok((covered > SeqNo::ZERO).then_some(Verdict::Gone))
}
