//! What may go: the rules by which a flush or a compaction leaves entries out.
//!
//! Readers stand at a live snapshot or at the present. The snapshots cut the sequence numbers into
//! *stripes*: two writes in one stripe are seen by the same readers, so of one key each stripe needs
//! one answer. [`Retain`] is fed the entries of a merge in internal key order, so it meets the entries
//! of one user key newest first, and passes on what must stay.
//!
//! ```text
//!   snapshots        20           50
//!   sequence  ───────┴────────────┴──────────▶
//!   stripe        0        1            2
//! ```
//!
//! | entry, in its stripe | there is above it | it goes | rule |
//! |---|---|---|---|
//! | any point entry | a range tombstone of the same stripe | away | R2 |
//! | value, deletion, operand | a value or deletion of the same stripe | away | R1 |
//! | value | a single deletion of the same stripe | away, both | R4 |
//! | operand | a single deletion of the same stripe | away | R1 |
//! | single deletion | a deletion of the same stripe | away | R1 |
//! | value or deletion | operands of the same stripe | into one value with them | R5 |
//! | deletion | nothing, or older deletions only, and the bottom below | away | R3 |
//! | operands | the bottom below | into one value | R5 |
//! | value | everything else; stripe 0 and the bottom below | to sequence number 0 | R6 |
//!
//! # Invariants
//! R1. An entry that a newer entry of its key and stripe hides is dropped. A single deletion under a
//!     value is not: the value may be cancelled by a later single deletion, and what lies below would
//!     come back.
//! R2. An entry is dropped if a range tombstone of its stripe is newer. Tombstones of newer stripes
//!     drop nothing: the snapshot between still reads the entry.
//! R3. A deletion goes only when no older entry of its key stays or can lie below ([`Below`](crate::Below)). Of
//!     deletions that follow each other the oldest does the work of all.
//! R4. A single deletion and the value it was written for cancel each other only inside one stripe.
//! R5. Merge operands are combined only within a stripe. They become a value when their base is met
//!     in that stripe or the bottom shows that there is none. Without a merge operator, or when it
//!     refuses or makes more of them than a table holds, operands and base stay as they are: a reader reports it, a
//!     compaction loses nothing.
//! R6. A value gets sequence number 0 when every snapshot sees it and nothing older of its key can
//!     lie below. It is then the last entry of its key (R1), so zero stays unique per key, and no range
//!     tombstone that stays can be older: tombstones of stripe 0 stay only above tables that cover the
//!     key (`tombstones.rs`), where R6 does not apply.
//!
//! Who calls it owes two facts: every entry in the input is published (a snapshot taken from now on
//! sees all of them), and a key's entries elsewhere are newer than those here or covered by `Below`.

use crate::below::BelowCursor;
use lsm_core::key::{ParsedKey, SeqNo, VALUE_BYTES_MAX, is_same_key, pack_trailer};
use lsm_core::range_tombstone::{Coverage, RangeTombstones};
use lsm_core::{Error, Kind, MergeOperator, Result};

/// Where entries that stay go.
pub(crate) trait Output {
    /// The next entries are of `user_key`, which is larger than all before.
    fn begin_key(&mut self, user_key: &[u8]) -> Result<()>;

    /// One entry of that key.
    fn entry(&mut self, internal_key: &[u8], value: &[u8]) -> Result<()>;
}

/// How many entries came in and what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EntryCounts {
    /// Point entries read.
    pub read: u64,
    /// Point entries written.
    pub written: u64,
    /// Entries dropped because a newer entry hides them (R1).
    pub hidden: u64,
    /// Entries dropped because a range tombstone covers them (R2).
    pub covered: u64,
    /// Deletions that reached the bottom (R3), and single deletions with their values (R4).
    pub deletions_dropped: u64,
    /// Merge operands and bases that went into a combined entry (R5).
    pub merged: u64,
}

impl EntryCounts {
    /// Adds the counts of another part of the same job.
    pub fn add(&mut self, other: &EntryCounts) {
        self.read += other.read;
        self.written += other.written;
        self.hidden += other.hidden;
        self.covered += other.covered;
        self.deletions_dropped += other.deletions_dropped;
        self.merged += other.merged;
    }
}

/// A deletion that is written only if something older of its key is.
struct Held {
    seq: SeqNo,
    kind: Kind,
    stripe: usize,
}

/// Operands of one key and stripe, newest first.
#[derive(Default)]
struct Operands {
    stripe: usize,
    list: Vec<(SeqNo, Vec<u8>)>,
}

/// Drops what no reader needs and passes on the rest.
pub(crate) struct Retain<'a, O> {
    /// Upper ends of the stripes: the snapshots ascending, then the present.
    stripes: &'a [SeqNo],
    tombstones: &'a RangeTombstones,
    /// For each stripe, the newest tombstone over the key last asked for.
    coverage: Vec<Option<Coverage>>,
    below: BelowCursor<'a>,
    operator: Option<&'a dyn MergeOperator>,
    output: O,
    counts: EntryCounts,
    key: KeyState,
    scratch: Vec<u8>,
}

/// What is known about the user key at hand.
#[derive(Default)]
struct KeyState {
    started: bool,
    user_key: Vec<u8>,
    /// Whether anything of it was written.
    begun: bool,
    /// Whether nothing older can lie below; asked for once per key.
    bottom: Option<bool>,
    /// The stripe in which a value or deletion was met last (R1).
    settled: Option<usize>,
    held: Option<Held>,
    operands: Operands,
}

impl KeyState {
    fn holds_in(&self, stripe: usize) -> Option<Kind> {
        self.held.as_ref().filter(|held| held.stripe == stripe).map(|held| held.kind)
    }

    fn has_operands_in(&self, stripe: usize) -> bool {
        !self.operands.list.is_empty() && self.operands.stripe == stripe
    }
}

impl<'a, O: Output> Retain<'a, O> {
    /// Rules for readers at `stripes` (ascending snapshots, then [`SeqNo::MAX`]).
    pub(crate) fn new(
        stripes: &'a [SeqNo],
        tombstones: &'a RangeTombstones,
        below: BelowCursor<'a>,
        operator: Option<&'a dyn MergeOperator>,
        output: O,
    ) -> Retain<'a, O> {
        debug_assert_eq!(stripes.last(), Some(&SeqNo::MAX), "the present is the last stripe");
        let coverage = if tombstones.is_empty() { Vec::new() } else { vec![None; stripes.len()] };
        let (counts, key, scratch) = Default::default();
        Retain { stripes, tombstones, coverage, below, operator, output, counts, key, scratch }
    }

    /// Takes the next entry in internal key order.
    pub(crate) fn add(&mut self, internal_key: &[u8], value: &[u8]) -> Result<()> {
        let entry = ParsedKey::parse(internal_key)
            .ok_or_else(|| Error::corruption(format!("{} bytes are no internal key", internal_key.len())))?;
        self.counts.read += 1;
        if !self.key.started || !is_same_key(&self.key.user_key, entry.user_key) {
            self.finish_key()?;
            self.start_key(entry.user_key);
        }
        let stripe = self.stripe_of(entry.seq);
        if self.is_covered(entry.user_key, entry.seq, stripe) {
            self.counts.covered += 1;
            return Ok(());
        }
        match entry.kind {
            Kind::Value => self.value(internal_key, entry.seq, stripe, value),
            Kind::Deletion => self.deletion(entry.seq, stripe),
            Kind::SingleDeletion => self.single_deletion(entry.seq, stripe),
            Kind::Merge => self.operand(entry.seq, stripe, value),
            Kind::RangeDeletion => Err(Error::corruption(format!(
                "range deletion of {} among point entries",
                entry.user_key.escape_ascii()
            ))),
        }
    }

    /// Ends the last key and hands the output back.
    pub(crate) fn finish(mut self) -> Result<(O, EntryCounts)> {
        self.finish_key()?;
        Ok((self.output, self.counts))
    }

    fn start_key(&mut self, user_key: &[u8]) {
        self.key.started = true;
        self.key.user_key.clear();
        self.key.user_key.extend_from_slice(user_key);
        self.key.begun = false;
        self.key.bottom = None;
        self.key.settled = None;
    }

    fn finish_key(&mut self) -> Result<()> {
        if !self.key.operands.list.is_empty() {
            let merged = self.at_bottom() && self.merge_onto(None)?;
            if !merged {
                self.write_operands()?;
            }
        }
        if self.key.held.is_none() {
            return Ok(());
        }
        if self.at_bottom() {
            self.key.held = None;
            self.counts.deletions_dropped += 1;
            return Ok(());
        }
        self.write_held()
    }

    fn value(&mut self, internal_key: &[u8], seq: SeqNo, stripe: usize, value: &[u8]) -> Result<()> {
        if self.key.holds_in(stripe) == Some(Kind::SingleDeletion) {
            self.key.held = None;
            self.counts.deletions_dropped += 2;
            return Ok(());
        }
        if self.key.settled == Some(stripe) {
            self.counts.hidden += 1;
            return Ok(());
        }
        self.key.settled = Some(stripe);
        if self.key.has_operands_in(stripe) && self.merge_onto(Some(value))? {
            self.counts.merged += 1;
            return Ok(());
        }
        self.write_operands()?;
        self.write_held()?;
        if self.may_zero(stripe) && seq != SeqNo::ZERO {
            return self.write(SeqNo::ZERO, Kind::Value, value);
        }
        self.begin()?;
        self.counts.written += 1;
        self.output.entry(internal_key, value)
    }

    fn deletion(&mut self, seq: SeqNo, stripe: usize) -> Result<()> {
        if self.key.settled == Some(stripe) {
            self.counts.hidden += 1;
            return Ok(());
        }
        self.key.settled = Some(stripe);
        if self.key.has_operands_in(stripe) && self.merge_onto(None)? {
            self.counts.merged += 1;
            return Ok(());
        }
        self.write_operands()?;
        self.hold(Held { seq, kind: Kind::Deletion, stripe });
        Ok(())
    }

    fn single_deletion(&mut self, seq: SeqNo, stripe: usize) -> Result<()> {
        if self.key.holds_in(stripe) == Some(Kind::Deletion) {
            self.counts.hidden += 1;
            return Ok(());
        }
        let merged = self.key.has_operands_in(stripe) && self.merge_onto(None)?;
        if !merged {
            self.write_operands()?;
        }
        if self.key.holds_in(stripe).is_none() {
            // The pair that this one may form must not take a newer stripe's deletion with it.
            self.write_held()?;
        }
        self.hold(Held { seq, kind: Kind::SingleDeletion, stripe });
        Ok(())
    }

    fn operand(&mut self, seq: SeqNo, stripe: usize, value: &[u8]) -> Result<()> {
        if self.key.settled == Some(stripe) || self.key.holds_in(stripe).is_some() {
            self.counts.hidden += 1;
            return Ok(());
        }
        if !self.key.has_operands_in(stripe) {
            self.write_operands()?;
        }
        self.key.operands.stripe = stripe;
        self.key.operands.list.push((seq, value.to_vec()));
        Ok(())
    }

    /// Replaces a deletion that is still held: the older one hides as much (R3).
    fn hold(&mut self, deletion: Held) {
        if self.key.held.replace(deletion).is_some() {
            self.counts.hidden += 1;
        }
    }

    /// Makes the operands at hand and `base` one value; `false` if that is not possible (R5).
    fn merge_onto(&mut self, base: Option<&[u8]>) -> Result<bool> {
        let Some(operator) = self.operator else { return Ok(false) };
        let oldest_first: Vec<&[u8]> = self.key.operands.list.iter().rev().map(|(_, operand)| &operand[..]).collect();
        let merged = operator.full_merge(&self.key.user_key, base, &oldest_first).and_then(short_enough);
        let Some(merged) = merged else { return Ok(false) };
        let Operands { stripe, list } = std::mem::take(&mut self.key.operands);
        self.counts.merged += list.len() as u64;
        self.key.settled = Some(stripe);
        self.write_held()?;
        let seq = if self.may_zero(stripe) { SeqNo::ZERO } else { list[0].0 };
        self.write(seq, Kind::Value, &merged)?;
        Ok(true)
    }

    /// Writes the operands at hand, combined as far as the operator can without their base.
    fn write_operands(&mut self) -> Result<()> {
        if self.key.operands.list.is_empty() {
            return Ok(());
        }
        self.write_held()?;
        let list = std::mem::take(&mut self.key.operands.list);
        let mut combined: Vec<(SeqNo, Vec<u8>)> = Vec::with_capacity(list.len());
        for (seq, newer) in list.into_iter().rev() {
            let partial = combined
                .last()
                .zip(self.operator)
                .and_then(|((_, older), operator)| operator.partial_merge(&self.key.user_key, older, &newer))
                .and_then(short_enough);
            match (partial, combined.last_mut()) {
                (Some(merged), Some(last)) => {
                    *last = (seq, merged);
                    self.counts.merged += 1;
                }
                _ => combined.push((seq, newer)),
            }
        }
        combined.iter().rev().try_for_each(|(seq, operand)| self.write(*seq, Kind::Merge, operand))
    }

    fn write_held(&mut self) -> Result<()> {
        match self.key.held.take() {
            Some(held) => self.write(held.seq, held.kind, &[]),
            None => Ok(()),
        }
    }

    fn write(&mut self, seq: SeqNo, kind: Kind, value: &[u8]) -> Result<()> {
        self.begin()?;
        self.counts.written += 1;
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.key.user_key);
        self.scratch.extend_from_slice(&pack_trailer(seq, kind as u8).to_le_bytes());
        self.output.entry(&self.scratch, value)
    }

    fn begin(&mut self) -> Result<()> {
        if self.key.begun {
            return Ok(());
        }
        self.key.begun = true;
        self.output.begin_key(&self.key.user_key)
    }

    fn stripe_of(&self, seq: SeqNo) -> usize {
        // Without snapshots there is one stripe, and the search is one comparison.
        self.stripes.partition_point(|&upper| upper < seq)
    }

    fn is_covered(&mut self, user_key: &[u8], seq: SeqNo, stripe: usize) -> bool {
        let Some(cached) = self.coverage.get_mut(stripe) else { return false };
        if !cached.as_ref().is_some_and(|coverage| coverage.holds_for(user_key)) {
            let mut fresh = Coverage::none();
            self.tombstones.coverage(user_key, self.stripes[stripe], &mut fresh);
            *cached = Some(fresh);
        }
        cached.as_ref().is_some_and(|coverage| coverage.deletes(seq))
    }

    fn at_bottom(&mut self) -> bool {
        let KeyState { bottom, user_key, .. } = &mut self.key;
        *bottom.get_or_insert_with(|| !self.below.may_hold(user_key))
    }

    fn may_zero(&mut self, stripe: usize) -> bool {
        stripe == 0 && self.at_bottom()
    }
}

/// What a merge operator has made, if a table takes it: else the job would fail, and again after each reopening (R5).
fn short_enough(merged: Vec<u8>) -> Option<Vec<u8>> {
    (merged.len() <= VALUE_BYTES_MAX).then_some(merged)
}

#[cfg(test)]
mod tests;
