//! A directory of logs in memory, and a file system whose syncs can be made to fail or to wait.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{ColumnFamilyId, ReadAt, Result, SeqNo, WriteBatch};
use lsm_fs::{FileWriter, Fs, Lock, MemFs, Metadata, Segment, SegmentAccess, SegmentHandle};
use lsm_wal::{Facts, LogToReplay, Origin, RecoveryMode, ReplayReport, Wal, WalOptions, replay};

pub(crate) const DIR: &str = "/store";

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

pub(crate) fn log_path(number: u64) -> PathBuf {
    FileKind::Log(FileNumber(number)).path(dir())
}

pub(crate) fn new_fs() -> Arc<MemFs> {
    let fs = MemFs::new();
    fs.create_dir(dir()).unwrap();
    Arc::new(fs)
}

pub(crate) fn options(access: SegmentAccess) -> WalOptions {
    WalOptions { access, segment_bytes_initial: 4096 }
}

/// Batch `seq`: one put whose key is the sequence number, with a value of `bytes` bytes.
pub(crate) fn batch(seq: u64, bytes: usize) -> Vec<u8> {
    let mut batch = WriteBatch::new();
    batch.set_seq(SeqNo::new(seq));
    let value: Vec<u8> = (0..bytes).map(|index| (index as u64 * 7 + seq) as u8).collect();
    batch.put(ColumnFamilyId::DEFAULT, &seq.to_be_bytes(), &value);
    batch.as_bytes().to_vec()
}

pub(crate) fn create(fs: &Arc<MemFs>, number: u64, origin: Origin) -> Wal {
    let options = options(SegmentAccess::Mapped);
    Wal::create(Arc::<MemFs>::clone(fs), dir(), FileNumber(number), &options, origin).unwrap()
}

/// What the next log after `wal` starts from.
pub(crate) fn after(wal: &Wal, next_seq: u64) -> Origin {
    Origin {
        facts: Facts { predecessor: Some(wal.facts()), ..Facts::default() },
        next_seq: SeqNo::new(next_seq),
        predecessor: Some(wal.handle()),
        recycled: None,
    }
}

pub(crate) fn all_logs(fs: &dyn Fs) -> Vec<LogToReplay> {
    let names = fs.read_dir(dir()).unwrap();
    let mut numbers: Vec<_> = names
        .iter()
        .filter_map(|name| match FileKind::parse(name) {
            Some(FileKind::Log(number)) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort();
    numbers.into_iter().map(|number| LogToReplay { number, synced_bytes: None }).collect()
}

/// Keys of all puts in the logs, which are their sequence numbers. Values are checked against [`batch`].
pub(crate) fn replayed(fs: &dyn Fs, logs: &[LogToReplay], mode: RecoveryMode) -> Result<(Vec<u64>, ReplayReport)> {
    replayed_from(fs, 4, logs, mode)
}

/// The same if logs from `oldest` on are needed.
pub(crate) fn replayed_from(
    fs: &dyn Fs,
    oldest: u64,
    logs: &[LogToReplay],
    mode: RecoveryMode,
) -> Result<(Vec<u64>, ReplayReport)> {
    let mut seqs = Vec::new();
    let report = replay(fs, dir(), FileNumber(oldest), logs, mode, &mut |_, _, bytes| {
        for record in lsm_core::batch::records(bytes)? {
            if let lsm_core::batch::Record::Entry(entry) = record? {
                let seq = u64::from_be_bytes(entry.key.try_into().unwrap());
                // The batch as it was written: what stands behind its one put are facts.
                let expected = batch(seq, entry.value.len());
                assert_eq!(&bytes[..expected.len()], expected, "batch {seq}");
                seqs.push(seq);
            }
        }
        Ok(())
    })?;
    Ok((seqs, report))
}

pub(crate) fn read_file(fs: &dyn Fs, number: u64) -> Vec<u8> {
    let source = fs.open(&log_path(number)).unwrap();
    let mut bytes = vec![0; source.size().unwrap() as usize];
    source.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

pub(crate) fn write_file(fs: &dyn Fs, number: u64, bytes: &[u8]) {
    let path = log_path(number);
    let _ = fs.remove(&path);
    fs.create(&path).unwrap().write_all(bytes).unwrap();
}

/// A file system over another one whose segments count, refuse or delay.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) fs: Arc<MemFs>,
    pub(crate) switches: Arc<Switches>,
}

#[derive(Debug, Default)]
pub(crate) struct Switches {
    pub(crate) syncs: AtomicUsize,
    pub(crate) dir_syncs: AtomicUsize,
    pub(crate) delivers: AtomicUsize,
    pub(crate) sync_fails: AtomicBool,
    pub(crate) dir_sync_fails: AtomicBool,
    pub(crate) deliver_fails: AtomicBool,
    pub(crate) sync_waits: lsm_sync::Mutex<()>,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Faulty> {
        Arc::new(Faulty { fs: new_fs(), switches: Arc::default() })
    }

    fn wrap(&self, segment: Box<dyn Segment>) -> Box<dyn Segment> {
        Box::new(FaultySegment { segment, switches: Arc::clone(&self.switches) })
    }
}

struct FaultySegment {
    segment: Box<dyn Segment>,
    switches: Arc<Switches>,
}

struct FaultyHandle {
    handle: Arc<dyn SegmentHandle>,
    switches: Arc<Switches>,
}

fn refuse(switch: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
    if switch.load(Ordering::SeqCst) { Err(kind.into()) } else { Ok(()) }
}

impl Segment for FaultySegment {
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        self.segment.reserve(bytes)
    }
    fn commit(&mut self, bytes: usize) {
        self.segment.commit(bytes);
    }
    fn len(&self) -> u64 {
        self.segment.len()
    }
    fn access(&self) -> SegmentAccess {
        self.segment.access()
    }
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.segment.cut(bytes)
    }
    fn finish(&mut self) -> io::Result<()> {
        refuse(&self.switches.sync_fails, io::ErrorKind::Other)?;
        self.segment.finish()
    }
    fn handle(&self) -> Arc<dyn SegmentHandle> {
        Arc::new(FaultyHandle { handle: self.segment.handle(), switches: Arc::clone(&self.switches) })
    }
}

impl SegmentHandle for FaultyHandle {
    fn len(&self) -> u64 {
        self.handle.len()
    }
    fn deliver(&self) -> io::Result<u64> {
        self.switches.delivers.fetch_add(1, Ordering::SeqCst);
        refuse(&self.switches.deliver_fails, io::ErrorKind::StorageFull)?;
        self.handle.deliver()
    }
    fn sync(&self) -> io::Result<u64> {
        self.switches.syncs.fetch_add(1, Ordering::SeqCst);
        let _waits = self.switches.sync_waits.lock();
        refuse(&self.switches.sync_fails, io::ErrorKind::Other)?;
        self.handle.sync()
    }
}

impl Fs for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        self.fs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.fs.open(path)
    }
    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
        self.fs.create_segment(path, bytes, access).map(|segment| self.wrap(segment))
    }
    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>> {
        Ok(self.fs.recycle_segment(from, to, access)?.map(|segment| self.wrap(segment)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.hard_link(from, to)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.fs.read_dir(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.fs.metadata(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_dir(path)
    }
    fn random(&self) -> u64 {
        self.fs.random()
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.switches.dir_syncs.fetch_add(1, Ordering::SeqCst);
        refuse(&self.switches.dir_sync_fails, io::ErrorKind::Other)?;
        self.fs.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.fs.lock(path)
    }
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.fs.free_space(path)
    }
}
