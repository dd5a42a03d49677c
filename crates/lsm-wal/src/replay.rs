//! Reads the logs of a store after it was closed or crashed, and decides what an unreadable place means.
//!
//! What survives must be a prefix of what was written, and all of what was synced. A place that cannot
//! be read is the end of the prefix, unless something proves that it was synced (`proof.rs`); then it is
//! damage, and the caller chose by [`RecoveryMode`] what to do about it. Nothing is changed on disk.
//!
//! # Invariants
//! Y1. Every batch handed out passed its checksums and [`lsm_core::batch::validate`], in the order of the log.
//! Y2. In all modes but [`RecoveryMode::SkipDamaged`] what was handed out is a prefix of what was written.
//! Y3. What is left out is in [`ReplayReport::dropped`]. Only a cut exactly between two records, and a
//!     log that an earlier recovery has given up, go without saying.
//! Y4. A log ends where its successor says that it ends: what stands behind was given up before.

use std::path::Path;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result, SeqNo, batch};
use lsm_fs::Fs;

use crate::chain::{Link, Log, open_chain};
use crate::facts::{Facts, Predecessor};
use crate::proof::{proof, proof_of_all};
use crate::reader::{Outcome, RecordReader};

/// A log that replay shall read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogToReplay {
    /// Its number.
    pub number: FileNumber,
    /// So many of its bytes were synced, says the manifest; `None` when it says nothing.
    pub synced_bytes: Option<u64>,
}

/// What to do about damage: an unreadable place that was synced once, or a log that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Damage is [`Error::Corruption`]. An unreadable place that nothing proves to have been synced ends the
    /// replay, as a crash would have it.
    #[default]
    Checked,
    /// The replay ends at the first unreadable place, whatever is proved: a state that the store once had.
    PointInTime,
    /// Unreadable places are left out and the replay goes on behind them: the most that can be had, but
    /// possibly a state that the store never had.
    SkipDamaged,
}

/// What replay found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReplayReport {
    /// Batches handed out.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was left out; empty after a clean close.
    pub dropped: Vec<Dropped>,
    /// The newest facts about manifest and identity, also from logs that were left out; the predecessor is that
    /// of the last log that was read.
    pub facts: Facts,
    /// Where the last log that was read ends: what a new log's first record must say of it. Under
    /// [`RecoveryMode::SkipDamaged`] it is of no use, and what was read must be flushed before the first write.
    pub end: Option<Predecessor>,
    /// The sequence number behind the largest one seen.
    pub next_seq: SeqNo,
}

/// A part of a log that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// The log.
    pub log: FileNumber,
    /// Where the part starts.
    pub offset: u64,
    /// Its bytes at most: how much of it was ever written cannot always be told.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// Hands out a batch: the log it is in, its record's offset there, its bytes.
pub type Visit<'a> = dyn FnMut(FileNumber, u64, &[u8]) -> Result<()> + 'a;

/// Reads `logs`, which ascend by number, and hands each batch to `visit`.
///
/// `oldest` is the first log that is needed, as the manifest says: older ones are passed over, and are not
/// missed when they are gone.
///
/// # Errors
/// [`Error::Corruption`] for damage, by `mode`; [`Error::Unsupported`] for logs of RocksDB with compressed
/// records or other features that this store does not have; [`Error::Io`]; and what `visit` returns.
pub fn replay(
    fs: &dyn Fs,
    dir: &Path,
    oldest: FileNumber,
    logs: &[LogToReplay],
    mode: RecoveryMode,
    visit: &mut Visit<'_>,
) -> Result<ReplayReport> {
    if !logs.is_sorted_by(|a, b| a.number < b.number) {
        return Err(Error::invalid_argument("logs to replay must ascend by number"));
    }
    let links = open_chain(fs, dir, oldest, logs)?;
    let mut replay = Replay { dir, links: &links, mode, visit, report: ReplayReport::default() };
    for index in 0..links.len() {
        if replay.log(index)? == Flow::Stop {
            replay.drop_logs(index + 1)?;
            break;
        }
    }
    Ok(replay.report)
}

struct Replay<'a, 'v> {
    dir: &'a Path,
    links: &'a [Link],
    mode: RecoveryMode,
    visit: &'a mut Visit<'v>,
    report: ReplayReport,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

impl Replay<'_, '_> {
    /// Reads one log, after a look at whether it and the one before are there.
    fn log(&mut self, index: usize) -> Result<Flow> {
        let links = self.links;
        let log = &links[index].log;
        if let Some(missing) = links[index].missing {
            let reason = format!("the log is missing, log {} follows it", log.number);
            let lost = Dropped { log: missing, offset: 0, bytes: 0, reason };
            if self.lose(lost, || proof_of_all(&links[index..]))? == Flow::Stop {
                self.drop_logs(index)?;
                return Ok(Flow::Stop);
            }
        }
        self.note_facts(&log.facts);
        match log.reader()? {
            Some(mut reader) => self.records(index, &mut reader),
            None => {
                let lost = Dropped { log: log.number, offset: 0, bytes: 0, reason: "the log is missing".to_owned() };
                self.lose(lost, || match log.synced_bytes {
                    Some(_) => Ok(Some("the manifest lists it".to_owned())),
                    None => proof_of_all(&links[index + 1..]),
                })
            }
        }
    }

    /// Reads the records of one log up to its end.
    fn records(&mut self, index: usize, reader: &mut RecordReader) -> Result<Flow> {
        let link = &self.links[index];
        let number = link.log.number;
        loop {
            let position = reader.position();
            self.report.end = Some(Predecessor { number, bytes: position, crc: reader.rolling_crc() });
            if let Some(end) = link.end.filter(|end| position >= end.bytes) {
                return self.check_end(end, reader);
            }
            let flow = match reader.next()? {
                Outcome::Record { offset, payload } => self.record(&link.log, offset, payload)?,
                Outcome::End { offset } => return self.end(index, offset),
                Outcome::Torn { offset, detail } => {
                    return self.broken(index, offset, reader.file_bytes(), detail);
                }
                Outcome::Damaged { offset, detail } if self.mode == RecoveryMode::SkipDamaged => {
                    // Where the layout leads to no later record the reader stays, and the rest of the file is lost.
                    let stays = reader.position() == offset;
                    let resumed = if stays { reader.file_bytes() } else { reader.position() };
                    self.broken(index, offset, resumed, detail)?
                }
                Outcome::Damaged { offset, detail } => {
                    return self.broken(index, offset, reader.file_bytes(), detail);
                }
            };
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
    }

    /// Checks a record and hands it out (Y1).
    fn record(&mut self, log: &Log, offset: u64, payload: &[u8]) -> Result<Flow> {
        match batch::validate(payload) {
            Ok(()) => {}
            Err(error) if error.is_corruption() => {
                let reason = format!("a record holds no batch: {error}");
                let lost = Dropped { log: log.number, offset, bytes: payload.len() as u64, reason };
                return self.lose(lost, || Ok(Some("its checksum holds".to_owned())));
            }
            Err(error) => return Err(error.at(offset).in_file(&log.path)),
        }
        let (seq, count) = batch::header(payload)?;
        if count == 0 {
            self.note_lasting(&Facts::of_batch(payload));
        }
        (self.visit)(log.number, offset, payload)?;
        self.report.records += 1;
        self.report.bytes += payload.len() as u64;
        let next_seq = SeqNo::checked(seq.get() + u64::from(count)).unwrap_or(SeqNo::MAX);
        self.report.next_seq = self.report.next_seq.max(next_seq);
        Ok(Flow::GoOn)
    }

    /// The records end by themselves at `offset`.
    fn end(&mut self, index: usize, offset: u64) -> Result<Flow> {
        let links = self.links;
        let link = &links[index];
        let recorded = link.end.map_or(0, |end| end.bytes).max(link.log.synced_bytes.unwrap_or(0));
        if offset >= recorded {
            return Ok(Flow::GoOn);
        }
        let reason = format!("the log ends, although {recorded} bytes of it were recorded");
        let lost = Dropped { log: link.log.number, offset, bytes: recorded - offset, reason };
        self.lose(lost, || proof(&links[index..], offset))
    }

    /// The records break off at `offset`; nothing is read before `resumed`.
    fn broken(&mut self, index: usize, offset: u64, resumed: u64, reason: String) -> Result<Flow> {
        let links = self.links;
        let lost = Dropped { log: links[index].log.number, offset, bytes: resumed.saturating_sub(offset), reason };
        let flow = self.lose(lost, || proof(&links[index..], offset))?;
        Ok(if self.goes_on_behind(index) { Flow::GoOn } else { flow })
    }

    /// Whether the next log, which has no facts, takes up the sequence where this one broke off: RocksDB
    /// recovers a torn log without cutting it, and begins the next one there.
    fn goes_on_behind(&self, index: usize) -> bool {
        let next = self.links.get(index + 1).map(|link| &link.log);
        next.is_some_and(|next| {
            next.facts.predecessor.is_none() && self.report.records > 0 && next.first_seq == Some(self.report.next_seq)
        })
    }

    /// The log was read as far as its successor says that it went, or further.
    fn check_end(&mut self, end: Predecessor, reader: &RecordReader) -> Result<Flow> {
        let offset = reader.position();
        let is_whole = self.report.dropped.iter().all(|dropped| dropped.log != end.number);
        let reason = if offset > end.bytes {
            format!("a record ends here, but the next log says that the last one ends at {}", end.bytes)
        } else if is_whole && reader.rolling_crc() != end.crc {
            format!("checksum {:08x} of all records, the next log says {:08x}", reader.rolling_crc(), end.crc)
        } else {
            return Ok(Flow::GoOn); // Y4
        };
        // A crash takes bytes away and never puts others there: one of the two is another store's file.
        let lost = Dropped { log: end.number, offset, bytes: reader.file_bytes() - offset, reason };
        self.lose(lost, || Ok(Some("the next log's own checksum holds".to_owned())))
    }

    /// Something cannot be read: an error if that is damage and the mode is strict, or else a part left out (Y3).
    fn lose(&mut self, lost: Dropped, proof: impl FnOnce() -> Result<Option<String>>) -> Result<Flow> {
        if self.mode == RecoveryMode::Checked
            && let Some(proof) = proof()?
        {
            let path = FileKind::Log(lost.log).path(self.dir);
            return Err(Error::corruption(format!("{}; {proof}", lost.reason)).at(lost.offset).in_file(&path));
        }
        self.report.dropped.push(lost);
        Ok(if self.mode == RecoveryMode::SkipDamaged { Flow::GoOn } else { Flow::Stop })
    }

    /// Leaves out the logs from `index` on, which lie behind the end of the prefix (Y2).
    fn drop_logs(&mut self, index: usize) -> Result<()> {
        for link in &self.links[index..] {
            let bytes = link.log.reader()?.map_or(0, |reader| reader.file_bytes());
            let reason = "the log follows a place that cannot be read".to_owned();
            self.report.dropped.push(Dropped { log: link.log.number, offset: 0, bytes, reason });
            self.gather_facts(&link.log)?;
        }
        Ok(())
    }

    /// Takes the facts out of a log that is left out: what was known of the manifest when they were written
    /// stays true, and may be why the log seems to follow nothing.
    fn gather_facts(&mut self, log: &Log) -> Result<()> {
        self.note_lasting(&log.facts);
        let Some(mut reader) = log.reader()? else { return Ok(()) };
        while let Outcome::Record { payload, .. } = reader.next()? {
            if matches!(batch::header(payload), Ok((_, 0))) {
                self.note_lasting(&Facts::of_batch(payload));
            }
        }
        Ok(())
    }

    fn note_facts(&mut self, facts: &Facts) {
        self.report.facts.predecessor = facts.predecessor;
        self.note_lasting(facts);
    }

    /// Notes the facts that hold whatever became of the log.
    fn note_lasting(&mut self, facts: &Facts) {
        self.report.facts.manifest = facts.manifest.or(self.report.facts.manifest);
        if facts.identity.is_some() {
            self.report.facts.identity.clone_from(&facts.identity);
        }
    }
}
