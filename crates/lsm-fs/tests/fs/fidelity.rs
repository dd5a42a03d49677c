//! The in-memory file system gives the same results and the same kinds of errors as the real one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::ReadAt;
use lsm_fs::{FileType, FileWriter, Fs, Lock, MemFs, OsFs, Segment, SegmentAccess};
use quickcheck::{Arbitrary, Gen, QuickCheck};

const PATHS: [&str; 9] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "f/g/h"];
const SLOTS: usize = 3;

/// A path, as an index into `PATHS`.
type Name = usize;
/// A place where a handle is kept.
type Slot = usize;

#[derive(Clone, Debug)]
enum Op {
    Create(Slot, Name),
    Write(Slot, u8, usize),
    Sync(Slot),
    Open(Slot, Name),
    Read(Slot, u64, usize),
    Rename(Name, Name),
    Remove(Name),
    HardLink(Name, Name),
    ReadDir(Name),
    Metadata(Name),
    CreateDir(Name),
    RemoveDir(Name),
    SyncDir(Name),
    Lock(Slot, Name),
    Unlock(Slot),
    CreateSegment(Slot, Name, u64, SegmentAccess),
    Recycle(Slot, Name, Name, SegmentAccess),
    Append(Slot, u8, usize),
    Deliver(Slot),
    SyncSegment(Slot),
    Cut(Slot, u64),
    Finish(Slot),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Op {
        let slot = usize::arbitrary(g) % SLOTS;
        let (name, other) = (usize::arbitrary(g) % PATHS.len(), usize::arbitrary(g) % PATHS.len());
        let access = *g.choose(&[SegmentAccess::Mapped, SegmentAccess::Positioned]).unwrap();
        let (byte, bytes) = (u8::arbitrary(g), usize::from(u16::arbitrary(g)) % 2000);
        match u8::arbitrary(g) % 26 {
            0 | 1 => Op::Create(slot, name),
            2 => Op::Write(slot, byte, bytes),
            3 => Op::Sync(slot),
            4 | 5 => Op::Open(slot, name),
            6 => Op::Read(slot, u64::from(u16::arbitrary(g)) % 3000, usize::from(u16::arbitrary(g)) % 3000),
            7 | 8 => Op::Rename(name, other),
            9 => Op::Remove(name),
            10 => Op::HardLink(name, other),
            11 => Op::ReadDir(name),
            12 => Op::Metadata(name),
            13 | 14 => Op::CreateDir(name),
            15 => Op::RemoveDir(name),
            16 => Op::SyncDir(name),
            17 => Op::Lock(slot, name),
            18 => Op::Unlock(slot),
            19 => Op::CreateSegment(slot, name, u64::from(u16::arbitrary(g)) % 3000, access),
            20 => Op::Recycle(slot, name, other, access),
            21 | 22 => Op::Append(slot, byte, bytes),
            23 => Op::Deliver(slot),
            24 if bool::arbitrary(g) => Op::SyncSegment(slot),
            24 => Op::Finish(slot),
            _ => Op::Cut(slot, u64::from(u16::arbitrary(g)) % 3000),
        }
    }
}

/// One file system and the handles into it.
struct Side {
    fs: Box<dyn Fs>,
    root: PathBuf,
    writers: [Option<Box<dyn FileWriter>>; SLOTS],
    readers: [Option<Arc<dyn ReadAt>>; SLOTS],
    locks: [Option<Box<dyn Lock>>; SLOTS],
    segments: [Option<Box<dyn Segment>>; SLOTS],
}

impl Side {
    fn new(fs: impl Fs + 'static, root: &Path) -> Side {
        Side {
            fs: Box::new(fs),
            root: root.to_owned(),
            writers: Default::default(),
            readers: Default::default(),
            locks: Default::default(),
            segments: Default::default(),
        }
    }

    fn path(&self, name: Name) -> PathBuf {
        self.root.join(PATHS[name])
    }

    /// Runs `op` and describes what came of it.
    fn run(&mut self, op: &Op) -> io::Result<String> {
        match op {
            Op::Create(slot, name) => self.writers[*slot] = Some(self.fs.create(&self.path(*name))?),
            Op::Write(slot, byte, bytes) => {
                if let Some(writer) = &mut self.writers[*slot] {
                    writer.write_all(&vec![*byte; *bytes])?;
                }
            }
            Op::Sync(slot) => {
                if let Some(writer) = &mut self.writers[*slot] {
                    writer.sync()?;
                }
            }
            Op::Open(slot, name) => self.readers[*slot] = Some(self.fs.open(&self.path(*name))?),
            Op::Read(slot, offset, bytes) => {
                if let Some(reader) = &self.readers[*slot] {
                    let mut buffer = vec![0; *bytes];
                    let count = reader.read_at(*offset, &mut buffer)?;
                    let sum =
                        buffer[..count].iter().fold(0_u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
                    return Ok(format!("{} bytes, {count} read, hash {sum}", reader.size()?));
                }
            }
            Op::Rename(from, to) => self.fs.rename(&self.path(*from), &self.path(*to))?,
            Op::Remove(name) => self.fs.remove(&self.path(*name))?,
            Op::HardLink(from, to) => self.fs.hard_link(&self.path(*from), &self.path(*to))?,
            Op::ReadDir(name) => {
                let mut names = self.fs.read_dir(&self.path(*name))?;
                names.sort();
                return Ok(format!("{names:?}"));
            }
            Op::Metadata(name) => {
                let found = self.fs.metadata(&self.path(*name))?;
                return Ok(match found.kind {
                    FileType::File => format!("{found:?}"),
                    kind => format!("{kind:?}"),
                });
            }
            Op::CreateDir(name) => self.fs.create_dir(&self.path(*name))?,
            Op::RemoveDir(name) => self.fs.remove_dir(&self.path(*name))?,
            Op::SyncDir(name) => self.fs.sync_dir(&self.path(*name))?,
            Op::Lock(slot, name) => self.locks[*slot] = Some(self.fs.lock(&self.path(*name))?),
            Op::Unlock(slot) => self.locks[*slot] = None,
            Op::CreateSegment(slot, name, bytes, access) => {
                let segment = self.fs.create_segment(&self.path(*name), *bytes, *access)?;
                self.segments[*slot] = Some(segment);
            }
            Op::Recycle(slot, from, to, access) => {
                // Nobody recycles a log that is still written.
                self.segments = Default::default();
                let segment = self.fs.recycle_segment(&self.path(*from), &self.path(*to), *access)?;
                let outcome = format!("{}", segment.is_some());
                self.segments[*slot] = segment;
                return Ok(outcome);
            }
            _ => return self.run_on_segment(op),
        }
        Ok(String::new())
    }

    fn run_on_segment(&mut self, op: &Op) -> io::Result<String> {
        let (Op::Append(slot, ..) | Op::Deliver(slot) | Op::SyncSegment(slot) | Op::Cut(slot, _) | Op::Finish(slot)) =
            op
        else {
            unreachable!("{op:?}");
        };
        let Some(segment) = &mut self.segments[*slot] else { return Ok(String::new()) };
        match op {
            Op::Append(_, byte, bytes) => {
                segment.reserve(*bytes)?.fill(*byte);
                segment.commit(*bytes);
            }
            Op::Deliver(_) => return Ok(format!("{}", segment.handle().deliver()?)),
            Op::SyncSegment(_) => return Ok(format!("{}", segment.handle().sync()?)),
            Op::Cut(_, bytes) => segment.cut((*bytes).min(segment.len()))?,
            _ => segment.finish()?,
        }
        Ok(format!("{}", segment.len()))
    }
}

/// Where a mapping is not to be had, the real file system delivers later than the one in memory would.
fn mapped_works(directory: &Path) -> bool {
    let probe = OsFs.create_segment(&directory.join("probe"), 4096, SegmentAccess::Mapped).unwrap();
    OsFs.remove(&directory.join("probe")).unwrap();
    probe.access() == SegmentAccess::Mapped
}

fn same_on_both(ops: Vec<Op>) {
    let directory = tempfile::tempdir().unwrap();
    let mapped = mapped_works(directory.path());
    let mut real = Side::new(OsFs, directory.path());
    let mut memory = Side::new(MemFs::new(), Path::new("/"));
    for (step, op) in ops.iter().enumerate() {
        if !mapped
            && matches!(op, Op::CreateSegment(.., SegmentAccess::Mapped) | Op::Recycle(.., SegmentAccess::Mapped))
        {
            continue;
        }
        let expected = real.run(op).map_err(|error| error.kind());
        let found = memory.run(op).map_err(|error| error.kind());
        assert_eq!(found, expected, "step {step}: {op:?}, {:?}", op_paths(op));
    }
}

fn op_paths(op: &Op) -> Vec<&'static str> {
    match op {
        Op::Rename(a, b) | Op::HardLink(a, b) | Op::Recycle(_, a, b, _) => vec![PATHS[*a], PATHS[*b]],
        Op::Create(_, a) | Op::Open(_, a) | Op::Lock(_, a) | Op::CreateSegment(_, a, ..) => vec![PATHS[*a]],
        Op::Remove(a) | Op::ReadDir(a) | Op::Metadata(a) | Op::CreateDir(a) | Op::RemoveDir(a) | Op::SyncDir(a) => {
            vec![PATHS[*a]]
        }
        _ => vec![],
    }
}

#[test]
fn random_calls_give_the_same_results_and_error_kinds() {
    QuickCheck::new().rng(Gen::new(200)).tests(100).quickcheck(same_on_both as fn(Vec<Op>));
}
