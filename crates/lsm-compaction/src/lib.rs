//! Leveled compaction: what to merge, how to merge it, and in parallel.
//!
//! A store flushes its memtables to tables of level 0. This crate decides which tables to merge into the
//! level below ([`pick()`]), and merges them ([`run`]). It knows neither directories nor file names nor logs:
//! tables come from a [`TableSource`] and go to a [`TableSink`], threads from an [`Executor`], and the result
//! is a [`lsm_manifest::VersionEdit`] that the caller makes durable.
//!
//! ```text
//!   Version ─▶ pick ─▶ Plan ─▶ InFlight::reserve ─▶ run ─▶ JobOutput ─▶ Plan::edit ─▶ InFlight::release
//!                       │                            └ write_tables, which a flush calls too
//!                       └─ trivial move: Plan::move_edit, nothing is read or written
//! ```
//!
//! | module | story |
//! |---|---|
//! | `options` | what can be tuned |
//! | `score` | how much each level wants to be compacted, and the store's debt |
//! | `in_flight` | which tables and key ranges running jobs work on |
//! | `pick`, `level0`, `range` | the next compaction: by score, out of level 0, on request |
//! | `plan` | what one compaction is going to do, and the edit it ends in |
//! | `retain` | which entries may go |
//! | `below`, `tombstones` | what may lie deeper; range tombstones on their way through |
//! | `cut`, `output` | where tables end, and writing them |
//! | `write` | the kernel: a cursor in, tables out |
//! | `subcompaction`, `share`, `concat`, `job` | splitting a plan and carrying it out |
//! | `executor`, `sink` | what the caller provides |
//!
//! Two flushes, one compaction, all in memory:
//!
//! ```
//! use lsm_compaction::*;
//! use lsm_core::filename::FileNumber;
//! use lsm_core::key::{InternalKey, Kind, SeqNo};
//! use lsm_core::range_tombstone::RangeTombstones;
//! use lsm_manifest::{TableMeta, Version, VersionEdit};
//! use lsm_sstable::{BuilderOptions, Table, TableOptions};
//! use std::collections::BTreeMap;
//! use std::io::{self, Write};
//! use std::sync::atomic::AtomicBool;
//! use std::sync::{Arc, Mutex};
//!
//! /// Tables in memory.
//! #[derive(Default)]
//! struct Memory(Mutex<BTreeMap<FileNumber, Arc<Mutex<Vec<u8>>>>>);
//!
//! struct Writer(Arc<Mutex<Vec<u8>>>);
//!
//! impl Write for Writer {
//!     fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
//!         self.0.lock().unwrap().write(bytes)
//!     }
//!     fn flush(&mut self) -> io::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! impl TableWriter for Writer {
//!     fn sync(&mut self) -> lsm_core::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! impl TableSink for Memory {
//!     fn create(&self) -> lsm_core::Result<NewTable> {
//!         let mut tables = self.0.lock().unwrap();
//!         let (number, bytes) = (FileNumber(tables.len() as u64 + 1), Arc::default());
//!         tables.insert(number, Arc::clone(&bytes));
//!         Ok(NewTable { number, writer: Box::new(Writer(bytes)), options: BuilderOptions::default() })
//!     }
//!     fn discard(&self, number: FileNumber) {
//!         self.0.lock().unwrap().remove(&number);
//!     }
//! }
//!
//! impl TableSource for Memory {
//!     fn open(&self, meta: &TableMeta) -> lsm_core::Result<Arc<Table>> {
//!         let bytes = self.0.lock().unwrap()[&meta.number].lock().unwrap().clone();
//!         Ok(Arc::new(Table::open(Arc::new(bytes), TableOptions::default())?))
//!     }
//! }
//!
//! # struct Entries(Vec<(InternalKey, &'static [u8])>, usize);
//! # impl lsm_core::Cursor for Entries {
//! #     fn seek_to_first(&mut self) -> lsm_core::Result<()> { self.1 = 0; Ok(()) }
//! #     fn seek_to_last(&mut self) -> lsm_core::Result<()> { unimplemented!() }
//! #     fn seek(&mut self, _: &[u8]) -> lsm_core::Result<()> { unimplemented!() }
//! #     fn seek_for_prev(&mut self, _: &[u8]) -> lsm_core::Result<()> { unimplemented!() }
//! #     fn next(&mut self) -> lsm_core::Result<()> { self.1 += 1; Ok(()) }
//! #     fn prev(&mut self) -> lsm_core::Result<()> { unimplemented!() }
//! #     fn valid(&self) -> bool { self.1 < self.0.len() }
//! #     fn key(&self) -> &[u8] { self.0[self.1].0.as_bytes() }
//! #     fn value(&self) -> &[u8] { self.0[self.1].1 }
//! # }
//! # fn cursor(entries: &[(&[u8], u64, Kind, &'static [u8])]) -> Entries {
//! #     let key = |&(key, seq, kind, value): &(&[u8], u64, Kind, &'static [u8])| (InternalKey::new(key, SeqNo::new(seq), kind), value);
//! #     Entries(entries.iter().map(key).collect(), usize::MAX)
//! # }
//! let memory = Arc::new(Memory::default());
//! let cancelled = Arc::new(AtomicBool::new(false));
//! let mut version = Version::new();
//! // `cursor` stands for a memtable's: entries in internal key order.
//! let first = cursor(&[(b"Bern", 1, Kind::Value, b"1"), (b"Lima", 2, Kind::Value, b"2")]);
//! let second = cursor(&[(b"Bern", 3, Kind::Deletion, b""), (b"Oslo", 4, Kind::Value, b"4")]);
//! for (epoch, mut memtable) in [(1, first), (2, second)] {
//!     let context = WriteContext {
//!         snapshots: &[], below: &Below::unknown(), merge_operator: None, cut: Cut::Never, from: None, to: None,
//!         epoch, oldest_ancestor_time: 0, cancelled: &cancelled, throttle: None,
//!     };
//!     let written = write_tables(&mut memtable, &RangeTombstones::default(), &context, &*memory)?;
//!     let added = written.tables.into_iter().map(|table| (0, table.meta)).collect();
//!     version = version.apply(&[VersionEdit { added, ..VersionEdit::default() }])?;
//! }
//!
//! let options = LeveledOptions { level0_trigger: 1, ..LeveledOptions::default() };
//! let mut in_flight = InFlight::new();
//! let context = JobContext {
//!     source: memory.clone(), sink: memory.clone(), snapshots: Vec::new(), merge_operator: None,
//!     options: options.clone(), cancelled, throttle: None,
//! };
//! let mut counts = EntryCounts::default();
//! while let Some(plan) = pick(&version, &in_flight, &options, None) {
//!     let reservation = in_flight.reserve(&plan);
//!     let edit = if plan.trivial_move {
//!         plan.move_edit()
//!     } else {
//!         let output = run(&plan, &context, &StepExecutor::new())?;
//!         counts.add(&output.counts);
//!         plan.edit(&output)
//!     };
//!     version = version.apply(&[edit])?;
//!     in_flight.release(reservation);
//! }
//!
//! // The first table was moved down as it was; merged with the second it lost the deletion and what that hid.
//! assert_eq!((version.level(0).len(), version.level(6).len()), (0, 1));
//! assert_eq!((counts.read, counts.written), (4, 2));
//! # Ok::<(), lsm_core::Error>(())
//! ```

mod options;

mod in_flight;
mod score;

mod level0;
mod pick;
mod places;
mod plan;
mod range;

mod below;
mod retain;
mod tombstones;

mod cut;
mod output;
mod write;

mod concat;
mod job;
mod share;
mod subcompaction;

mod executor;
mod sink;

#[cfg(test)]
mod testing;

pub use below::Below;
pub use cut::Cut;
pub use executor::{Executor, StepExecutor, Task, TokioExecutor};
pub use in_flight::{InFlight, ReservationId};
pub use job::{JobContext, JobOutput, Throttle, run};
pub use options::LeveledOptions;
pub use output::table_stats;
pub use pick::{pick, pick_level0, pick_within_level0};
pub use plan::{KeySpan, Plan, Reason};
pub use range::{BottomRewrite, RangeCompaction, RangeStep, pick_range};
pub use retain::EntryCounts;
pub use score::{LevelTargets, pending_bytes, scores};
pub use sink::{NewTable, TableSink, TableSource, TableWriter};
pub use write::{BuiltTable, WriteContext, Written, write_tables};
