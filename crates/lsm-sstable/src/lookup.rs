//! Looks keys up in an open table, one or many at a time.
//!
//! A lookup waits for memory more than it computes: filter, index, slot, block, directory and entry are each found by
//! way of the one before. Where many keys are looked up, each step is taken for several of them before the next one, so
//! that they wait together.
//!
//! # Invariants
//! L1. A lookup answers "not there" only after a filter or a block with a valid checksum said so.
//! L2. What only brings memory closer has no say in what is found.

use std::sync::Arc;

use arc_swap::Guard;
use lsm_core::key::pack_trailer;
use lsm_core::{Kind, Result, SeqNo, Slice, memory};

use crate::block::Block;
use crate::block_cursor::check_kind;
use crate::block_search::{Search, search};
use crate::cache::{CachedBlock, Guide};
use crate::source::Window;
use crate::table::Table;
use crate::xxph3::filter_hash;

/// Keys that wait together for a step. As many blocks can be held without touching the count of their owners, less two
/// for whoever holds view and table.
const TOGETHER: usize = 6;

/// A point entry that a lookup found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When it was written.
    pub seq: SeqNo,
    /// What it is.
    pub kind: Kind,
    /// Its value, or a merge operand; empty for deletions.
    pub value: Slice,
}

/// A key of a [`Table::multi_get`], and what was found.
#[derive(Debug)]
pub struct Probe<'a> {
    user_key: &'a [u8],
    hash: u64,
    /// The newest entry that is visible, once the call has returned.
    pub found: Option<Entry>,
    passes: bool,
    /// The data block to look in.
    number: usize,
}

impl<'a> Probe<'a> {
    /// A probe for `user_key`, of which `hash` is the [`filter_hash`].
    pub fn new(user_key: &'a [u8], hash: u64) -> Probe<'a> {
        Probe { user_key, hash, found: None, passes: false, number: 0 }
    }
}

/// A block as its slot had it, if there is a cache.
pub(crate) type Held = Option<Guard<Option<Arc<CachedBlock>>>>;

/// What a look into one block came to, as [`Search`].
enum Looked {
    Found(Entry),
    Absent,
    Behind,
}

impl Table {
    /// The newest point entry of `user_key` with a sequence number up to `visible`. Range tombstones are not
    /// looked at: see [`Table::tombstones`].
    ///
    /// # Errors
    /// Damage or I/O errors met on the way, never mistaken for absence (L1).
    pub fn get(&self, user_key: &[u8], visible: SeqNo) -> Result<Option<Entry>> {
        self.get_hashed(user_key, filter_hash(user_key), visible)
    }

    /// As [`Table::get`], with the key's [`filter_hash`] at hand: one hash serves all tables of a lookup.
    ///
    /// # Errors
    /// As for [`Table::get`].
    pub fn get_hashed(&self, user_key: &[u8], hash: u64, visible: SeqNo) -> Result<Option<Entry>> {
        match self.may_contain_hashed(user_key, hash) {
            true => self.get_passing(user_key, visible),
            false => Ok(None),
        }
    }

    /// As [`Table::get`], for a key that the filter lets pass ([`Table::may_contain_hashed`]): who asks the filter apart carries
    /// no answer up for keys that are not there.
    ///
    /// # Errors
    /// As for [`Table::get`].
    #[inline]
    pub fn get_passing(&self, user_key: &[u8], visible: SeqNo) -> Result<Option<Entry>> {
        let Some(visible) = self.stored_visible(visible) else { return Ok(None) };
        let number = self.index.seek(user_key, pack_trailer(visible, u8::MAX));
        let held = self.held(number);
        held.iter().filter_map(|held| held.as_ref()).for_each(|cached| cached.ask_for_all());
        self.search_from(number, held, user_key, visible)
    }

    /// As [`Table::get`], for many keys: several wait for memory together. Keys in order find each other's blocks.
    ///
    /// # Errors
    /// As for [`Table::get`]; some probes then have what was found for them.
    pub fn multi_get(&self, probes: &mut [Probe<'_>], visible: SeqNo) -> Result<()> {
        let Some(visible) = self.stored_visible(visible) else { return Ok(()) };
        for probe in &mut *probes {
            probe.passes = self.filter.may_contain(probe.user_key, probe.hash);
        }
        let mut passing: Vec<_> = probes.iter_mut().filter(|probe| probe.passes).collect();
        for probe in &mut passing {
            probe.number = self.index.seek(probe.user_key, pack_trailer(visible, u8::MAX));
        }
        passing.chunks_mut(TOGETHER).try_for_each(|probes| self.search_together(probes, visible))
    }

    fn search_together(&self, probes: &mut [&mut Probe<'_>], visible: SeqNo) -> Result<()> {
        let mut held: [Held; TOGETHER] = Default::default();
        for (held, probe) in held.iter_mut().zip(&*probes) {
            *held = self.held(probe.number);
        }
        let cached = || held.iter().zip(&*probes).filter_map(|(held, probe)| Some((held.as_ref()?.as_ref()?, probe)));
        // L2. Each line of these asks for memory that the line before has told of.
        cached().for_each(|(cached, _)| memory::ask_for(&**cached));
        cached().for_each(|(cached, _)| cached.ask_for_directory());
        cached().for_each(|(cached, probe)| cached.ask_for_entry(probe.user_key));
        let mut before = None;
        for (mut held, probe) in held.into_iter().zip(probes) {
            if before == Some(probe.number) {
                // By now it is there, if the probe before had to read it.
                held = self.held(probe.number);
            }
            before = Some(probe.number);
            probe.found = self.search_from(probe.number, held, probe.user_key, visible)?;
        }
        Ok(())
    }

    /// What the entries' own sequence numbers may be to be seen at `visible`; `None` if none is seen.
    fn stored_visible(&self, visible: SeqNo) -> Option<SeqNo> {
        match self.global_seq {
            None => Some(visible),
            // All entries have one sequence number, whatever the file says.
            Some(global) => (global <= visible).then_some(SeqNo::MAX),
        }
    }

    /// Data block `number` if the cache has it.
    #[inline]
    pub(crate) fn held(&self, number: usize) -> Held {
        let slots = self.slots.as_ref().filter(|_| number < self.index.len())?;
        Some(slots.get(number))
    }

    /// Gives data block `number` in the cache a guide, if nobody has: who comes for the first time does it for the others.
    pub(crate) fn guide(&self, number: usize, cached: &CachedBlock) {
        if let Some(slots) = self.slots.as_ref().filter(|_| matches!(cached.guide, Guide::NotYet)) {
            slots.insert(number, cached.block.clone(), Guide::of(&cached.block, self.index.shared_around(number)));
        }
    }

    /// Looks for the newest visible entry from data block `number` on, which is `held` if the cache has it.
    #[inline(always)]
    fn search_from(&self, mut number: usize, mut held: Held, user_key: &[u8], visible: SeqNo) -> Result<Option<Entry>> {
        while number < self.index.len() {
            match self.look_in(number, &held, user_key, visible)? {
                Looked::Found(entry) => return Ok(Some(entry)),
                Looked::Behind if self.index.continues_behind(number, user_key) => number += 1,
                Looked::Absent | Looked::Behind => return Ok(None),
            }
            held = self.held(number);
        }
        Ok(None)
    }

    #[inline(always)]
    fn look_in(&self, number: usize, held: &Held, user_key: &[u8], visible: SeqNo) -> Result<Looked> {
        if let Some(cached) = held.as_ref().and_then(|held| held.as_ref()) {
            self.guide(number, cached);
            return self.looked(&cached.block, search_cached(cached, user_key, visible), number);
        }
        self.look_in_file(number, user_key, visible)
    }

    #[cold]
    fn look_in_file(&self, number: usize, user_key: &[u8], visible: SeqNo) -> Result<Looked> {
        let block = self.read_data_block(number, &mut Window::default())?;
        if let Some(slots) = &self.slots {
            slots.admit(number, &block); // A1
        }
        self.looked(&block, search(&block, user_key, visible), number)
    }

    #[inline(always)]
    fn looked(&self, block: &Block, found: Result<Search>, number: usize) -> Result<Looked> {
        let entry = |trailer: u64, value| -> Result<Looked> {
            let kind = check_kind(trailer as u8)?;
            let seq = self.global_seq.unwrap_or(SeqNo::new(trailer >> 8));
            Ok(Looked::Found(Entry { seq, kind, value: Slice::from_shared(block.data(), value) }))
        };
        let looked = found.and_then(|found| match found {
            Search::Found { trailer, value } => entry(trailer, value),
            Search::Absent => Ok(Looked::Absent),
            Search::Behind => Ok(Looked::Behind),
        });
        looked.map_err(|error| self.place_in_block(error, number))
    }
}

impl CachedBlock {
    /// Asks for what a search looks at before it comes to an entry.
    #[inline]
    pub(crate) fn ask_for_all(&self) {
        memory::ask_for(self);
        self.ask_for_directory();
    }

    /// Asks for the directory and for where the block's bytes are.
    #[inline]
    fn ask_for_directory(&self) {
        self.block.ask_for_place();
        if let Guide::Directory(directory) = &self.guide {
            directory.ask_for_words();
        }
    }

    /// Asks for the first entry that may be the target's.
    #[inline]
    fn ask_for_entry(&self, target: &[u8]) {
        if let Guide::Directory(directory) = &self.guide {
            directory.ask_for_first(&self.block, target);
        }
    }
}

/// Looks for an entry in a block from the cache, by its directory if it can have one.
fn search_cached(cached: &CachedBlock, user_key: &[u8], visible: SeqNo) -> Result<Search> {
    let CachedBlock { block, guide } = cached;
    if let Guide::Directory(directory) = guide
        && let Some(found) = directory.search(block, user_key, pack_trailer(visible, u8::MAX))?
    {
        return Ok(found);
    }
    search(block, user_key, visible)
}
