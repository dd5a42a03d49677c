//! The active log: the one file that commits are appended to.
//!
//! Records go straight into the segment's memory: the exact framed size is reserved, filled and
//! committed, so a record is in the log as a whole or not at all. Headers carry the log's number from
//! the first byte, so that the file can be reused for a later log. Appending never waits for the disk;
//! that is the [`WalHandle`]'s side.
//!
//! # Invariants
//! L1. After a failed append the log ends behind its last good record and can be appended to.
//! L2. The first record holds the log's facts, if there are any; a record carries a watermark when the
//!     synced offset moved since the last one did.
//! L3. `crc` and `bytes` of [`Wal::facts`] are those that a reader finds again at the same place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::batch::HEADER_BYTES;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result, SeqNo, WriteBatch};
use lsm_fs::{Chore, Fs, Segment, SegmentAccess};

use crate::facts::{Facts, Predecessor, Watermark};
use crate::format::Framing;
use crate::handle::{Position, WalHandle};
use crate::reader::{HeaderStyle, Outcome, RecordReader};
use crate::writer::Framer;

/// How logs are written.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Through a mapping, which is the default and the faster one, or with positioned writes.
    pub access: SegmentAccess,
    /// Room in bytes that a new log starts with (64 KiB); it doubles when it is used up. Twice as much
    /// costs a short-lived store more zeros to write and saves a long-lived one a call per log.
    pub segment_bytes_initial: u64,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions { access: SegmentAccess::Mapped, segment_bytes_initial: 64 << 10 }
    }
}

/// Where a new log comes from.
#[derive(Clone, Default, Debug)]
pub struct Origin {
    /// What the first record says (L2).
    pub facts: Facts,
    /// The next unassigned sequence number.
    pub next_seq: SeqNo,
    /// The log before, while it may hold bytes that are not synced: no byte of the new log is synced
    /// before those are. `None` for the first log of an open store: what was recovered from older ones
    /// must be flushed to tables before the first sync, or it may be lost although later writes are kept.
    pub predecessor: Option<Arc<WalHandle>>,
    /// A log that nobody needs any more: its file is renamed and reused.
    pub recycled: Option<FileNumber>,
}

/// The log that is written.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use lsm_core::{ColumnFamilyId, WriteBatch, filename::FileNumber};
/// use lsm_fs::{Fs, MemFs};
/// use lsm_wal::{LogToReplay, Origin, RecoveryMode, Wal, WalOptions, replay};
///
/// let fs = Arc::new(MemFs::new());
/// let dir = Path::new("/store");
/// fs.create_dir(dir)?;
/// let mut wal = Wal::create(fs.clone(), dir, FileNumber(4), &WalOptions::default(), Origin::default())?;
/// let mut batch = WriteBatch::new();
/// batch.put(ColumnFamilyId::DEFAULT, b"key", b"value");
/// let position = wal.append(batch.as_bytes())?;
/// wal.handle().sync(position)?;
///
/// let logs = [LogToReplay { number: FileNumber(4), synced_bytes: None }];
/// let mut found = Vec::new();
/// let report = replay(&*fs, dir, FileNumber(4), &logs, RecoveryMode::Checked, &mut |_, _, batch| {
///     found.push(batch.to_vec());
///     Ok(())
/// })?;
/// assert_eq!(found, [batch.as_bytes()]);
/// assert!(report.dropped.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Wal {
    fs: Arc<dyn Fs>,
    number: FileNumber,
    path: PathBuf,
    segment: Box<dyn Segment>,
    framer: Framer,
    handle: Arc<WalHandle>,
    /// The synced offset that the last watermark told.
    watermark: u64,
    watermark_entry: WriteBatch,
    /// Whether what stands behind the last record must be overwritten with a mark: in a mapped file that
    /// was reused. Then a crash of the process leaves a clean end.
    marks_end: bool,
}

impl Wal {
    /// Begins log `number` in `dir`. Nothing is synced yet, not even the file's name.
    ///
    /// # Errors
    /// [`Error::Io`], as when the disk is full or the file is there already; then no new file is left behind.
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        number: FileNumber,
        options: &WalOptions,
        origin: Origin,
    ) -> Result<Wal> {
        if let Some(predecessor) = &origin.predecessor {
            // One write at most. A crash of the process must not lose the end of the old log and keep the new one.
            predecessor.deliver(predecessor.end())?;
        }
        let path = FileKind::Log(number).path(dir);
        let (segment, is_recycled) = open_segment(&*fs, dir, &path, options, origin.recycled)?;
        let access = segment.access();
        let marks_end = is_recycled && access == SegmentAccess::Mapped;
        let handle = WalHandle::new(Arc::clone(&fs), dir, path.clone(), segment.handle(), access, origin.predecessor);
        let mut wal = Wal {
            fs,
            number,
            path,
            segment,
            framer: Framer::new(Framing::Recyclable(number.0 as u32)),
            handle: Arc::new(handle),
            watermark: 0,
            watermark_entry: WriteBatch::new(),
            marks_end,
        };
        if !origin.facts.is_empty()
            && let Err(error) = wal.write(origin.facts.to_batch(origin.next_seq).as_bytes(), false)
        {
            let Wal { fs, path, segment, .. } = wal;
            drop(segment);
            // Should this fail too, the file is an empty log, which replay reads as such.
            let _ = fs.remove(&path);
            return Err(error);
        }
        Ok(wal)
    }

    /// Appends one batch, already numbered, as one record. It survives nothing yet: see [`WalHandle`].
    ///
    /// # Errors
    /// [`Error::Io`] when there is no room: nothing was appended (L1). The error of a failed sync, after one.
    ///
    /// # Panics
    /// When `batch` is shorter than a batch's header, or the log was given up.
    pub fn append(&mut self, batch: &[u8]) -> Result<Position> {
        assert!(!self.is_abandoned(), "a record for a log that was given up");
        assert!(batch.len() >= HEADER_BYTES, "a batch of {} bytes", batch.len());
        self.handle.check()?;
        let synced = self.handle.synced();
        let tells_watermark = synced > self.watermark;
        if tells_watermark {
            Watermark { synced, first_crc: self.framer.first_crc() }.encode_entry(&mut self.watermark_entry);
        }
        self.write(batch, tells_watermark)?;
        if tells_watermark {
            self.watermark = synced;
        }
        Ok(Position(self.segment.len()))
    }

    /// Work that a later append will have to do unless another thread does it before: see [`Segment::chore`].
    pub fn chore(&mut self) -> Option<Chore> {
        self.segment.chore()
    }

    /// Says that nothing more will be appended: see [`Segment::seal`].
    pub fn seal(&mut self) -> Option<Chore> {
        self.segment.seal()
    }

    /// The number in the file's name and in every header.
    pub fn number(&self) -> FileNumber {
        self.number
    }

    /// Bytes up to the end of the last record.
    pub fn len(&self) -> u64 {
        self.segment.len()
    }

    /// Whether there is no record, not even one of facts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the next log says about this one (L3). Nothing may be appended to this one afterwards.
    pub fn facts(&self) -> Predecessor {
        Predecessor { number: self.number, bytes: self.len(), crc: self.framer.rolling_crc() }
    }

    /// Whether a record survives the end of this process already, as all do in a mapped log.
    pub fn is_delivered(&self, position: Position) -> bool {
        self.handle.delivered() >= position.0
    }

    /// The shared side.
    pub fn handle(&self) -> Arc<WalHandle> {
        Arc::clone(&self.handle)
    }

    /// Cuts the file behind the last record and syncs it, for a clean close. Returns its length.
    ///
    /// # Errors
    /// As for [`WalHandle::sync`].
    pub fn finish(&mut self) -> Result<u64> {
        let segment = &mut self.segment;
        self.handle.finish(|| segment.finish().map(|()| segment.len()))?;
        Ok(self.len())
    }

    /// Gives the log up, after the delivery of the records up to `failed` met `error`: forgets what was not
    /// delivered, and takes no more. `false` if they have been delivered meanwhile; then nothing happened.
    ///
    /// No record whose delivery was reported is lost. Who waits for one that is forgotten hears `error`. A power
    /// cut may bring it back, until something that was written into the next log is synced.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be cut or read again.
    pub fn abandon(&mut self, failed: Position, error: &Error) -> Result<bool> {
        let segment = &mut self.segment;
        let Some(bytes) = self.handle.abandon(failed, error, |bytes| segment.cut(bytes))? else { return Ok(false) };
        // The rolling crc only goes forward. Reading the file again costs nothing on the path that matters.
        let source = self.fs.open(&self.path).map_err(|error| Error::io("open", &self.path, error))?;
        let mut reader = RecordReader::new(source, HeaderStyle::Log(self.number), &self.path)?;
        while reader.position() < bytes {
            match reader.next()? {
                Outcome::Record { .. } => {}
                other => {
                    let detail = format!("{bytes} bytes were delivered, and now: {other:?}");
                    return Err(Error::corruption(detail).at(reader.position()).in_file(&self.path));
                }
            }
        }
        self.framer.resume(reader.rolling_crc(), reader.first_crc());
        Ok(true)
    }

    /// Whether the log was given up, so that the next record needs a new one.
    pub fn is_abandoned(&self) -> bool {
        self.handle.is_abandoned()
    }

    /// One record: `batch`, and the watermark's entry behind it.
    fn write(&mut self, batch: &[u8], tells_watermark: bool) -> Result<()> {
        let tail = if tells_watermark { Watermark::entry_bytes(&self.watermark_entry) } else { &[] };
        let position = self.segment.len();
        let bytes = self.framer.framed_bytes(position, batch.len() + tail.len());
        let mark_bytes = if self.marks_end { self.framer.end_mark_bytes(position + bytes as u64) } else { 0 };
        let reserved =
            self.segment.reserve(bytes + mark_bytes).map_err(|error| Error::io("extend", &self.path, error))?;
        let (record, mark) = reserved.split_at_mut(bytes);
        // The mark first: until the record is there, what follows the last one is a torn record, not a stale one.
        mark.fill(0);
        self.framer.frame(position, batch, tail, record);
        self.segment.commit(bytes);
        Ok(())
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("path", &self.path).field("bytes", &self.len()).finish_non_exhaustive()
    }
}

/// A new segment, and whether it was an old log before.
fn open_segment(
    fs: &dyn Fs,
    dir: &Path,
    path: &Path,
    options: &WalOptions,
    recycled: Option<FileNumber>,
) -> Result<(Box<dyn Segment>, bool)> {
    if let Some(old) = recycled {
        let from = FileKind::Log(old).path(dir);
        match fs.recycle_segment(&from, path, options.access) {
            Ok(Some(segment)) => return Ok((segment, true)),
            // An attempt that failed before may have taken the file with it.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("recycle", &from, error));
            }
            Ok(None) | Err(_) => {}
        }
    }
    let segment = fs.create_segment(path, options.segment_bytes_initial, options.access);
    Ok((segment.map_err(|error| Error::io("create", path, error))?, false))
}
