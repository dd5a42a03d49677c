//! Panics of what the user brings along (file system, merge operator, listener), at every place: the store goes
//! read-only with the panic's message, nobody hangs, reads go on, and a reopened store has all that was acknowledged.

use lsm_compaction::StepExecutor;
use lsm_engine::{
    ColumnFamilyOptions, Db, Durability, ErrorKind, EventListener, MergeOperator, Options, WriteBatch, WriteOptions,
};
use lsm_fs::{Crash, MemFs, SegmentAccess};
use lsm_testkit::{Failure, Fault, FaultFs};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Longer than any call may take in which something panics.
const PATIENCE: Duration = Duration::from_secs(5);

fn options(fs: &FaultFs) -> Options {
    Options::new()
        .write_buffer_size(16 << 10)
        .max_bytes_for_level_base(32 << 10)
        .target_file_size(16 << 10)
        .level0_file_num_compaction_trigger(2)
        .fs(Arc::new(fs.clone()))
}

/// Runs `work` on a thread and fails if that hangs.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    lsm_testkit::in_time(PATIENCE, work).unwrap_or_else(|| panic!("{what}: no answer within {PATIENCE:?}"))
}

/// Whether the call came back with a value and not with a panic.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// What the last acknowledged write gave each key, and what writes without an answer may have.
#[derive(Default)]
struct Possible(BTreeMap<String, Vec<u32>>);

impl Possible {
    fn note(&mut self, key: String, value: u32, acknowledged: bool) {
        let values = self.0.entry(key).or_default();
        if acknowledged {
            values.clear();
        }
        values.push(value);
    }

    /// Compares, where there was an acknowledgement that nothing uncertain followed.
    fn check(&self, db: &Db, context: &str) {
        for (key, values) in &self.0 {
            let found = db.get(key).unwrap_or_else(|error| panic!("{context}: {error}"));
            let found = found.map(|value| std::str::from_utf8(&value).unwrap().parse::<u32>().unwrap());
            match found {
                Some(found) => assert!(values.contains(&found), "{context}: {key} is {found}, not one of {values:?}"),
                None => assert!(values.len() != 1, "{context}: {key} is lost, not {values:?}"),
            }
        }
    }
}

fn put(db: &Db, key: &str, value: u32, number: u32) -> bool {
    let mut batch = WriteBatch::new();
    batch.put(key, format!("{value:0400}"));
    let durability = if number.is_multiple_of(16) { Durability::Synced } else { Durability::Buffered };
    let options = WriteOptions::new().durability(durability);
    let done = match number % 3 {
        0 => quietly(|| db.submit_with(batch, &options).wait()),
        _ => quietly(|| db.write_with(batch, &options)),
    };
    matches!(done, Some(Ok(())))
}

/// Opens, writes by all ways, flushes, compacts; then reads what was acknowledged, and closes.
fn script(fs: &FaultFs, context: &str) -> Possible {
    let mut possible = Possible::default();
    let Some(Ok(db)) = quietly(|| options(fs).executor(Arc::new(StepExecutor::new())).open("/store")) else {
        return possible;
    };
    for number in 0..80_u32 {
        let key = format!("{:02}", number * 7 % 20);
        let acknowledged = put(&db, &key, number, number);
        possible.note(key, number, acknowledged);
    }
    let _ = quietly(|| db.flush());
    let _ = quietly(|| db.compact_range(..));
    let struck = fs.struck() > 0;
    fs.heal();
    // N1, N3: reads go on whatever has happened.
    possible.check(&db, context);
    if struck && db.put("after", "0001").is_err() {
        let error = db.put("after", "0001").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{context}: {error}");
    }
    let _ = db.close();
    possible
}

#[test]
fn a_panic_at_every_call_of_the_file_system_is_contained() {
    let dry = FaultFs::new(MemFs::new());
    script(&dry, "dry run");
    let calls = dry.count(Failure::Panic);
    assert!(calls > 200, "{calls} calls");
    // Planted panics are no news; of others the last one says what is wrong.
    let said = Arc::new(std::sync::Mutex::new(String::new()));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new({
        let said = Arc::clone(&said);
        move |info| {
            let text = info.to_string();
            if !text.contains("planted panic") {
                *said.lock().unwrap() = text;
            }
        }
    }));
    let uncontained = (0..calls).find(|at| quietly(|| panic_at(*at)).is_none());
    std::panic::set_hook(hook);
    assert_eq!(uncontained, None, "the call that panicked; {}", said.lock().unwrap());
}

fn panic_at(at: u64) {
    let inner = MemFs::new();
    let fs = FaultFs::new(inner.clone());
    fs.inject(Fault::once(at, Failure::Panic));
    let scripted = fs.clone();
    let possible = in_time("the script", move || quietly(|| script(&scripted, "before the restart")));
    let context = format!("panic at call {at}, {:?}, reopened", fs.first_struck());
    let possible = possible.expect(&context);
    // The lock is free, and all that was acknowledged is there.
    let db = options(&fs).open("/store").unwrap_or_else(|error| panic!("{context}: {error}"));
    possible.check(&db, &context);
    db.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
}

/// Panics once it is armed.
#[derive(Default)]
struct Bomb(AtomicBool);

impl Bomb {
    fn go(&self) {
        assert!(!self.0.load(Ordering::SeqCst), "boom");
    }
}

impl EventListener for Bomb {
    fn on_flush(&self, _: &str, _: usize, _: u64) {
        self.go();
    }

    fn on_background_error(&self, _: &str) {
        self.go();
    }
}

impl MergeOperator for Bomb {
    fn name(&self) -> &str {
        "bomb"
    }

    fn full_merge(&self, _: &[u8], _: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        self.go();
        operands.last().map(|operand| operand.to_vec())
    }

    fn partial_merge(&self, _: &[u8], _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        self.go();
        None
    }
}

/// The bomb has gone off in the background: everyone hears of it, `close` returns, and all is there afterwards.
fn check_after_a_panic(db: Db, fs: &MemFs) {
    let db = in_time("a write after the panic", move || {
        let error = (0..).find_map(|number: u32| db.put(format!("late {number}"), "v").err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
        assert!(error.to_string().contains("boom"), "{error}");
        assert!(db.flush().unwrap_err().to_string().contains("boom"));
        let mut batch = WriteBatch::new();
        batch.put("submitted", "v");
        assert!(db.submit(batch).wait().is_err());
        db
    });
    assert_eq!(db.get("early").unwrap().unwrap(), "v");
    in_time("close", move || assert!(db.close().unwrap_err().to_string().contains("boom")));
    let db = Options::new().fs(Arc::new(fs.crash(Crash::KeepAll))).open("/store").unwrap();
    assert_eq!(db.get("early").unwrap().unwrap(), "v");
}

#[test]
fn a_listener_that_panics_in_a_flush_makes_the_store_read_only() {
    for stepped in [false, true] {
        let (fs, bomb) = (MemFs::new(), Arc::new(Bomb::default()));
        let mut options = Options::new().event_listener(Arc::clone(&bomb) as _).fs(Arc::new(fs.clone()));
        if stepped {
            options = options.executor(Arc::new(StepExecutor::new()));
        }
        let db = options.open("/store").unwrap();
        db.put("early", "v").unwrap();
        bomb.0.store(true, Ordering::SeqCst);
        let flushing = db.clone();
        // The memtable may be in a table before the listener hears of it: only that the call returns is certain.
        in_time("flush", move || drop(flushing.flush()));
        check_after_a_panic(db, &fs);
    }
}

#[test]
fn a_merge_operator_that_panics_in_a_flush_makes_the_store_read_only() {
    let (fs, bomb) = (MemFs::new(), Arc::new(Bomb::default()));
    let db = Options::new().fs(Arc::new(fs.clone())).open("/store").unwrap();
    let counts = ColumnFamilyOptions::new().merge_operator(Arc::clone(&bomb) as _);
    let family = db.column_family_with("counts", counts).unwrap();
    db.put("early", "v").unwrap();
    for operand in ["a", "b", "c"] {
        family.merge("key", operand).unwrap();
    }
    drop(family);
    bomb.0.store(true, Ordering::SeqCst);
    let flushing = db.clone();
    assert!(in_time("flush", move || flushing.flush()).is_err());
    check_after_a_panic(db, &fs);
}

#[test]
fn a_panic_on_the_writer_thread_answers_all_who_wait() {
    // The writer thread once died of it: commits behind it had no result, their bytes stayed counted, and the
    // next to submit waited for room for ever.
    let fs = FaultFs::new(MemFs::new());
    let db = options(&fs).open("/store").unwrap();
    db.put("early", "v").unwrap();
    fs.inject(Fault::sticky(fs.count(Failure::Panic) + 3, Failure::Panic));
    let submitting = db.clone();
    in_time("submitted batches", move || {
        let submit = |number: u32| {
            let mut batch = WriteBatch::new();
            batch.put(format!("{number}"), vec![7; 1 << 20]);
            submitting.submit(batch)
        };
        // More than the queue has room for.
        let commits: Vec<_> = (0..24).map(submit).collect();
        assert!(commits.iter().filter(|commit| commit.wait().is_err()).count() > 16);
    });
    fs.heal();
    assert_eq!(db.get("early").unwrap().unwrap(), "v");
    assert!(db.put("late", "v").unwrap_err().to_string().contains("planted panic"));
    in_time("close", move || db.close()).unwrap_err();
}

#[test]
fn a_waker_that_panics_keeps_nobody_from_being_answered() {
    struct Loud;
    impl std::task::Wake for Loud {
        fn wake(self: Arc<Self>) {
            panic!("loud");
        }
    }
    let db = Options::new().fs(Arc::new(MemFs::new())).open("/store").unwrap();
    for number in 0..50_u32 {
        let mut batch = WriteBatch::new();
        batch.put(number.to_be_bytes(), "v");
        let mut commit = std::pin::pin!(db.submit(batch));
        let waker = Arc::new(Loud).into();
        let _ = std::future::Future::poll(commit.as_mut(), &mut std::task::Context::from_waker(&waker));
        commit.wait().unwrap();
    }
    db.close().unwrap();
}

#[test]
fn reads_go_on_while_the_disk_stalls_and_close_returns_behind_it() {
    let fs = FaultFs::new(MemFs::new());
    let db = options(&fs).log_access(SegmentAccess::Positioned).open("/store").unwrap();
    (0..100_u32).for_each(|number| db.put(number.to_be_bytes(), "v").unwrap());
    let (stalled, released) = (mpsc::channel(), Arc::new(AtomicBool::new(false)));
    let release = Arc::clone(&released);
    let sender = std::sync::Mutex::new(stalled.0);
    fs.observe(Arc::new(move |moment| {
        if moment.name.starts_with("sync") {
            let _ = sender.lock().unwrap().send(());
            while !release.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }));
    let syncing = [db.clone(), db.clone()].map(|db| std::thread::spawn(move || db.sync()));
    let flushing = std::thread::spawn({
        let db = db.clone();
        move || db.flush()
    });
    stalled.1.recv_timeout(PATIENCE).unwrap();
    let reading = db.clone();
    in_time("reads while the disk stalls", move || {
        assert_eq!(reading.iter().count(), 100);
        assert_eq!(reading.snapshot().get(7_u32.to_be_bytes()).unwrap().unwrap(), "v");
    });
    let closing = std::thread::spawn(move || db.close());
    std::thread::sleep(Duration::from_millis(50));
    released.store(true, Ordering::SeqCst);
    let _ = in_time("close behind the stall", move || closing.join().unwrap());
    in_time("what waited for the disk", move || {
        syncing.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        drop(flushing.join().unwrap());
    });
    let db = options(&FaultFs::new(fs)).open("/store").unwrap();
    assert_eq!(db.iter().count(), 100);
}

#[test]
fn of_two_closes_at_once_neither_returns_before_the_lock_is_free() {
    // The second one saw a store that was marked as closed already, and returned while the first still cut the log.
    let fs = MemFs::new();
    for _ in 0..50 {
        let db = Options::new().fs(Arc::new(fs.clone())).open("/store").unwrap();
        db.put("key", "value").unwrap();
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for db in [db.clone(), db] {
                let (start, fs) = (&start, &fs);
                scope.spawn(move || {
                    start.wait();
                    db.close().unwrap();
                    match Options::new().fs(Arc::new(fs.clone())).open("/store") {
                        Ok(db) => db.close().unwrap(),
                        // The other thread may be faster, and has its own then; the first store's lock is free.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
                    }
                });
            }
        });
    }
}
