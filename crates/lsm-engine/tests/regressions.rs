//! Defects found in review, each with the shortest history that shows it.

use lsm_compaction::StepExecutor;
use lsm_core::SeqNo;
use lsm_core::filename::FileKind;
use lsm_engine::{
    ColumnFamilyOptions, Commit, Compression, Db, Durability, ErrorKind, Options, WriteBatch, WriteOptions,
};
use lsm_fs::{Crash, Fs, MemFs, SegmentAccess};
use lsm_manifest::{FamilyChange, Manifest, State, VersionEdit};
use lsm_testkit::{AppendOperator, Failure, Fault, FaultFs, in_time};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

const STORE: &str = "/store";

fn small(fs: &MemFs) -> Options {
    Options::new().write_buffer_size(16 << 10).executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()))
}

fn tables_on_disk(fs: &dyn Fs) -> usize {
    fs.read_dir(Path::new(STORE)).unwrap().iter().filter(|name| name.ends_with(".sst")).count()
}

fn live_tables(db: &Db) -> usize {
    db.stats().families.iter().flat_map(|family| &family.levels).map(|level| level.tables).sum()
}

/// Longer than any call may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn unlogged() -> WriteOptions {
    WriteOptions::new().durability(Durability::Unlogged)
}

fn one(key: &str, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    batch
}

/// A dropped family's logs go, and the manifest does not say so.
fn drop_a_family_that_holds_logs(kill: bool) {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    let (a, b) = (db.column_family("a").unwrap(), db.column_family("b").unwrap());
    a.put("x", "holds the first log").unwrap();
    for number in 0..60 {
        b.put(format!("{number:03}"), vec![b'v'; 1000]).unwrap();
    }
    db.wait_for_compactions().unwrap();
    drop(a);
    db.drop_column_family("a").unwrap();
    if kill {
        // The next log takes the freed one's file.
        (0..20).for_each(|number| b.put(format!("{number:03}"), vec![b'v'; 1000]).unwrap());
    }
    db.put("k", "acknowledged").unwrap();
    let survivor = if kill {
        fs.crash(Crash::KeepAll)
    } else {
        drop(b);
        db.close().unwrap();
        fs
    };
    let db = small(&survivor).open(STORE).unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "acknowledged");
    assert_eq!(db.column_family("b").unwrap().iter().count(), 60);
}

#[test]
fn a_store_opens_after_a_family_was_dropped_and_the_store_was_closed() {
    drop_a_family_that_holds_logs(false);
}

#[test]
fn a_store_opens_after_a_family_was_dropped_and_the_process_ended() {
    drop_a_family_that_holds_logs(true);
}

/// The last call of a flush that takes space is the fact about the manifest in the log.
#[test]
fn a_flush_that_took_effect_is_not_done_twice() {
    let run = |fault: Option<u64>| {
        let fs = FaultFs::new(MemFs::new());
        let executor = Arc::new(StepExecutor::new());
        let db = Options::new()
            .write_buffer_size(16 << 10)
            .executor(executor.clone())
            .merge_operator(Arc::new(AppendOperator))
            .fs(Arc::new(fs.clone()))
            .open(STORE)
            .unwrap();
        db.merge("k", "1").unwrap();
        let mut number = 0;
        while executor.is_empty() {
            db.put(format!("{number:05}"), vec![b'v'; 1000]).unwrap();
            number += 1;
        }
        if let Some(at) = fault {
            fs.inject(Fault::once(at, Failure::NoSpace));
        }
        executor.step();
        let calls = fs.count(Failure::NoSpace);
        let flushed = db.flush().and_then(|()| db.wait_for_compactions()).map_err(|error| error.to_string());
        let value = db.get("k").unwrap().unwrap().escape_ascii().to_string();
        (calls, value, flushed, db.stats().failure)
    };
    let (calls, ..) = run(None);
    let (_, value, flushed, failure) = run(Some(calls - 1));
    assert_eq!((value.as_str(), flushed, failure), ("1", Ok(()), None));
}

#[test]
fn creating_a_family_beside_a_full_log_can_be_tried_again() {
    let run = |fault: Option<u64>| {
        let fs = FaultFs::new(MemFs::new());
        let db = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone())).open(STORE).unwrap();
        if let Some(at) = fault {
            fs.inject(Fault::once(at, Failure::NoSpace));
        }
        let first = db.column_family("f").map(drop);
        (fs.count(Failure::NoSpace), first.or_else(|_| db.column_family("f").map(drop)), db.stats().failure)
    };
    let (calls, ..) = run(None);
    let (_, second, failure) = run(Some(calls - 1));
    assert!(second.is_ok() && failure.is_none(), "{second:?} {failure:?}");
}

#[test]
fn creating_a_family_on_a_full_disk_does_not_make_the_store_read_only() {
    let fs = FaultFs::new(MemFs::new());
    let db = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone())).open(STORE).unwrap();
    fs.inject(Fault::once(fs.count(Failure::NoSpace), Failure::NoSpace));
    assert_eq!(db.column_family("f").err().unwrap().kind(), ErrorKind::NoSpace);
    db.put("a", "1").unwrap();
    db.column_family("f").unwrap();
}

#[test]
fn writers_do_not_hang_behind_a_compaction_without_space() {
    let fs = MemFs::new();
    let options = Options::new()
        .write_buffer_size(16 << 10)
        .level0_file_num_compaction_trigger(1)
        .max_bytes_for_level_base(64 << 20)
        .target_file_size(64 << 20)
        .compression(Compression::None)
        .fs(Arc::new(fs.clone()));
    let db = options.open(STORE).unwrap();
    let watched = db.clone();
    let outcome = in_time(PATIENCE, move || {
        for number in 0..1000_u32 {
            db.put(number.to_be_bytes(), vec![b'v'; 2000]).unwrap();
        }
        db.compact_range(..).unwrap();
        // Room for some level-0 tables, not for a second copy of the whole.
        fs.set_capacity(Some((2_000 << 10) + (1_400 << 10)));
        let freed = Arc::new(AtomicBool::new(false));
        let (freeing, done) = (fs.clone(), freed.clone());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(5));
            freeing.set_capacity(None);
            done.store(true, Ordering::Release);
        });
        // Somebody who tries again, as the kind of the error says.
        let (mut refused, mut number) = (0, 0_u32);
        while !freed.load(Ordering::Acquire) {
            number += 1;
            if let Err(error) = db.put((number % 1000).to_be_bytes(), vec![b'w'; 1000]) {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                refused += 1;
            }
        }
        for number in 0..100_u32 {
            // A job that met the full disk just before it was freed may tell one more writer of it.
            let first = db.put(number.to_be_bytes(), vec![b'w'; 1000]);
            if first.is_err() {
                assert_eq!(number, 0, "{first:?}");
                std::thread::sleep(Duration::from_secs(1));
                db.put(number.to_be_bytes(), vec![b'w'; 1000]).unwrap();
            }
        }
        println!("{refused} {}", db.stats());
        refused
    });
    assert!(outcome.is_some(), "a writer waits without end: {}", watched.stats());
}

#[test]
fn unlogged_writes_survive_a_close_after_a_flush_that_failed() {
    let mut met = 0;
    for skip in 0..10 {
        let fs = FaultFs::new(MemFs::new());
        let options = || Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()));
        let db = options().open(STORE).unwrap();
        db.write_with(one("a", "unlogged"), &unlogged()).unwrap();
        fs.inject(Fault::once(fs.count(Failure::NoSpace) + skip, Failure::NoSpace));
        let flushed = db.flush();
        fs.heal();
        met += usize::from(flushed.is_err() && db.stats().families[0].frozen_memtables > 0);
        db.close().unwrap();
        let found = options().open(STORE).unwrap().get("a").unwrap();
        assert!(found.is_some(), "call {skip}: {flushed:?}, then closed without an error");
    }
    assert!(met > 0);
}

#[test]
fn a_family_with_a_tiny_write_buffer_works() {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    let family = db.column_family_with("f", ColumnFamilyOptions::new().write_buffer_size(0)).unwrap();
    family.put("a", "1").unwrap();
    db.flush().unwrap();
    family.put("a", "2").unwrap();
    assert_eq!(family.get("a").unwrap().unwrap(), "2");
}

#[test]
fn many_empty_families_do_not_stop_writers() {
    let outcome = in_time(PATIENCE, || {
        let fs = MemFs::new();
        let db = small(&fs).open(STORE).unwrap();
        let families: Vec<_> = (0..200).map(|number| db.column_family(&number.to_string()).unwrap()).collect();
        for round in 0..100 {
            families[0].put(format!("{round}"), vec![b'v'; 1000]).unwrap();
        }
        families[0].iter().count()
    });
    assert_eq!(outcome, Some(100));
}

#[test]
fn a_flush_that_is_tried_again_leaves_no_table_behind() {
    for at in 0..12 {
        let fs = FaultFs::new(MemFs::new());
        let db = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone())).open(STORE).unwrap();
        db.put("a", "1").unwrap();
        fs.inject(Fault::once(fs.count(Failure::NoSpace) + at, Failure::NoSpace));
        let first = db.flush();
        fs.heal();
        db.flush().unwrap();
        assert_eq!(tables_on_disk(&fs), live_tables(&db), "call {at}: {first:?}");
    }
}

#[test]
fn a_family_that_is_dropped_while_it_is_flushed_leaves_no_table_behind() {
    let fs = MemFs::new();
    let executor = Arc::new(StepExecutor::new());
    let db = small(&fs).executor(executor.clone()).open(STORE).unwrap();
    let family = db.column_family("f").unwrap();
    (0..100).for_each(|number| family.put(format!("{number}"), vec![b'v'; 1000]).unwrap());
    db.flush().unwrap();
    db.drop_column_family("f").unwrap();
    drop(family);
    while executor.step() {}
    assert_eq!(tables_on_disk(&fs), live_tables(&db));
}

#[test]
fn an_open_that_fails_changes_nothing() {
    let fs = MemFs::new();
    let db = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone())).open(STORE).unwrap();
    for number in 0..400 {
        db.put(format!("{number:04}"), vec![b'v'; 1000]).unwrap();
        if number == 390 {
            db.sync().unwrap();
        }
    }
    let crashed = fs.crash(Crash::KeepAll);
    let log = crashed.read_dir(Path::new(STORE)).unwrap();
    let log = log.iter().find(|name| name.ends_with(".log")).unwrap();
    let path = Path::new(STORE).join(log);
    let source = crashed.open(&path).unwrap();
    let mut bytes = vec![0; source.size().unwrap() as usize];
    source.read_exact_at(0, &mut bytes).unwrap();
    bytes[380_000] ^= 1;
    crashed.remove(&path).unwrap();
    let mut file = crashed.create(&path).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    std::io::Write::flush(&mut file).unwrap();
    file.sync().unwrap();
    drop(file);
    let error = small(&crashed).open(STORE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert_eq!(tables_on_disk(&crashed), 0);
}

fn open_with(change: impl FnOnce(&mut Manifest)) -> (MemFs, lsm_engine::Result<Db>) {
    let fs = MemFs::new();
    fs.create_dir(Path::new(STORE)).unwrap();
    let mut manifest =
        Manifest::create(Arc::new(fs.clone()), Path::new(STORE), State::new(lsm_manifest::new_db_id(&fs))).unwrap();
    change(&mut manifest);
    drop(manifest);
    let db = small(&fs).open(STORE);
    (fs, db)
}

#[test]
fn the_largest_sequence_number_is_no_panic() {
    let (_fs, db) = open_with(|manifest| {
        manifest.apply(vec![VersionEdit { last_seq: Some(SeqNo::MAX), ..VersionEdit::default() }]).unwrap();
    });
    if let Ok(db) = db {
        let _ = db.put("a", "1");
    }
}

#[test]
fn the_next_to_largest_sequence_number_is_no_panic() {
    let (_fs, db) = open_with(|manifest| {
        let last_seq = Some(SeqNo::new(SeqNo::MAX.get() - 2));
        manifest.apply(vec![VersionEdit { last_seq, ..VersionEdit::default() }]).unwrap();
    });
    let db = db.unwrap();
    for _ in 0..5 {
        let _ = db.put("a", "1");
    }
}

#[test]
fn the_largest_family_number_is_no_panic() {
    let (_fs, db) = open_with(|manifest| {
        let family = lsm_core::ColumnFamilyId(u32::MAX);
        let family_change = Some(FamilyChange::Add("last".to_owned()));
        manifest.apply(vec![VersionEdit { family, family_change, ..VersionEdit::default() }]).unwrap();
    });
    let db = db.unwrap();
    let _ = db.column_family("one more");
    db.put("a", "1").unwrap();
}

#[test]
fn a_refusal_before_a_save_point_outlives_the_rollback() {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(vec![0; (8 << 20) + 1], "");
    batch.save_point();
    batch.put("b", "1");
    batch.rollback_to_save_point();
    assert_eq!(db.write(batch).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

struct Submitter(Db, std::sync::mpsc::Sender<Commit>);

impl Wake for Submitter {
    fn wake(self: Arc<Self>) {
        self.1.send(self.0.submit(one("second", &"v".repeat(7 << 20)))).unwrap();
    }
}

/// It waited for room in the queue that it was to make itself.
#[test]
fn a_task_that_runs_on_the_writer_thread_may_submit_to_a_full_queue() {
    let outcome = in_time(PATIENCE, move || {
        let db = small(&MemFs::new()).open(STORE).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let waker = Waker::from(Arc::new(Submitter(db.clone(), sender)));
        // What keeps the thread busy until somebody has asked for the commit.
        (0..20).for_each(|number| drop(db.submit(one(&number.to_string(), &"v".repeat(200_000)))));
        let mut commit = db.submit(one("first", &"v".repeat(2 << 20)));
        let is_pending = std::pin::Pin::new(&mut commit).poll(&mut Context::from_waker(&waker)).is_pending();
        drop(waker);
        commit.wait().unwrap();
        receiver.recv().unwrap().wait().unwrap();
        (is_pending, db.iter().count())
    });
    assert_eq!(outcome, Some((true, 22)));
}

struct Owner(Mutex<Option<Db>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn a_task_that_owns_the_store_may_end_on_the_writer_thread() {
    let fs = MemFs::new();
    let outcome = in_time(PATIENCE, move || {
        let db = small(&fs).open(STORE).unwrap();
        for number in 0..30 {
            drop(db.submit(one(&number.to_string(), &"v".repeat(200_000))));
        }
        let mut commit = db.submit(one("last", "v"));
        // The only handle goes with the waker.
        let waker = Waker::from(Arc::new(Owner(Mutex::new(Some(db)))));
        let pending = std::pin::Pin::new(&mut commit).poll(&mut Context::from_waker(&waker)).is_pending();
        drop(waker);
        commit.wait().unwrap();
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(50));
            if let Ok(db) = small(&fs).open(STORE) {
                return (pending, Some(db.iter().count()));
            }
        }
        (pending, None)
    });
    assert_eq!(outcome, Some((true, Some(31))));
}

#[test]
fn a_read_only_store_stays_readable_when_the_owner_compacts() {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    db.put("a", "1").unwrap();
    db.flush().unwrap();
    let reader = small(&fs).read_only(true).open(STORE).unwrap();
    db.put("a", "2").unwrap();
    db.compact_range(..).unwrap();
    assert_eq!(reader.get("a").unwrap().unwrap(), "1");
}

#[test]
fn an_iterator_of_a_closed_store_stays_readable_after_the_next_open() {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    let family = db.column_family("f").unwrap();
    family.put("a", "1").unwrap();
    db.flush().unwrap();
    let iter = family.iter();
    db.drop_column_family("f").unwrap();
    db.close().unwrap();
    let _again = small(&fs).open(STORE).unwrap();
    let items: Vec<_> = iter.map(|item| item.unwrap().1.to_vec()).collect();
    assert_eq!(items, [b"1".to_vec()]);
}

#[test]
fn an_iterator_of_a_closed_store_deletes_nothing_of_the_next_one() {
    let fs = MemFs::new();
    let fill = |db: &Db| {
        for _ in 0..3 {
            db.put("a", "1").unwrap();
            db.flush().unwrap();
        }
    };
    let db = small(&fs).level0_file_num_compaction_trigger(100).open(STORE).unwrap();
    fill(&db);
    let iter = db.iter();
    db.compact_range(..).unwrap();
    db.close().unwrap();
    // Another store in the same place, as after restoring a copy.
    for name in fs.read_dir(Path::new(STORE)).unwrap() {
        fs.remove(&Path::new(STORE).join(name)).unwrap();
    }
    let db = small(&fs).level0_file_num_compaction_trigger(100).open(STORE).unwrap();
    fill(&db);
    let live = live_tables(&db);
    drop(iter);
    assert_eq!(tables_on_disk(&fs), live);
}

#[test]
fn ranges_behind_the_longest_key_survive() {
    let fs = MemFs::new();
    let options = || Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()));
    let db = options().open(STORE).unwrap();
    let longest = vec![7_u8; 8 << 20];
    db.put(&longest, "v").unwrap();
    db.delete_range(..=longest.as_slice()).unwrap();
    db.delete_range(..).unwrap();
    db.delete_range(..).unwrap();
    db.flush().unwrap();
    db.delete_range(..).unwrap();
    db.compact_range(..).unwrap();
    db.put("k", "v").unwrap();
    db.delete_range(..).unwrap();
    db.close().unwrap();
    let db = options().open(STORE).unwrap();
    assert_eq!(db.iter().count(), 0);
    db.verify().unwrap();
}

#[test]
fn empty_ranges_delete_nothing() {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    db.put("a", "1").unwrap();
    db.delete_range("a".."a").unwrap();
    assert_eq!(db.iter().count(), 1);
    db.flush().unwrap();
    db.delete_range("a".."a").unwrap();
    db.compact_range("z".."a").unwrap();
    db.close().unwrap();
    let db = small(&fs).open(STORE).unwrap();
    assert_eq!(db.get("a").unwrap().unwrap(), "1");
    db.flush().unwrap();
    db.compact_range(..).unwrap();
    db.verify().unwrap();
}

#[test]
fn zero_sizes_are_refused_or_work() {
    for which in 0..4 {
        let outcome = in_time(PATIENCE, move || {
            let fs = MemFs::new();
            let options = Options::new().write_buffer_size(16 << 10).fs(Arc::new(fs.clone()));
            let options = match which {
                0 => options.max_bytes_for_level_base(0),
                1 => options.target_file_size(0),
                2 => options.memory_budget(0),
                _ => options.max_subcompactions(0).background_threads(0),
            };
            let Ok(db) = options.open(STORE) else { return };
            for number in 0..300_u32 {
                db.put((number * 7 % 100).to_be_bytes(), vec![b'v'; 1000]).unwrap();
            }
            db.flush().unwrap();
            db.wait_for_compactions().unwrap();
            db.compact_range(..).unwrap();
            assert_eq!(db.iter().count(), 100);
        });
        assert!(outcome.is_some(), "option {which}");
    }
}

/// The record of a refused write lay in the log's buffer, its entries were visible, and the next delivery made them
/// durable. Since then a record is delivered before anybody sees it, and the log behind a failure is given up.
#[test]
fn a_write_that_found_no_space_is_never_seen() {
    let memory = MemFs::new();
    let fs = FaultFs::new(memory.clone());
    let options = |fs: Arc<dyn Fs>| small(&memory).log_access(SegmentAccess::Positioned).fs(fs);
    let db = options(Arc::new(fs.clone())).open(STORE).unwrap();
    db.put("before", "1").unwrap();
    // Room is reserved, and then the delivery finds none.
    fs.inject(Fault::once(fs.count(Failure::TornWrite), Failure::TornWrite));
    assert_eq!(db.put("torn", "2").unwrap_err().kind(), ErrorKind::Io);
    fs.inject(Fault::once(fs.count(Failure::NoSpace) + 1, Failure::NoSpace));
    assert_eq!(db.put("refused", "3").unwrap_err().kind(), ErrorKind::NoSpace);
    for (key, value) in [("after", "4"), ("later", "5")] {
        db.put(key, value).unwrap();
    }
    assert!(db.stats().failure.is_none());
    let check = |db: &Db| {
        let keys: Vec<_> = db.iter().map(|item| item.unwrap().0.to_vec()).collect();
        assert_eq!(keys, [&b"after"[..], b"before", b"later"]);
    };
    check(&db);
    check(&options(Arc::new(memory.crash(Crash::KeepAll))).open(STORE).unwrap());
    db.flush().unwrap();
    check(&db);
    db.close().unwrap();
    check(&options(Arc::new(memory.clone())).open(STORE).unwrap());
}

/// Each try of an open wrote what the logs held into tables, and the manifest found no space behind them.
#[test]
fn an_open_on_a_full_disk_leaves_no_tables_behind() {
    let memory = MemFs::new();
    let db = small(&memory).open(STORE).unwrap();
    (0..10).for_each(|number| db.put(format!("{number}"), vec![b'v'; 500]).unwrap());
    drop(db);
    let tries = |fault: u64| {
        let left = memory.crash(Crash::KeepAll);
        let fs = FaultFs::new(left.clone());
        fs.inject(Fault::sticky(fault, Failure::NoSpace));
        let opened = small(&left).fs(Arc::new(fs.clone())).open(STORE);
        (opened.is_ok(), tables_on_disk(&left))
    };
    let ends: Vec<_> = (0..40).map(tries).take_while(|(opened, _)| !opened).collect();
    assert!(ends.len() > 5, "{ends:?}");
    // Only once `CURRENT` may name the new manifest does the table stay.
    let kept = ends.iter().filter(|(_, tables)| *tables > 0).count();
    assert!(kept < ends.len() / 2, "{ends:?}");
    assert_eq!(ends[..4].iter().map(|(_, tables)| tables).sum::<usize>(), 0, "{ends:?}");
}

/// A log that was to be written over was forgotten when that failed, and its file stayed until the next open.
#[test]
fn a_log_that_could_not_be_reused_is_not_forgotten() {
    let memory = MemFs::new();
    let fs = FaultFs::new(memory.clone());
    let db = small(&memory).fs(Arc::new(fs.clone())).open(STORE).unwrap();
    let logs = || memory.read_dir(Path::new(STORE)).unwrap().iter().filter(|name| name.ends_with(".log")).count();
    for round in 0..8 {
        db.put(format!("{round}"), vec![b'v'; 3000]).unwrap();
        if round > 2 {
            // The creation of the next log, whatever else takes descriptors.
            fs.inject(Fault::once(fs.count(Failure::TooManyFiles), Failure::TooManyFiles));
        }
        let first = db.flush();
        assert!(first.is_ok() == (round <= 2), "{round}: {first:?}");
        db.flush().unwrap();
        assert!(logs() <= 3, "{round}: {:?}", memory.read_dir(Path::new(STORE)));
    }
    assert!(db.stats().failure.is_none());
}

/// Two families were both over the limit of all memtables together. Only the larger one was frozen, and after its
/// flush the writer went on waiting for the other one, which nobody flushed.
#[test]
fn a_writer_does_not_wait_for_a_memtable_that_nobody_flushes() {
    let outcome = in_time(PATIENCE, || {
        let fs = MemFs::new();
        let db = Options::new().write_buffer_size(16 << 10).fs(Arc::new(fs)).open(STORE).unwrap();
        let other = db.column_family("other").unwrap();
        for number in 0..5_u32 {
            let mut batch = WriteBatch::new();
            batch.put(number.to_be_bytes(), vec![b'v'; 200_000]);
            batch.put_cf(&other, number.to_be_bytes(), vec![b'w'; 190_000]);
            db.write(batch).unwrap();
        }
        assert_eq!(other.iter().count(), 5);
    });
    assert!(outcome.is_some(), "the writer waits for ever");
}

/// A process's syncs were made to fail: one job's sync of the directory did, and the next job in line synced it
/// again, got `Ok`, and put a table into the manifest beside names that could be lost.
#[test]
fn a_directory_whose_sync_failed_is_not_synced_again() {
    let mut seen = false;
    for skip in 0..8 {
        let fs = FaultFs::new(MemFs::new());
        let executor = Arc::new(StepExecutor::new());
        let options = Options::new().write_buffer_size(16 << 10).executor(executor.clone()).fs(Arc::new(fs.clone()));
        let db = options.open(STORE).unwrap();
        let families = [db.column_family("a").unwrap(), db.column_family("b").unwrap()];
        for number in 0..200 {
            if executor.len() < families.len() {
                families.iter().for_each(|family| drop(family.put(format!("{number:03}"), vec![b'v'; 1000])));
            }
        }
        assert_eq!(executor.len(), families.len(), "a flush of each family waits for its turn");
        fs.inject(Fault::once(fs.count(Failure::Sync) + skip, Failure::Sync));
        while executor.step() && fs.failed_syncs().is_empty() {}
        if fs.failed_syncs() != [Path::new(STORE)] {
            continue;
        }
        let again = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&again);
        fs.observe(Arc::new(move |moment| {
            let is_sync = moment.name == "sync directory" && moment.path == Path::new(STORE);
            *counted.lock().unwrap() += u32::from(is_sync);
        }));
        seen |= !executor.is_empty();
        while executor.step() {}
        assert_eq!(*again.lock().unwrap(), 0, "the directory was synced again after sync {skip} had failed");
        assert!(db.put("more", "1").is_err());
    }
    assert!(seen, "no job was left when the sync failed");
}

/// A process's syncs were made to fail: the log's with ENOSPC was answered with `NoSpace`, which says that the write
/// was not made and may be tried again. It was visible, and the store had become read-only.
#[test]
fn a_log_that_finds_no_space_at_its_sync_does_not_say_that_the_write_was_not_made() {
    let fs = FaultFs::new(MemFs::new());
    let db = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone())).open(STORE).unwrap();
    fs.inject(Fault::once(fs.count(Failure::SyncNoSpace), Failure::SyncNoSpace));
    let synced = WriteOptions::new().durability(Durability::Synced);
    let error = db.write_with(one("key", "1"), &synced).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert!(!error.is_retryable());
    assert_eq!(db.put("key", "2").unwrap_err().kind(), ErrorKind::ReadOnly);
}

/// A store with a row, whose `LOCK` somebody removed while it is open.
fn without_lock(fs: &MemFs, options: &Options) -> Db {
    let db = options.clone().open(STORE).unwrap();
    db.put("first", "1").unwrap();
    fs.remove(&Path::new(STORE).join("LOCK")).unwrap();
    db
}

/// Nothing looked at `LOCK` after the opening: with the file removed, a second handle opened the directory too, and
/// both wrote manifests.
#[test]
fn a_store_whose_lock_was_removed_writes_no_more_edits() {
    let fs = MemFs::new();
    let options = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()));
    let db = without_lock(&fs, &options);
    let error = db.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert!(error.to_string().contains("LOCK"), "{error}");
    assert_eq!(db.get("first").unwrap().unwrap(), "1");
    assert_eq!(db.put("more", "2").unwrap_err().kind(), ErrorKind::ReadOnly);
    drop(db);
    let db = options.open(STORE).unwrap();
    assert_eq!(db.get("first").unwrap().unwrap(), "1");
}

/// Closing wrote its edit without that look.
#[test]
fn a_store_whose_lock_was_removed_writes_none_when_it_is_closed() {
    let fs = MemFs::new();
    let options = Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()));
    let db = without_lock(&fs, &options);
    let manifest = lsm_manifest::in_force(&fs, Path::new(STORE)).unwrap();
    let bytes = || fs.metadata(&FileKind::Manifest(manifest).path(Path::new(STORE))).unwrap().bytes;
    let before = bytes();
    let error = db.close().unwrap_err();
    assert!(error.to_string().contains("LOCK"), "{error}");
    assert_eq!(bytes(), before);
    assert_eq!(options.open(STORE).unwrap().get("first").unwrap().unwrap(), "1");
}

/// A compaction that did not fit on the disk was begun again at once, filled the disk, failed, and gave the room back, for
/// ever: writes that would have fitted were refused while it held the room, and a core was busy.
#[test]
fn a_compaction_that_does_not_fit_is_not_tried_again_and_again() {
    let fs = MemFs::new();
    // All of it is one table below level 0.
    let options = small(&fs).level0_file_num_compaction_trigger(1).log_access(SegmentAccess::Positioned);
    let options = options.compression(Compression::None).max_bytes_for_level_base(8 << 20).target_file_size(4 << 20);
    let write = |db: &Db, number: u32| db.put(format!("{:03}", number * 389 % 1000), vec![b'v'; 1000]);
    let db = options.clone().open(STORE).unwrap();
    (0..400).try_for_each(|number| write(&db, number)).unwrap();
    db.compact_range(..).unwrap();
    db.close().unwrap();
    let db = options.open(STORE).unwrap();
    // Room for what is written below and its log, not for a second copy of what is there.
    fs.set_capacity(Some(1 << 30));
    let free_bytes = fs.free_space(Path::new(STORE)).unwrap();
    fs.set_capacity(Some((1 << 30) - free_bytes + (350 << 10)));
    assert_eq!((400..600).filter(|&number| write(&db, number).is_err()).count(), 0);
    assert!(db.stats().background_errors < 10, "{} compactions failed", db.stats().background_errors);
    fs.set_capacity(None);
    db.wait_for_compactions().unwrap();
    assert!(db.stats().families[0].levels[0].tables < 2);
}

/// A store that was opened for reading beside its owner, with little memory, closed tables to save some; when they were
/// wanted again the owner had compacted them away, and a read failed that had been promised at the open.
#[test]
fn a_read_only_store_with_little_memory_still_reads_what_its_owner_removes() {
    let fs = MemFs::new();
    let db = small(&fs).open(STORE).unwrap();
    let write = |number: u32| db.put(format!("{:03}", number * 389 % 1000), vec![b'v'; 1000]);
    (0..1000).try_for_each(write).unwrap();
    db.flush().unwrap();
    let reader = small(&fs).read_only(true).block_cache_size(1 << 10).open(STORE).unwrap();
    db.compact_range(..).unwrap();
    db.put("more", "").unwrap();
    db.compact_range(..).unwrap();
    let mut rows = 0;
    for row in reader.iter() {
        row.unwrap();
        rows += 1;
    }
    assert_eq!(rows, 1000);
}

/// A store was opened for reading while its owner flushed: the manifest was read before the flush and the logs after it,
/// when the flushed one was gone. One family lacked rows of batches whose other half was there, without an error.
#[test]
fn a_read_only_open_beside_a_busy_owner_sees_whole_batches() {
    let fs = MemFs::new();
    let options = || Options::new().write_buffer_size(16 << 10).fs(Arc::new(fs.clone()));
    let db = options().open(STORE).unwrap();
    let other = db.column_family("other").unwrap();
    let done = AtomicBool::new(false);
    let write = || {
        for number in 0..20_000 {
            let (key, value) = (format!("{:02}", number % 50), format!("{number:0300}"));
            let mut batch = WriteBatch::new();
            batch.put(&key, &value);
            batch.put_cf(&other, &key, value + "longer");
            db.write(batch).unwrap();
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let numbers = |rows: lsm_engine::Iter| rows.map(|row| row.unwrap().1[..300].to_vec()).collect::<Vec<_>>();
    let halves = std::thread::scope(|scope| {
        scope.spawn(write);
        let halves = (0..100).find_map(|_| {
            let reader = options().read_only(true).open(STORE).ok()?;
            let rows = (numbers(reader.iter()), numbers(reader.column_family("other").ok()?.iter()));
            (rows.0 != rows.1).then_some(rows)
        });
        done.store(true, Ordering::Relaxed);
        halves
    });
    assert_eq!(halves, None);
}
