//! Models of sharing syncs under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use lsm_fs::MemFs;
use lsm_sync::{AtomicBool, explore, thread};
use std::io;

/// A segment that is three numbers. Its sync covers what was committed when it began.
#[derive(Default)]
struct Numbers {
    committed: AtomicU64,
    delivered: AtomicU64,
    durable: AtomicU64,
    /// The next sync fails, and loses what it covered: all later ones say that all is well.
    fails: AtomicBool,
    lost: AtomicBool,
}

impl SegmentHandle for Numbers {
    fn len(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    fn deliver(&self) -> io::Result<u64> {
        let committed = self.len();
        Ok(self.delivered.fetch_max(committed, Ordering::SeqCst).max(committed))
    }

    fn sync(&self) -> io::Result<u64> {
        let covered = self.deliver()?;
        thread::yield_now();
        if self.fails.swap(false, Ordering::SeqCst) {
            self.lost.store(true, Ordering::SeqCst);
            return Err(io::Error::other("planted"));
        }
        if !self.lost.load(Ordering::SeqCst) {
            self.durable.fetch_max(covered, Ordering::SeqCst);
        }
        Ok(covered)
    }
}

type Sync = fn(&WalHandle, Position) -> Result<()>;

fn log(segment: &Arc<Numbers>, predecessor: Option<Arc<WalHandle>>) -> Arc<WalHandle> {
    let segment = Arc::clone(segment) as Arc<dyn SegmentHandle>;
    Arc::new(WalHandle::new(
        Arc::new(MemFs::new()),
        Path::new("/"),
        "/log".into(),
        segment,
        SegmentAccess::Positioned,
        predecessor,
    ))
}

/// Three commits, each appended when another may be in a sync, each acknowledged when it is durable.
fn commits_share_a_sync(sync: Sync) {
    let segment = Arc::new(Numbers::default());
    let handle = log(&segment, None);
    let commits = [(); 3].map(|()| {
        let (segment, handle) = (Arc::clone(&segment), Arc::clone(&handle));
        thread::spawn(move || {
            let position = Position(segment.committed.fetch_add(1, Ordering::SeqCst) + 1);
            sync(&handle, position).unwrap();
            let durable = segment.durable.load(Ordering::SeqCst);
            assert!(durable >= position.0, "{position:?} is acknowledged and {durable} is durable");
        })
    });
    commits.into_iter().for_each(|commit| commit.join().unwrap());
}

/// A commit into a new log while the one before has bytes that are not synced, and one that syncs those.
fn a_new_log_waits_for_the_old_one(sync: Sync) {
    let (old, new) = (Arc::new(Numbers::default()), Arc::new(Numbers::default()));
    old.committed.store(2, Ordering::SeqCst);
    new.committed.store(1, Ordering::SeqCst);
    let before = log(&old, None);
    let handle = log(&new, Some(Arc::clone(&before)));
    let early = thread::spawn(move || before.sync(Position(1)).unwrap());
    sync(&handle, Position(1)).unwrap();
    assert_eq!(old.durable.load(Ordering::SeqCst), 2, "H1: the log before is not durable");
    early.join().unwrap();
}

/// A sync fails while others wait for theirs; the disk then says that all is well.
fn a_sync_fails(sync: Sync) {
    let segment = Arc::new(Numbers::default());
    segment.fails.store(true, Ordering::SeqCst);
    let handle = log(&segment, None);
    let commits = [(); 3].map(|()| {
        let (segment, handle) = (Arc::clone(&segment), Arc::clone(&handle));
        thread::spawn(move || {
            let position = Position(segment.committed.fetch_add(1, Ordering::SeqCst) + 1);
            assert!(sync(&handle, position).is_err(), "H2: {position:?} is acknowledged");
        })
    });
    commits.into_iter().for_each(|commit| commit.join().unwrap());
    assert!(handle.has_failed());
}

/// A log is given up, all it holds being in tables, while its successor is synced.
fn an_old_log_is_retired(sync: Sync) {
    let (old, new) = (Arc::new(Numbers::default()), Arc::new(Numbers::default()));
    old.committed.store(1, Ordering::SeqCst);
    new.committed.store(1, Ordering::SeqCst);
    let before = log(&old, None);
    let handle = log(&new, Some(Arc::clone(&before)));
    let retiring = thread::spawn(move || before.retire());
    sync(&handle, Position(1)).unwrap();
    assert_eq!(new.durable.load(Ordering::SeqCst), 1);
    retiring.join().unwrap();
    assert!(handle.turn().before().predecessor.is_none(), "what was retired is let go");
}

#[test]
fn whoever_is_acknowledged_is_durable() {
    explore::holds(|| commits_share_a_sync(WalHandle::sync));
}

#[test]
fn a_sync_that_acknowledges_what_came_while_it_ran_is_found() {
    fn sync(handle: &WalHandle, position: Position) -> Result<()> {
        if handle.synced() >= position.0 {
            return Ok(());
        }
        let mut turn = handle.turn();
        if handle.synced() >= position.0 {
            return Ok(());
        }
        turn.settle(|| handle.segment.sync().map(|_| handle.segment.len()))
    }
    explore::finds("acknowledged", || commits_share_a_sync(sync));
}

#[test]
fn no_log_is_synced_before_the_one_before() {
    // Covers H1.
    explore::holds(|| a_new_log_waits_for_the_old_one(WalHandle::sync));
    explore::holds(|| an_old_log_is_retired(WalHandle::sync));
}

#[test]
fn a_log_that_does_not_sync_the_one_before_is_found() {
    fn sync(handle: &WalHandle, _: Position) -> Result<()> {
        let _turn = handle.turn();
        let bytes = handle.segment.sync().map_err(|error| Error::io("sync", &handle.path, error))?;
        handle.synced.store(bytes, Ordering::Release);
        Ok(())
    }
    explore::finds("H1", || a_new_log_waits_for_the_old_one(sync));
}

#[test]
fn after_a_failed_sync_nobody_is_acknowledged() {
    // Covers H2.
    explore::holds(|| a_sync_fails(WalHandle::sync));
}

#[test]
fn a_failed_sync_that_is_tried_again_is_found() {
    fn sync(handle: &WalHandle, _: Position) -> Result<()> {
        let _turn = handle.turn();
        handle.segment.sync().map(drop).map_err(|error| Error::io("sync", &handle.path, error))
    }
    explore::finds("H2", || a_sync_fails(sync));
}

#[test]
fn waiters_that_look_for_a_failure_only_before_they_wait_are_found() {
    fn sync(handle: &WalHandle, position: Position) -> Result<()> {
        handle.check()?;
        let mut turn = handle.turn();
        if handle.synced() >= position.0 {
            return Ok(());
        }
        turn.settle(|| handle.segment.sync())
    }
    explore::finds("H2", || a_sync_fails(sync));
}
