//! Compactions: carrying out a plan in the background, or a user's wish on the user's thread.

use crate::background::{Claim, ManualReservation};
use crate::family::Family;
use crate::output::LiveTables;
use crate::range::{KeyRange, first_key};
use crate::room::needed_bytes;
use crate::store::Store;
use crate::{Error, Result};
use lsm_compaction::{
    BottomRewrite, InFlight, JobContext, LeveledOptions, Plan, RangeCompaction, RangeStep, TableSink, pick_level0,
    pick_range,
};
use lsm_manifest::LEVELS;
use std::ops::Bound;
use std::sync::Arc;

impl Store {
    /// The shape of the levels, from the store's options.
    pub(crate) fn leveled_options(&self) -> LeveledOptions {
        let mut table_classes = [0; LEVELS];
        // A table is not moved to the last level as it is if those there are compressed in another way.
        table_classes[LEVELS - 1] = self.options.last_level_differs().into();
        LeveledOptions {
            table_classes,
            level0_trigger: self.options.level0_file_num_compaction_trigger,
            level_base_bytes: self.options.level_base_bytes(),
            table_bytes_target: self.options.table_bytes_target(),
            subcompactions_max: self.options.max_subcompactions,
            ..LeveledOptions::default()
        }
    }

    /// Lets reads know what it would cost to take level 0 of `family` down.
    pub(crate) fn set_toll(&self, family: &Family) {
        let version = Arc::clone(&family.view.load().version);
        let plan = pick_level0(&version, &InFlight::default(), &self.leveled_options());
        family.toll.set_price(plan.as_ref().map(needed_bytes));
    }

    /// Carries out `plan`, which is reserved.
    pub(crate) fn compact(self: &Arc<Self>, family: &Arc<Family>, plan: &Plan) -> Result<()> {
        let begun = self.options.clock.monotonic();
        let (edit, read_bytes, written_bytes, _open) = if plan.trivial_move {
            (plan.move_edit(), 0, 0, Vec::new())
        } else {
            let will_read = self.tables.will_read_compacted(plan);
            let sink = Arc::new(self.table_files(family, plan.is_bottommost(), will_read)?);
            let store = Arc::clone(self);
            let context = JobContext {
                source: Arc::new(LiveTables(Arc::clone(self))),
                sink: Arc::clone(&sink) as Arc<dyn TableSink>,
                snapshots: self.snapshots.seqs(),
                merge_operator: family.shared_merge_operator(),
                options: self.leveled_options(),
                cancelled: Arc::clone(&self.background.closing),
                throttle: Some(Arc::new(move |bytes| store.rate.pass(bytes))),
            };
            let output = lsm_compaction::run(plan, &context, &*self.background.executor)?;
            let open = sink.open_warm(&self.tables, output.tables.iter().map(|table| &table.meta));
            self.sync_directory()?;
            (plan.edit(&output), output.read_bytes, output.written_bytes, open)
        };
        let made: Vec<_> = edit.added.iter().map(|(_, table)| Arc::clone(table)).collect();
        let installed = self.install(family, lsm_manifest::VersionEdit { family: family.id, ..edit }, 0);
        // Unless it is open what is on disk, tables that did not come into a version are nobody's.
        if !matches!(installed, Ok(true)) && !plan.trivial_move && self.health.failure().is_none() {
            self.discard(&made);
        }
        if !installed? {
            return Ok(());
        }
        if !plan.trivial_move {
            plan.tables().for_each(|(_, table)| self.tables.retire(table));
        }
        if plan.takes_level0_down() {
            family.toll.clear();
            let time = self.options.clock.monotonic().saturating_sub(begun);
            let level0 = plan.tables().filter(|(level, _)| *level == 0);
            self.pacer.drained(level0.map(|(_, table)| table.bytes).sum(), time);
        } else if plan.start_level == 0 {
            // It cost what was paid, or nearly: what is left of level 0 has another price, that of the base level.
            family.toll.use_up();
        }
        self.counters.note_compaction(read_bytes, written_bytes);
        if let Some(listener) = &self.options.event_listener {
            listener.on_compaction(&family.name, plan.start_level, plan.output_level, read_bytes, written_bytes);
        }
        Ok(())
    }

    /// Compacts a key range on the caller's thread, level by level, beside what runs in the background.
    pub(crate) fn compact_range(self: &Arc<Self>, family: &Arc<Family>, range: &impl KeyRange) -> Result<()> {
        self.flush()?;
        let from = first_key(range);
        // The last key that may be in the range, or one shortly behind it: a little more is compacted then.
        let to = match range.upper() {
            Bound::Included(key) | Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        };
        let version = Arc::clone(&family.view.load().version);
        let options = self.leveled_options();
        let rewrite = BottomRewrite::Deletions;
        let mut progress = RangeCompaction::new(&version, &options, from.as_deref(), to.as_deref(), rewrite);
        let mut claim: Option<Claim> = None;
        loop {
            self.health.check_writable()?;
            if family.is_dropped() {
                return Err(Error::invalid_argument(format!("column family {} was dropped", family.name)));
            }
            claim.iter_mut().for_each(Claim::look);
            match self.next_range_step(family, &mut progress, &options) {
                Step::Run(plan, reservation) => {
                    claim = None;
                    let done = self.compact(family, &plan);
                    drop(reservation);
                    self.schedule();
                    done?;
                }
                Step::Wait => match &claim {
                    Some(claim) => claim.wait(),
                    // Looks once more: what was in the way may have ended before the claim.
                    None => claim = Some(self.claim(family)),
                },
                Step::Done => return Ok(()),
            }
        }
    }

    fn next_range_step(
        self: &Arc<Self>,
        family: &Arc<Family>,
        progress: &mut RangeCompaction,
        options: &LeveledOptions,
    ) -> Step {
        let mut outcome = Step::Done;
        let reserved = self.reserve_manual(family, |in_flight| {
            let version = Arc::clone(&family.view.load().version);
            match pick_range(progress, &version, in_flight, options) {
                RangeStep::Run(plan) => Some(*plan),
                RangeStep::Wait => {
                    outcome = Step::Wait;
                    None
                }
                RangeStep::Done => None,
            }
        });
        match reserved {
            Some((plan, reservation)) => Step::Run(Box::new(plan), reservation),
            None => outcome,
        }
    }
}

enum Step {
    Run(Box<Plan>, ManualReservation),
    Wait,
    Done,
}
