//! What one client does: batches and reads of one moment, by every call that the store has for them.
//!
//! Each key has a list in the family `lists`, to which batches append, and a register in the default family, which
//! they put: its value is the list's last element. So a read sees merges against puts and one family against the
//! other, of one batch.

use anyhow::{Context, Result, ensure};
use lsm_engine::{ColumnFamily, Commit, Db, Durability, MergeOperator, WriteBatch, WriteOptions};
use lsm_testkit::Choices;

use super::history::{BatchId, Element, Key, List, Moments, Transaction, What};

/// Keys of a history.
pub(super) const KEYS: usize = 40;

/// Keys of a batch, at most.
const BATCH_KEYS_MAX: usize = 4;

/// Submitted batches that a client has under way, at most.
const UNDER_WAY_MAX: usize = 8;

/// Appends operands to the value.
pub(super) struct Concatenate;

impl MergeOperator for Concatenate {
    fn name(&self) -> &str {
        "lsm-torture.concatenate"
    }

    fn full_merge(&self, _: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        Some([existing.unwrap_or_default(), &operands.concat()].concat())
    }

    fn partial_merge(&self, _: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some([older, newer].concat())
    }
}

pub(super) struct Client<'a> {
    pub(super) db: &'a Db,
    pub(super) lists: &'a ColumnFamily,
    pub(super) moments: &'a Moments,
    pub(super) choices: Choices,
    /// Batches of this client are those from here on.
    pub(super) next_batch: BatchId,
    pub(super) done: Vec<Transaction>,
    under_way: Vec<(Transaction, Commit)>,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        db: &'a Db,
        lists: &'a ColumnFamily,
        moments: &'a Moments,
        choices: Choices,
        next_batch: BatchId,
    ) -> Client<'a> {
        Client { db, lists, moments, choices, next_batch, done: Vec::new(), under_way: Vec::new() }
    }

    pub(super) fn run(mut self, transactions: usize) -> Result<Vec<Transaction>> {
        for _ in 0..transactions {
            if self.choices.one_in(2) { self.write()? } else { self.read()? }
        }
        self.settle(0)?;
        Ok(self.done)
    }

    fn write(&mut self) -> Result<()> {
        let batch = self.next_batch;
        self.next_batch += 1;
        let mut keys: Vec<(Key, u8)> = Vec::new();
        for _ in 0..self.choices.within(1..=BATCH_KEYS_MAX) {
            let key = self.choices.below(KEYS);
            if keys.iter().all(|(other, _)| *other != key) {
                keys.push((key, if self.choices.one_in(8) { 2 } else { 1 }));
            }
        }
        let mut writes = WriteBatch::new();
        for (key, count) in &keys {
            for part in 0..*count {
                let element = Element { batch, part }.encode();
                writes.merge_cf(self.lists, name(*key), element);
                writes.put(name(*key), element);
            }
        }
        let durability = if self.choices.one_in(8) { Durability::Synced } else { Durability::Buffered };
        let options = WriteOptions::new().durability(durability);
        let mut transaction =
            Transaction { begun: self.moments.next(), ended: 0, how: "write", what: What::Write { batch, keys } };
        if self.choices.one_in(2) {
            self.db.write_with(writes, &options)?;
            transaction.ended = self.moments.next();
            self.done.push(transaction);
        } else {
            transaction.how = "submit";
            let commit = self.db.submit_with(writes, &options);
            self.under_way.push((transaction, commit));
            let left = self.choices.below(UNDER_WAY_MAX);
            self.settle(left)?;
        }
        Ok(())
    }

    /// Waits until no more than `left` submitted batches are under way.
    fn settle(&mut self, left: usize) -> Result<()> {
        while self.under_way.len() > left {
            let (mut transaction, commit) = self.under_way.remove(0);
            commit.wait()?;
            transaction.ended = self.moments.next();
            self.done.push(transaction);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let begun = self.moments.next();
        let (how, seen) = match self.choices.below(6) {
            0 => ("iterators of a snapshot", self.scan_snapshot(false)?),
            1 => ("backward iterators of a snapshot", self.scan_snapshot(true)?),
            2 => ("an iterator", self.scan(false)?),
            3 => ("a backward iterator", self.scan(true)?),
            4 => ("multi_get", self.multi_get()?),
            _ => ("gets of a snapshot", self.get_from_snapshot()?),
        };
        let ended = self.moments.next();
        self.done.push(Transaction { begun, ended, how, what: What::Read { seen } });
        Ok(())
    }

    fn scan_snapshot(&self, backward: bool) -> Result<Vec<(Key, List)>> {
        let snapshot = self.db.snapshot();
        let lists = collect(snapshot.column_family(self.lists).iter(), backward)?;
        let registers = collect(snapshot.iter(), backward)?;
        ensure!(
            lists.iter().all(|(key, list)| last_of(list)
                == registers.iter().find(|(other, _)| other == key).and_then(|(_, value)| last_of(value))),
            "G1c: in a snapshot, lists and registers of one batch do not agree"
        );
        whole(lists)
    }

    fn scan(&self, backward: bool) -> Result<Vec<(Key, List)>> {
        whole(collect(self.lists.iter(), backward)?)
    }

    fn some_keys(&mut self) -> Vec<Key> {
        (0..5).map(|_| self.choices.below(KEYS)).collect()
    }

    fn multi_get(&mut self) -> Result<Vec<(Key, List)>> {
        let keys = self.some_keys();
        let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
        let values = self.lists.multi_get(&names)?;
        keys.into_iter()
            .zip(values)
            .map(|(key, value)| Ok((key, decoded(value.as_deref().unwrap_or_default())?)))
            .collect()
    }

    fn get_from_snapshot(&mut self) -> Result<Vec<(Key, List)>> {
        let snapshot = self.db.snapshot();
        let lists = snapshot.column_family(self.lists);
        let mut seen = Vec::new();
        for key in self.some_keys() {
            let list = decoded(lists.get(name(key))?.as_deref().unwrap_or_default())?;
            let register = decoded(snapshot.get(name(key))?.as_deref().unwrap_or_default())?;
            ensure!(
                list.last() == register.last(),
                "G1c: key {key} of a snapshot has {:?} and {register:?}",
                list.last()
            );
            seen.push((key, list));
        }
        Ok(seen)
    }
}

/// The final lists of all keys, as one more transaction.
pub(super) fn last_read(db: &Db, lists: &ColumnFamily, moments: &Moments) -> Result<Transaction> {
    let mut client = Client::new(db, lists, moments, Choices::from_seed(0), 0);
    let begun = client.moments.next();
    let seen = client.scan_snapshot(false)?;
    let ended = client.moments.next();
    client.done.push(Transaction { begun, ended, how: "the last read", what: What::Read { seen } });
    client.done.pop().context("pushed above")
}

fn name(key: Key) -> [u8; 4] {
    (key as u32).to_be_bytes()
}

fn collect(items: lsm_engine::Iter, backward: bool) -> Result<Vec<(Key, Vec<u8>)>> {
    let parse = |item: lsm_engine::Result<(_, _)>| -> Result<(Key, Vec<u8>)> {
        let (key, value): (lsm_engine::Slice, lsm_engine::Slice) = item?;
        Ok((u32::from_be_bytes(key[..].try_into()?) as Key, value.to_vec()))
    };
    let mut found: Vec<_> = if backward {
        items.rev().map(parse).collect::<Result<_>>()?
    } else {
        items.map(parse).collect::<Result<_>>()?
    };
    if backward {
        found.reverse();
    }
    ensure!(found.is_sorted_by(|one, other| one.0 < other.0), "an iterator left its order");
    Ok(found)
}

fn last_of(list: &[u8]) -> Option<&[u8]> {
    list.last_chunk::<{ Element::BYTES }>().map(|element| &element[..])
}

/// Lists of all keys, those that are not there included: a read of them found them empty.
fn whole(found: Vec<(Key, Vec<u8>)>) -> Result<Vec<(Key, List)>> {
    let mut lists = vec![List::new(); KEYS];
    for (key, value) in found {
        *lists.get_mut(key).with_context(|| format!("nobody wrote key {key}"))? = decoded(&value)?;
    }
    Ok(lists.into_iter().enumerate().collect())
}

fn decoded(value: &[u8]) -> Result<List> {
    let (elements, rest) = value.as_chunks::<{ Element::BYTES }>();
    ensure!(rest.is_empty(), "a list of {} bytes", value.len());
    Ok(elements.iter().map(|bytes| Element::decode(*bytes)).collect())
}
