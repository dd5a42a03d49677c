//! A disk that remembers every write and every flush: one file in a file system of this process's own (FUSE), for a
//! loop device to stand on.
//!
//! # Invariants
//! D1. Events stand in the order in which they were answered: a write whose answer was there before a flush began
//!     stands before that flush.
//! D2. What a cut leaves is everything before the last flush, and of what is behind it any set of sectors, each as
//!     the last chosen write left it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use lsm_testkit::Choices;
use parking_lot::Mutex;

use crate::real::ground;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// The one file.
const NAME: &str = "img";
const FILE: INodeNo = INodeNo(2);

/// How long the system may keep what it was told of names and sizes, which never change.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Why no such disk can be made here.
pub(super) fn why_not() -> Option<String> {
    let probe = || -> Result<()> {
        let directory = tempfile::tempdir()?;
        Disk::new(directory.path(), 16 << 20)?;
        Ok(())
    };
    probe().err().map(|error| format!("no disk of our own by FUSE: {error:#}"))
}

/// The disk, until it is dropped.
pub(super) struct Disk {
    at: PathBuf,
    before: Vec<u8>,
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

struct State {
    content: Vec<u8>,
    events: Vec<Event>,
}

#[derive(Clone)]
enum Event {
    Write { offset: usize, data: Arc<[u8]> },
    Flush,
}

impl Disk {
    /// A disk with an empty ext4 on it.
    pub(super) fn new(directory: &Path, bytes: u64) -> Result<Disk> {
        let (template, at) = (directory.join("template"), directory.join("disk"));
        ground::make_ext4(&template, bytes)?;
        let before = std::fs::read(&template)?;
        std::fs::remove_file(&template)?;
        std::fs::create_dir(&at)?;
        let state = Arc::new(Mutex::new(State { content: before.clone(), events: Vec::new() }));
        let served = Served { state: Arc::clone(&state) };
        let session = fuser::spawn_mount(served, &at, &Config::default()).context("FUSE")?;
        Ok(Disk { at, before, state, _session: session })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.at.join(NAME)
    }

    /// How many events there were.
    pub(super) fn events(&self) -> usize {
        self.state.lock().events.len()
    }

    /// All that happened, to be gone through again from the beginning.
    pub(super) fn replay(&self) -> Replay {
        Replay { durable: self.before.clone(), events: self.state.lock().events.clone(), applied: 0 }
    }
}

/// The disk's content as its flushes make it durable.
pub(super) struct Replay {
    durable: Vec<u8>,
    events: Vec<Event>,
    /// Events whose writes are in `durable`.
    applied: usize,
}

impl Replay {
    /// Writes to `image` what a cut behind the first `cut` events leaves (D2); cuts come in order. Returns how many
    /// sectors had been written since the last flush.
    pub(super) fn cut(&mut self, cut: usize, choices: &mut Choices, image: &Path) -> Result<u64> {
        let flush = self.events[..cut].iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
        for event in &self.events[self.applied.min(flush)..flush] {
            if let Event::Write { offset, data } = event {
                self.durable[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
        self.applied = self.applied.max(flush);
        let mut content = self.durable.clone();
        // Few, half or nearly all of the rest.
        let kept_of_16 = *choices.pick(&[0, 1, 8, 15, 16]);
        let mut unsynced = 0;
        for event in &self.events[flush..cut] {
            let Event::Write { offset, data } = event else { continue };
            for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                unsynced += 1;
                if choices.below(16) < kept_of_16 {
                    let at = offset + index * SECTOR_BYTES;
                    content[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        File::create(image)?.write_all(&content)?;
        Ok(unsynced)
    }
}

/// What the system talks to.
struct Served {
    state: Arc<Mutex<State>>,
}

impl Served {
    fn attributes(&self, of: INodeNo) -> FileAttr {
        let is_file = of == FILE;
        let size = if is_file { self.state.lock().content.len() as u64 } else { 0 };
        FileAttr {
            ino: of,
            size,
            blocks: size / SECTOR_BYTES as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: SECTOR_BYTES as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&FOR_EVER, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, of: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(of));
    }

    /// Nothing is kept in the system's memory: each write of the loop device comes here before it is answered.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.state.lock();
        let from = (offset as usize).min(state.content.len());
        let to = (from + size as usize).min(state.content.len());
        reply.data(&state.content[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state.lock();
        let offset = offset as usize;
        match state.content.get_mut(offset..offset + data.len()) {
            Some(place) => {
                place.copy_from_slice(data);
                state.events.push(Event::Write { offset, data: data.into() });
                reply.written(data.len() as u32);
            }
            None => reply.error(Errno::ENOSPC),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.state.lock().events.push(Event::Flush);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // At the end of a handle; not a flush of the disk.
        reply.ok();
    }
}
