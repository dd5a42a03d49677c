//! What was written, in which order, and what of it was promised.
//!
//! # Invariants
//! R1. A batch is in the record before the store sees it: a crash inside of the call may keep it.
//! R2. `ends` holds the state before the first batch and after each one: a crash leaves one of these.
//! R3. A write whose call failed stays only if it is visible in the store, whole (see [`super::world`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm_core::{ColumnFamilyId, SeqNo};
use lsm_testkit::{AppendOperator, Model, Write};

use super::op::{Change, KEYS, Kind, SLOTS, key};

/// A family that a history uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Its number in the record, another one each time it is created.
    pub(crate) id: ColumnFamilyId,
    pub(crate) may_exist: bool,
    pub(crate) must_exist: bool,
}

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) model: Model,
    pub(crate) ends: Vec<SeqNo>,
    /// The last write that survives a power cut.
    pub(crate) synced: SeqNo,
    /// The last write that survives the end of the process.
    pub(crate) buffered: SeqNo,
    pub(crate) slots: [Slot; SLOTS],
    /// Copies that were made, and are there whatever comes.
    pub(crate) checkpoints: Vec<Checkpoint>,
    next_id: u32,
    written: u64,
    /// Puts of a key since the last single deletion; 2 where none is allowed any more.
    puts: BTreeMap<(usize, u8), usize>,
}

/// A copy of the store.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    pub(crate) path: String,
    /// The state that it holds.
    pub(crate) at: SeqNo,
    /// The families that were there.
    pub(crate) slots: [Slot; SLOTS],
}

/// A change as the store is asked for it.
pub(crate) enum Step {
    Write(Write),
    DeleteRange(Vec<u8>, Vec<u8>),
}

impl Record {
    /// Nothing written, and only the default family.
    pub(crate) fn new() -> Record {
        let none = Slot { id: ColumnFamilyId(0), may_exist: false, must_exist: false };
        let mut slots = [none; SLOTS];
        slots[0] = Slot { id: ColumnFamilyId::DEFAULT, may_exist: true, must_exist: true };
        Record {
            model: Model::new(Arc::new(AppendOperator)),
            ends: vec![SeqNo::ZERO],
            synced: SeqNo::ZERO,
            buffered: SeqNo::ZERO,
            slots,
            checkpoints: Vec::new(),
            next_id: 1,
            written: 0,
            puts: BTreeMap::new(),
        }
    }

    /// The last write.
    pub(crate) fn last(&self) -> SeqNo {
        self.model.last_seq()
    }

    /// Puts `changes` down as one batch and says what to ask the store for, family by family.
    pub(crate) fn write(&mut self, changes: &[Change], exists: impl Fn(usize) -> bool) -> Vec<(usize, Vec<u8>, Step)> {
        let steps = changes
            .iter()
            .map(|change| {
                let slot = if exists(change.slot) { change.slot } else { 0 };
                (slot, key(change.key), self.change(slot, change.key, &change.kind))
            })
            .collect();
        self.ends.push(self.last());
        steps
    }

    fn change(&mut self, slot: usize, number: u8, kind: &Kind) -> Step {
        let family = self.slots[slot].id;
        let puts = self.puts.entry((slot, number)).or_default();
        let write = match kind {
            // Some keys know no other deletion than the single one, with which no other may be mixed.
            Kind::Delete | Kind::SingleDelete | Kind::Merge(_) if number >= KEYS - 6 && *puts == 1 => {
                *puts = 0;
                Write::SingleDelete
            }
            Kind::Put(bytes) => {
                *puts += 1;
                self.written += 1;
                let mut value = format!("{}:", self.written).into_bytes();
                value.resize(value.len() + usize::from(*bytes), b'a' + (self.written % 26) as u8);
                Write::Put(value)
            }
            Kind::Delete | Kind::SingleDelete => {
                *puts = 2;
                Write::Delete
            }
            Kind::Merge(bytes) => {
                *puts = 2;
                Write::Merge(vec![b'm'; usize::from(*bytes)])
            }
            Kind::DeleteRange(width) => return self.delete_range(slot, number, *width),
        };
        self.model.write(family, &key(number), write.clone());
        Step::Write(write)
    }

    fn delete_range(&mut self, slot: usize, number: u8, width: u8) -> Step {
        let (start, end) = (key(number), key(number.saturating_add(width).min(KEYS)));
        let (start, end) = if start <= end { (start, end) } else { (end, start) };
        self.model.delete_range(self.slots[slot].id, &start, &end);
        for ((of, number), puts) in &mut self.puts {
            if *of == slot && (start.as_slice()..end.as_slice()).contains(&key(*number).as_slice()) {
                *puts = 2;
            }
        }
        Step::DeleteRange(start, end)
    }

    /// All writes so far were acknowledged as being in the system's hands, or on stable storage.
    pub(crate) fn acknowledge(&mut self, synced: bool) {
        self.buffered = self.last();
        if synced {
            self.synced = self.buffered;
        }
    }

    /// Forgets what came after `end`: a crash lost it, or it was refused.
    pub(crate) fn rewind(&mut self, end: SeqNo) {
        self.model.rewind(end);
        self.ends.retain(|found| *found <= end);
        self.synced = self.synced.min(end);
        self.buffered = self.buffered.min(end);
        // How often what is left was put is not known any more.
        self.puts.values_mut().for_each(|puts| *puts = 2);
    }

    /// A family is about to be created.
    pub(crate) fn begin_create(&mut self, slot: usize) {
        self.slots[slot] = Slot { id: ColumnFamilyId(self.next_id), may_exist: true, must_exist: false };
        self.next_id += 1;
        self.puts.retain(|(of, _), _| *of != slot);
    }

    /// What is there of a key.
    pub(crate) fn get(&self, slot: usize, key: &[u8], at: SeqNo) -> Option<Vec<u8>> {
        self.model.get_at(self.slots[slot].id, key, at)
    }

    /// What is there of a family.
    pub(crate) fn all(&self, slot: usize, at: SeqNo) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.model.all_at(self.slots[slot].id, at)
    }
}

/// The name of a family.
pub(crate) fn family_name(slot: usize) -> &'static str {
    ["default", "one", "two"][slot]
}
