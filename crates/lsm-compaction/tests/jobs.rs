//! Flushes and compactions over tables in memory, against a reader that looks at every write.

mod store;

use lsm_compaction::{
    Cut, Executor, JobContext, Plan, StepExecutor, TableSource, Task, TokioExecutor, WriteContext, Written, pick, run,
    table_stats, write_tables,
};
use lsm_core::filename::FileNumber;
use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_core::{Error, Kind, SeqNo};
use lsm_manifest::TableMeta;
use quickcheck::{Gen, QuickCheck};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use store::{KEYS, Store, user_key};

/// Runs every task on a thread of its own and waits for none.
struct Threads;

impl Executor for Threads {
    fn execute(&self, task: Task) {
        thread::spawn(task);
    }
}

fn fill(steps: &[(u8, u8, u8)]) -> Store {
    let mut store = Store::new();
    for &(op, key, arg) in steps {
        let key = key % KEYS;
        match op % 16 {
            0 => store.delete_range(key, key + 1 + arg % (KEYS - key)),
            1 | 2 => store.write(key, Kind::Deletion),
            3 | 4 => store.write(key, Kind::Merge),
            5 if arg % 4 == 0 => store.take_snapshot(),
            5 if arg % 4 == 1 => store.drop_snapshot(arg),
            6 if arg % 2 == 0 => store.flush(),
            7 if arg % 8 == 0 => store.compact_until_quiet(1 + usize::from(arg % 3), &Threads),
            _ => store.write(key, Kind::Value),
        }
    }
    store.flush();
    store
}

#[test]
fn every_snapshot_reads_the_same_whatever_was_compacted() {
    fn property(steps: Vec<(u8, u8, u8)>, parts: u8) -> bool {
        let mut store = fill(&steps);
        store.check();
        store.compact_until_quiet(1 + usize::from(parts % 4), &Threads);
        store.check();
        store.compact_everything();
        store.check();
        true
    }
    QuickCheck::new().rng(Gen::new(400)).tests(60).quickcheck(property as fn(Vec<(u8, u8, u8)>, u8) -> bool);
}

#[test]
fn parts_write_what_one_thread_writes() {
    fn property(steps: Vec<(u8, u8, u8)>) -> bool {
        let store = fill(&steps);
        let Some(plan) = level0_plan(&store) else { return true };
        let alone = run(&plan, &store.context(1), &StepExecutor::new()).unwrap();
        let shared = run(&plan, &store.context(4), &Threads).unwrap();
        let (alone_entries, shared_entries) = (store.entries(&alone.tables), store.entries(&shared.tables));
        let same_tombstones = store.readers().all(|at| {
            (0..KEYS).all(|key| store.newest(&alone.tables, key, at) == store.newest(&shared.tables, key, at))
        });
        alone.parts == 1 && alone_entries == shared_entries && alone.counts == shared.counts && same_tombstones
    }
    QuickCheck::new().rng(Gen::new(400)).tests(60).quickcheck(property as fn(Vec<(u8, u8, u8)>) -> bool);
}

/// A job over all of level 0, without looking for tables that could be moved.
fn level0_plan(store: &Store) -> Option<Plan> {
    let mut range = store.range_compaction();
    match lsm_compaction::pick_range(&mut range, &store.version, &store.in_flight, &store.options) {
        lsm_compaction::RangeStep::Run(plan) => Some(*plan),
        _ => None,
    }
}

/// Enough values for several tables and several parts.
fn large() -> Store {
    let mut store = Store::new();
    store.options.table_bytes_target = 600;
    for round in 0..6 {
        (0..KEYS).for_each(|key| store.write(key, Kind::Value));
        store.delete_range(round, round + 20);
        store.flush();
    }
    store
}

#[test]
fn a_job_is_split_and_ends_on_executors_that_help_much_or_not_at_all() {
    let store = large();
    let plan = level0_plan(&store).unwrap();
    let idle = StepExecutor::new();
    let alone = run(&plan, &store.context(4), &idle).unwrap();
    assert!(alone.parts > 1 && idle.len() == alone.parts - 1, "{} parts, {} tasks", alone.parts, idle.len());
    while idle.step() {}
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).build().unwrap();
    let helped = run(&plan, &store.context(4), &TokioExecutor::new(runtime.handle().clone())).unwrap();
    assert_eq!(store.entries(&alone.tables), store.entries(&helped.tables));
    // A runtime that is gone drops its tasks; the job ends all the same.
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let orphaned = run(&plan, &store.context(4), &TokioExecutor::new(handle)).unwrap();
    assert_eq!(store.entries(&alone.tables), store.entries(&orphaned.tables));
}

#[test]
fn outputs_are_about_as_large_as_asked() {
    let store = large();
    let output = run(&level0_plan(&store).unwrap(), &store.context(1), &StepExecutor::new()).unwrap();
    assert!(output.tables.len() > 2, "{}", output.tables.len());
    let target = store.options.table_bytes_target;
    for table in &output.tables[..output.tables.len() - 1] {
        let data = table.meta.bytes - table.meta.tail_bytes;
        assert!(data > target / 2 && data < 2 * target, "{data} bytes of data, target {target}");
    }
    assert_eq!(output.written_bytes, output.tables.iter().map(|table| table.meta.bytes).sum::<u64>());
    assert_eq!(output.counts.written, store.entries(&output.tables).len() as u64);
}

#[test]
fn whatever_fails_leaves_no_table_behind() {
    let store = large();
    let plan = level0_plan(&store).unwrap();
    let before = store.memory.numbers();
    let mut failures = 0;
    for operation in 0.. {
        store.memory.fail_at(operation);
        match run(&plan, &store.context(1 + operation as usize % 4), &StepExecutor::new()) {
            Err(error) => {
                failures += 1;
                assert!(matches!(error, Error::Io { .. }), "{error}");
                assert_eq!(store.memory.numbers(), before, "after operation {operation}");
            }
            Ok(output) => {
                assert!(!output.tables.is_empty());
                break;
            }
        }
    }
    assert!(failures > 10, "{failures} operations");
}

#[test]
fn a_cancelled_job_stops_and_leaves_nothing() {
    let store = large();
    let plan = level0_plan(&store).unwrap();
    let before = store.memory.numbers();
    let mut context = store.context(2);
    // Cancelled from the start, and in the middle by way of the throttle.
    context.cancelled.store(true, Ordering::Relaxed);
    assert!(matches!(run(&plan, &context, &StepExecutor::new()), Err(Error::Cancelled)));
    context.cancelled.store(false, Ordering::Relaxed);
    let cancelled = Arc::clone(&context.cancelled);
    context.throttle = Some(Arc::new(move |_| cancelled.store(true, Ordering::Relaxed)));
    assert!(matches!(run(&plan, &context, &StepExecutor::new()), Err(Error::Cancelled)));
    assert_eq!(store.memory.numbers(), before);
}

#[test]
fn the_throttle_hears_of_every_byte() {
    let store = large();
    let plan = level0_plan(&store).unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let adder = Arc::clone(&heard);
    let throttle: lsm_compaction::Throttle = Arc::new(move |bytes| {
        adder.fetch_add(bytes, Ordering::Relaxed);
    });
    let context = JobContext { throttle: Some(throttle), ..store.context(2) };
    let output = run(&plan, &context, &Threads).unwrap();
    let heard = heard.load(Ordering::Relaxed);
    assert!(heard.abs_diff(output.written_bytes) <= output.written_bytes / 20, "{heard} of {}", output.written_bytes);
}

#[test]
fn a_trivial_move_rewrites_nothing() {
    let mut store = Store::new();
    (0..KEYS).for_each(|key| store.write(key, Kind::Value));
    store.flush();
    store.options.level0_trigger = 1;
    let plan = pick(&store.version, &store.in_flight, &store.options, None).unwrap();
    assert!(plan.trivial_move);
    let before = store.memory.numbers();
    store.compact_until_quiet(1, &StepExecutor::new());
    assert_eq!((store.version.level(0).len(), store.memory.numbers()), (0, before));
    store.check();
}

fn tombstone(start: u8, end: u8, seq: u64) -> RangeTombstone {
    RangeTombstone { start: user_key(start), end: user_key(end), seq: SeqNo::new(seq) }
}

/// Writes `values` keys and `tombstones` as one level below nothing known.
fn write(
    values: &[(u8, u64)],
    tombstones: Vec<RangeTombstone>,
    target: u64,
    bounds: (Option<u8>, Option<u8>),
) -> (Store, Written) {
    let cut = Cut::Leveled { table_bytes_target: target, job_bytes_max: u64::MAX, grandparents: &[] };
    write_cut(values, tombstones, cut, bounds)
}

fn write_cut(
    values: &[(u8, u64)],
    tombstones: Vec<RangeTombstone>,
    cut: Cut<'_>,
    bounds: (Option<u8>, Option<u8>),
) -> (Store, Written) {
    let store = Store::new();
    let (from, to) = (bounds.0.map(user_key), bounds.1.map(user_key));
    let context = store.context(1);
    let below = lsm_compaction::Below::unknown();
    let write = WriteContext {
        snapshots: &[],
        below: &below,
        merge_operator: None,
        cut,
        from: from.as_deref(),
        to: to.as_deref(),
        epoch: 7,
        oldest_ancestor_time: 99,
        cancelled: &context.cancelled,
        throttle: None,
    };
    let mut input = store::values(values);
    let written = write_tables(&mut input, &RangeTombstones::new(tombstones), &write, &*store.memory).unwrap();
    (store, written)
}

#[test]
fn a_tombstone_is_cut_where_tables_are_and_ends_exclusively() {
    let values: Vec<(u8, u64)> = (0..10).map(|key| (key * 4, 10)).collect();
    let (store, written) = write(&values, vec![tombstone(0, 50, 5)], 1, (None, None));
    assert_eq!(written.tables.len(), 10);
    for pair in written.tables.windows(2) {
        let (left, right) = (&pair[0].meta, &pair[1].meta);
        assert!(left.largest.is_exclusive_end() && left.largest.user_key() == right.smallest.user_key());
        assert!(left.largest < right.smallest);
    }
    let (first, last) = (&written.tables[0].meta, &written.tables[9].meta);
    assert_eq!((first.smallest.user_key(), last.largest.user_key()), (&user_key(0)[..], &user_key(50)[..]));
    for key in 0..KEYS {
        let expected = (0..50).contains(&key).then_some(SeqNo::new(5));
        assert_eq!(store.newest(&written.tables, key, SeqNo::MAX), expected, "key {key}");
    }
    assert_eq!((first.epoch, first.oldest_ancestor_time), (7, 99));
}

#[test]
fn tombstones_alone_make_a_table_and_stay_inside_the_range() {
    let (store, written) = write(&[], vec![tombstone(2, 50, 5), tombstone(40, 60, 6)], 1000, (Some(10), Some(55)));
    assert_eq!(written.tables.len(), 1);
    let meta = &written.tables[0].meta;
    assert_eq!((meta.smallest.user_key(), meta.largest.user_key()), (&user_key(10)[..], &user_key(55)[..]));
    assert_eq!(store.newest(&written.tables, 45, SeqNo::MAX), Some(SeqNo::new(6)));
    assert_eq!(meta.stats.get().unwrap().entries, 0);
    let (_, nothing) = write(&[(5, 1)], Vec::new(), 1000, (Some(10), Some(55)));
    assert!(nothing.tables.is_empty());
}

/// A level of tables of 100 bytes with ten keys each.
fn grandparents() -> Vec<Arc<TableMeta>> {
    let table = |number: u8| {
        let bound = |key| InternalKey::new(&user_key(key), SeqNo::new(1), Kind::Value);
        let (number, first) = (FileNumber(u64::from(number) + 1), 10 * number);
        Arc::new(TableMeta::new(number, 100, bound(first), bound(first + 9), (SeqNo::new(1), SeqNo::new(1))))
    };
    (0..6).map(table).collect()
}

/// The keys with which the tables begin that `tombstones` and `values` become, over [`grandparents`].
fn cuts(values: &[(u8, u64)], tombstones: &[(u8, u8)], target: u64, job_bytes_max: u64) -> Vec<Vec<u8>> {
    let level = grandparents();
    let cut = Cut::Leveled { table_bytes_target: target, job_bytes_max, grandparents: &level };
    let all = tombstones.iter().map(|&(start, end)| tombstone(start, end, 5)).collect();
    let (store, written) = write_cut(values, all, cut, (None, None));
    for pair in written.tables.windows(2) {
        assert!(pair[0].meta.largest < pair[1].meta.smallest, "O1");
        assert!(pair[0].meta.ends_before(pair[1].meta.smallest.user_key()), "O2");
    }
    for key in 0..KEYS {
        let covered = tombstones.iter().any(|&(start, end)| (start..end).contains(&key));
        assert_eq!(store.newest(&written.tables, key, SeqNo::MAX), covered.then_some(SeqNo::new(5)), "key {key}");
    }
    assert_eq!(store.entries(&written.tables).len(), values.len());
    written.tables.iter().map(|table| table.meta.smallest.user_key().to_vec()).collect()
}

#[test]
fn tombstones_alone_are_cut_as_entries_are() {
    let keys = |keys: &[u8]| -> Vec<Vec<u8>> { keys.iter().map(|&key| user_key(key)).collect() };
    // One over all of the next level: tables that overlap two of its tables each.
    assert_eq!(cuts(&[], &[(5, 58)], 1000, 250), keys(&[5, 20, 40]));
    assert_eq!(cuts(&[], &[(5, 58)], 1000, u64::MAX), keys(&[5]));
    // Entries between do not change that, nor has one of their keys two tables.
    assert_eq!(cuts(&[(20, 9), (33, 9)], &[(5, 58)], 1000, 400), keys(&[5, 30]));
    // Many small ones have the size of a table, too.
    let many: Vec<(u8, u8)> = (0..25).map(|key| (2 * key, 2 * key + 1)).collect();
    let sized = cuts(&[], &many, 60, u64::MAX);
    assert!((3..=8).contains(&sized.len()), "{sized:?}");
    // Entries in front of tombstones, and behind.
    assert_eq!(cuts(&[(1, 9), (50, 9)], &[(15, 35)], 1000, 250), keys(&[1, 20, 50]));
}

#[test]
fn statistics_are_the_same_when_a_table_is_opened_again() {
    let (store, written) = write(&[(5, 1), (6, 9)], vec![tombstone(2, 50, 5)], 1000, (None, None));
    let built = &written.tables[0].meta;
    let opened = TableSource::open(&*store.memory, built).unwrap();
    let stats = *built.stats.get().unwrap();
    assert_eq!((stats.entries, stats.deletions, stats.range_deletions), (1, 0, 1));
    assert_eq!(table_stats(opened.properties()), stats);
}
