//! A full memtable gives way to a fresh one, and with it a log to the next.
//!
//! All of this is done under the writer lock, by whoever found no room: copies of pointers, a new file, no wait. The flush of what
//! was frozen is the background's.

use crate::arenas::Arenas;
use crate::commit::Writer;
use crate::family::Family;
use crate::store::Store;
use crate::view::View;
use crate::{Error, Result};
use lsm_core::SeqNo;
use std::sync::Arc;

/// Logs that may be alive before families with old entries are flushed to free them.
const LIVE_LOGS_MAX: usize = 8;

/// A family whose active memtable has no room, and the bytes that are needed.
pub(crate) struct Full {
    pub(crate) family: Arc<Family>,
    pub(crate) needed_bytes: usize,
}

impl Store {
    /// Freezes the memtables of `full` and begins a new log; false if one has to wait for its flush.
    pub(crate) fn rotate(self: &Arc<Self>, writer: &mut Writer, full: &[Full]) -> Result<bool> {
        if full.iter().any(|full| full.family.view.load().is_crowded()) {
            return Ok(false);
        }
        self.switch_log(writer)?;
        for Full { family, needed_bytes } in full {
            freeze_active(&self.arenas, family, writer, *needed_bytes);
        }
        self.follow_log(writer);
        self.refresh_pressure();
        self.schedule();
        Ok(true)
    }

    /// Freezes every memtable that holds anything, and returns the last write in them; `None` if one has to
    /// wait for its flush first.
    pub(crate) fn rotate_all(self: &Arc<Self>) -> Result<Option<SeqNo>> {
        self.health.check_writable()?;
        let mut guard = self.writer.lock();
        let writer = guard.as_mut().ok_or_else(Error::closed)?;
        let families = self.families.load();
        let dirty = families.values().filter(|family| family.is_dirty());
        let full: Vec<Full> = dirty.map(|family| Full { family: Arc::clone(family), needed_bytes: 0 }).collect();
        let done = full.is_empty() || self.fenced(|| self.rotate(writer, &full))?;
        Ok(done.then(|| SeqNo::new(writer.next_seq.get() - 1)))
    }

    /// Says that everything up to `last_seq` is in tables.
    pub(crate) fn note_flushed(&self, last_seq: SeqNo) {
        if let Some(writer) = self.writer.lock().as_mut() {
            writer.unlogged.take_if(|unlogged| *unlogged <= last_seq);
        }
    }

    #[cold]
    pub(crate) fn switch_log(&self, writer: &mut Writer) -> Result<()> {
        let number = self.background.numbers().allocate();
        let predecessor = Some((writer.wal.facts(), writer.wal.handle()));
        let recycled = self.logs.take_recyclable();
        let fresh = self.create_log(number, recycled, predecessor, writer.next_seq);
        let fresh = fresh.inspect_err(|_| recycled.into_iter().for_each(|number| self.logs.keep_recyclable(number)))?;
        let mut full = std::mem::replace(&mut writer.wal, fresh);
        let chore = full.seal();
        self.logs.retire(full);
        // Before the flush that comes next: it takes a processor for long.
        self.give_out_chore(writer);
        chore.into_iter().for_each(|chore| self.background.executor.execute(chore));
        Ok(())
    }

    /// Lets another thread do what appends to the log would have to.
    pub(crate) fn give_out_chore(&self, writer: &mut Writer) {
        writer.wal.chore().into_iter().for_each(|chore| self.background.executor.execute(chore));
    }

    /// Lets families that hold nothing move on to the new log, and freezes those that hold back old ones.
    fn follow_log(&self, writer: &mut Writer) {
        let log = writer.wal.number();
        let retired = self.logs.retired_numbers();
        let oldest_allowed = retired.len().checked_sub(LIVE_LOGS_MAX).map(|index| retired[index]);
        for family in self.families.load().values() {
            let view = family.view.load();
            if !family.is_dirty() {
                family.update(|view| View { active_log: log, ..view.clone() });
            } else if oldest_allowed.is_some_and(|oldest| view.active_log < oldest) && view.frozen.is_empty() {
                freeze_active(&self.arenas, family, writer, 0);
            }
        }
    }

    /// Freezes the largest active memtable once all memtables together take more than their share of the
    /// memory budget; false if flushes have to catch up first. With one column family its own limit comes first.
    pub(crate) fn relieve(self: &Arc<Self>, writer: &mut Writer, added_bytes: usize) -> Result<bool> {
        writer.memtable_bytes += added_bytes;
        let bytes_max = self.options.memtable_bytes_max();
        if writer.memtable_bytes <= bytes_max {
            return Ok(true);
        }
        writer.memtable_bytes = self.memtable_bytes();
        let families = self.families.load();
        if writer.memtable_bytes <= bytes_max || families.len() == 1 {
            return Ok(true);
        }
        let views = families.values().map(|family| (family, family.view.load()));
        let free = views.filter(|(family, view)| family.is_dirty() && !view.is_crowded());
        if let Some((family, _)) = free.max_by_key(|(_, view)| view.active.bytes_used()) {
            self.rotate(writer, &[Full { family: Arc::clone(family), needed_bytes: 0 }])?;
        }
        Ok(writer.memtable_bytes <= bytes_max + self.options.write_buffer_bytes())
    }

    /// Whether memtables take more than their share until a flush is done. Without a frozen one no flush would change
    /// anything: the next try freezes another family's.
    pub(crate) fn is_over_budget(&self) -> bool {
        let has_frozen = |family: &Arc<Family>| !family.view.load().frozen.is_empty();
        self.memtable_bytes() > self.options.memtable_bytes_max() && self.families.load().values().any(has_frozen)
    }

    fn memtable_bytes(&self) -> usize {
        // What empty memtables take does not count: no flush would free it.
        let used = |family: &Arc<Family>| {
            let view = family.view.load();
            let frozen = view.frozen.iter().map(|frozen| frozen.memtable.bytes_used()).sum::<usize>();
            frozen + if family.is_dirty() { view.active.bytes_used() } else { 0 }
        };
        self.families.load().values().map(used).sum()
    }
}

/// Puts a fresh memtable in the place of the active one, which is frozen unless it holds nothing.
fn freeze_active(arenas: &Arc<Arenas>, family: &Family, writer: &mut Writer, needed_bytes: usize) {
    writer.forget(family.id);
    let bytes = family.write_buffer_bytes().max(needed_bytes);
    let fresh = arenas.memtable(bytes, &family.view.load().active.key_shape());
    let log = writer.wal.number();
    let last_seq = SeqNo::new(writer.next_seq.get() - 1);
    let dirty = family.take_dirty();
    family.update(|view| match dirty {
        true => view.rotated(fresh, log, last_seq),
        false => View { active: fresh, active_log: log, ..view.clone() },
    });
}
