//! Models of a whole store in memory under shuttle's schedules: a few calls by a few threads, flushes and
//! compactions on threads of their own.
//!
//! What is checked here are the protocols between the parts, as the parts' own models cannot: views against sequence
//! numbers, jobs against closing. Their mutants are plants in the source, see `cargo xtask sabotage`.

use crate::sync::{AtomicBool, Mutex, Ordering, explore, thread};
use crate::{Db, Durability, ErrorKind, EventListener, Executor, Options, WriteBatch, WriteOptions};
use lsm_compaction::Task;
use lsm_fs::{Fs, MemFs};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

/// Runs each job on a thread of its own.
struct Threads;

impl Executor for Threads {
    fn execute(&self, task: Task) {
        thread::spawn(task);
    }
}

fn options(fs: &MemFs) -> Options {
    Options::new()
        .write_buffer_size(16 << 10)
        .memory_budget(1 << 20)
        .level0_file_num_compaction_trigger(2)
        .executor(Arc::new(Threads))
        .fs(Arc::new(fs.clone()))
}

fn open(fs: &MemFs) -> Db {
    options(fs).open("/store").unwrap()
}

fn batch(number: u8) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put("a", [number]);
    batch.put("b", [number]);
    batch
}

/// What both keys of a batch hold.
fn number(values: Vec<Option<crate::Slice>>) -> u8 {
    let numbers: Vec<u8> = values.iter().map(|value| value.as_ref().map_or(0, |value| value[0])).collect();
    assert_eq!(numbers[0], numbers[1], "half a batch");
    numbers[0]
}

#[test]
fn readers_see_whole_batches_while_the_memtable_is_flushed() {
    explore::holds_for_store(|| {
        let db = open(&MemFs::new());
        db.write(batch(1)).unwrap();
        let [writing, flushing] = [db.clone(), db.clone()];
        let writer = thread::spawn(move || (2..4).for_each(|number| writing.write(batch(number)).unwrap()));
        let flusher = thread::spawn(move || flushing.flush().unwrap());
        let mut last = 1;
        for _ in 0..3 {
            let snapshot = db.snapshot();
            let seen = number(snapshot.multi_get(&["a", "b"]).unwrap());
            assert!(seen >= last, "a read went back");
            last = seen;
            assert_eq!(number(vec![snapshot.get("a").unwrap(), snapshot.get("b").unwrap()]), seen, "a snapshot moved");
        }
        [writer, flusher].into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(number(db.multi_get(&["a", "b"]).unwrap()), 3);
    });
}

#[test]
fn a_snapshot_keeps_its_versions_through_a_compaction() {
    explore::holds_for_store(|| {
        let db = open(&MemFs::new());
        db.write(batch(1)).unwrap();
        db.flush().unwrap();
        let [writing, compacting] = [db.clone(), db.clone()];
        let writer = thread::spawn(move || writing.write(batch(2)).unwrap());
        let compaction = thread::spawn(move || compacting.compact_range(..).unwrap());
        let snapshot = db.snapshot();
        let seen = number(snapshot.multi_get(&["a", "b"]).unwrap());
        assert!(seen == 1 || seen == 2, "{seen}");
        [writer, compaction].into_iter().for_each(|thread| thread.join().unwrap());
        db.compact_range(..).unwrap();
        assert_eq!(number(snapshot.multi_get(&["a", "b"]).unwrap()), seen, "the snapshot's version is gone");
    });
}

// A reader of the present registers nowhere: what it sees is kept by its view alone, so the view comes first.
#[test]
fn a_read_meets_the_swap_of_its_view() {
    explore::holds_for_store(|| {
        let db = open(&MemFs::new());
        db.write(batch(1)).unwrap();
        let changing = db.clone();
        let changes = thread::spawn(move || {
            changing.write(batch(2)).unwrap();
            changing.flush().unwrap();
        });
        let mut last = 1;
        // Many: a schedule has to meet two steps of one of them.
        for _ in 0..12 {
            let seen = number(db.multi_get(&["a", "b"]).unwrap());
            assert!(seen >= last, "a read sees {seen} after {last}");
            last = seen;
        }
        changes.join().unwrap();
    });
}

// A file that is open can be read when its name is gone, but not opened again once it was closed for others.
#[test]
fn a_view_keeps_its_files_and_the_last_one_lets_them_go() {
    let tables = |fs: &MemFs| {
        let names = fs.read_dir(Path::new("/store")).unwrap();
        names.into_iter().filter(|name| name.ends_with(".sst")).collect::<Vec<_>>()
    };
    explore::holds_for_store(move || {
        let fs = MemFs::new();
        let db = open(&fs);
        db.write(batch(1)).unwrap();
        db.flush().unwrap();
        let before = tables(&fs);
        let compacting = db.clone();
        let compaction = thread::spawn(move || {
            compacting.write(batch(2)).unwrap();
            compacting.compact_range(..).unwrap();
        });
        let iter = db.iter();
        compaction.join().unwrap();
        let after = tables(&fs);
        let rows: Vec<u8> = iter.map(|row| row.unwrap().1[0]).collect();
        let are_kept = before.iter().all(|name| after.contains(name));
        assert!(rows == [2, 2] || rows == [1, 1] && are_kept, "{rows:?} of {before:?}; there is {after:?}");
        db.wait_for_compactions().unwrap();
        let named = db.stats().families[0].levels.iter().map(|level| level.tables).sum::<usize>();
        assert_eq!(tables(&fs).len(), named, "a file that no view holds");
    });
}

#[test]
fn two_closes_meet_a_writer_and_what_was_acknowledged_is_there() {
    explore::holds_for_store(|| {
        let fs = MemFs::new();
        let db = open(&fs);
        let [writing, closing] = [db.clone(), db.clone()];
        let writer = thread::spawn(move || match writing.write(batch(1)) {
            Ok(()) => 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                0
            }
        });
        let closer = thread::spawn(move || closing.close().unwrap());
        db.close().unwrap();
        let acknowledged = writer.join().unwrap();
        // Whoever returned from closing finds the lock free.
        let db = open(&fs);
        assert!(number(db.multi_get(&["a", "b"]).unwrap()) >= acknowledged, "an acknowledged batch is lost");
        closer.join().unwrap();
    });
}

// A flush is done before its job has ended.
#[test]
fn who_waits_for_jobs_to_end_is_woken() {
    explore::holds_for_store(|| {
        let db = open(&MemFs::new());
        db.write(batch(1)).unwrap();
        db.flush().unwrap();
        db.wait_for_compactions().unwrap();
    });
}

#[test]
fn the_last_handle_goes_while_a_flush_runs() {
    explore::holds_for_store(|| {
        let fs = MemFs::new();
        let db = open(&fs);
        db.write_with(batch(1), &WriteOptions::new().durability(Durability::Unlogged)).unwrap();
        let flushing = db.clone();
        // The store may be closed under it.
        let flusher = thread::spawn(move || drop(flushing.flush()));
        drop(db);
        flusher.join().unwrap();
        assert_eq!(number(open(&fs).multi_get(&["a", "b"]).unwrap()), 1);
    });
}

#[test]
fn submitted_batches_are_written_whether_or_not_somebody_waits_for_them() {
    explore::holds_for_store(|| {
        let fs = MemFs::new();
        let db = open(&fs);
        let mut dropped = db.submit(batch(1));
        let _ = Pin::new(&mut dropped).poll(&mut Context::from_waker(Waker::noop()));
        drop(dropped);
        let other = db.clone();
        let submitter = thread::spawn(move || {
            let commit = other.submit_with(batch(2), &WriteOptions::new().durability(Durability::Synced));
            shuttle::future::block_on(commit).unwrap();
        });
        submitter.join().unwrap();
        db.close().unwrap();
        assert_eq!(number(open(&fs).multi_get(&["a", "b"]).unwrap()), 2);
    });
}

/// Panics when a flush is done, and keeps what it is told.
#[derive(Default)]
struct Bomb {
    told: Mutex<Option<String>>,
    went_off: AtomicBool,
}

impl EventListener for Bomb {
    fn on_flush(&self, _: &str, _: usize, _: u64) {
        self.went_off.store(true, Ordering::SeqCst);
        // Without the hook, which would print it thousands of times.
        std::panic::resume_unwind(Box::new("boom"));
    }

    fn on_background_error(&self, message: &str) {
        *self.told.lock() = Some(message.to_owned());
    }
}

#[test]
fn a_job_that_panics_leaves_nobody_waiting() {
    explore::holds_for_store(|| {
        let (fs, bomb) = (MemFs::new(), Arc::new(Bomb::default()));
        let db = options(&fs).event_listener(Arc::clone(&bomb) as _).open("/store").unwrap();
        db.write(batch(1)).unwrap();
        let [flushing, writing] = [db.clone(), db.clone()];
        let flusher = thread::spawn(move || drop(flushing.flush()));
        let writer = thread::spawn(move || drop(writing.write(batch(2))));
        [flusher, writer].into_iter().for_each(|thread| thread.join().unwrap());
        assert!(number(db.multi_get(&["a", "b"]).unwrap()) >= 1);
        let closed = db.close();
        if bomb.went_off.load(Ordering::SeqCst) {
            assert!(bomb.told.lock().as_deref().is_some_and(|message| message.contains("boom")));
            assert!(closed.is_err());
        }
        assert!(number(open(&fs).multi_get(&["a", "b"]).unwrap()) >= 1);
    });
}
