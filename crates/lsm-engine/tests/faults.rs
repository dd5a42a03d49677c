//! What a user sees of a disk that fails. That every call may fail, in every way, is the business of the lane
//! `faults` of lsm-torture.

use lsm_compaction::StepExecutor;
use lsm_core::SeqNo;
use lsm_engine::{ErrorKind, Options};
use lsm_fs::{MemFs, SegmentAccess};
use lsm_testkit::{Failure, Fault, FaultFs};
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
