//! Every call to the file system fails once, or from then on: nothing acknowledged is lost, nothing hangs, and
//! the store says what happened.

use lsm_compaction::StepExecutor;
use lsm_core::SeqNo;
use lsm_engine::{Db, Durability, ErrorKind, Options, WriteBatch, WriteOptions};
use lsm_fs::{Crash, MemFs, SegmentAccess};
use lsm_testkit::faults::Repeat;
use lsm_testkit::{Failure, Fault, FaultFs};
use std::collections::BTreeMap;
use std::sync::Arc;

fn options(fs: &FaultFs, access: SegmentAccess) -> Options {
    Options::new()
        .write_buffer_size(16 << 10)
        .max_bytes_for_level_base(32 << 10)
        .target_file_size(16 << 10)
        .level0_file_num_compaction_trigger(2)
        .log_access(access)
        .executor(Arc::new(StepExecutor::new()))
        .fs(Arc::new(fs.clone()))
}

/// What a key may hold after the script: the last acknowledged value, or one whose write failed since.
type Possible = BTreeMap<String, Vec<u32>>;

fn put(db: &Db, possible: &mut Possible, key: String, value: u32, durability: Durability) {
    let mut batch = WriteBatch::new();
    batch.put(&key, format!("{value:0400}"));
    let values = possible.entry(key).or_default();
    match db.write_with(batch, &WriteOptions::new().durability(durability)) {
        Ok(()) => *values = vec![value],
        Err(_) => values.push(value),
    }
}

/// Writes, flushes, compacts and closes, and goes on whatever fails.
fn script(fs: &FaultFs, access: SegmentAccess) -> Possible {
    let mut possible = Possible::new();
    for round in 0..2 {
        let Ok(db) = options(fs, access).open("/store") else { continue };
        for number in 0..90_u32 {
            let durability = if number % 16 == 0 { Durability::Synced } else { Durability::Buffered };
            put(&db, &mut possible, format!("{:02}", number * 7 % 30), round * 1000 + number, durability);
        }
        let _ = db.flush();
        let _ = db.compact_range(..);
        for number in 0..10 {
            put(&db, &mut possible, format!("{number:02}"), round * 1000 + 500 + number, Durability::Synced);
        }
        let _ = db.close();
    }
    possible
}

fn check(fs: &MemFs, possible: &Possible, context: &str) {
    let survivor = FaultFs::new(fs.crash(Crash::KeepAll));
    let db =
        options(&survivor, SegmentAccess::Mapped).open("/store").unwrap_or_else(|error| panic!("{context}: {error}"));
    for (key, values) in possible {
        let found = db.get(key).unwrap().map(|value| std::str::from_utf8(&value).unwrap().parse::<u32>().unwrap());
        // A key whose first write failed may be missing.
        let was_acknowledged = values.len() == 1;
        match found {
            Some(found) => {
                assert!(values.contains(&found), "{context}: {key} holds {found}, expected one of {values:?}")
            }
            None => assert!(!was_acknowledged || values.is_empty(), "{context}: {key} is lost, expected {values:?}"),
        }
    }
    db.verify().unwrap();
}

fn sweep(failure: Failure, access: SegmentAccess) {
    let dry = FaultFs::new(MemFs::new());
    script(&dry, access);
    let calls = dry.count(failure);
    assert!(calls > 20, "{failure:?} could hit {calls} calls only");
    for repeat in [Repeat::Once, Repeat::Sticky] {
        for at in 0..calls {
            let inner = MemFs::new();
            let fs = FaultFs::new(inner.clone());
            fs.inject(Fault { at, failure, repeat });
            let possible = script(&fs, access);
            let context = format!("{failure:?} {repeat:?} at call {at}: {:?}", fs.first_struck());
            assert!(fs.struck() > 0, "{context}");
            check(&inner, &possible, &context);
        }
    }
}

#[test]
fn io_errors_lose_nothing() {
    sweep(Failure::Io, SegmentAccess::Mapped);
}

#[test]
fn a_full_disk_loses_nothing() {
    sweep(Failure::NoSpace, SegmentAccess::Mapped);
    sweep(Failure::NoSpace, SegmentAccess::Positioned);
}

#[test]
fn torn_and_short_writes_lose_nothing() {
    sweep(Failure::TornWrite, SegmentAccess::Positioned);
    sweep(Failure::ShortWrite, SegmentAccess::Positioned);
}

#[test]
fn failed_syncs_lose_nothing() {
    sweep(Failure::Sync, SegmentAccess::Mapped);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let fs = FaultFs::new(MemFs::new());
    let db = options(&fs, SegmentAccess::Mapped).open("/store").unwrap();
    db.put("before", "1").unwrap();
    fs.inject(Fault::once(fs.count(Failure::Sync), Failure::Sync));
    assert_eq!(db.sync().unwrap_err().kind(), ErrorKind::Io);
    // The disk would take the next sync, but the pages that failed are marked clean by then.
    fs.heal();
    assert_eq!(db.sync().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(db.put("after", "2").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(db.get("before").unwrap().unwrap(), "1");
    assert!(db.stats().failure.is_some());
    assert!(db.close().is_err());
    let db = options(&fs, SegmentAccess::Mapped).open("/store").unwrap();
    db.put("after", "3").unwrap();
}

#[test]
fn writes_go_on_once_a_full_disk_has_room_again() {
    let inner = MemFs::new();
    let fs = FaultFs::new(inner.clone());
    let db = options(&fs, SegmentAccess::Mapped).open("/store").unwrap();
    inner.set_capacity(Some(400 << 10));
    let mut written = 0;
    let error = loop {
        match db.put(format!("{written:06}"), vec![b'v'; 1000]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "the disk never filled");
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.is_retryable());
    assert_eq!(db.iter().count(), written);
    inner.set_capacity(None);
    db.put("more", "room").unwrap();
    db.flush().unwrap();
    assert_eq!(db.get("more").unwrap().unwrap(), "room");
    assert_eq!(db.iter().count(), written + 1);
    assert!(SeqNo::new(db.stats().sequence) > SeqNo::ZERO && db.stats().failure.is_none());
}
