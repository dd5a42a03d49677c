//! The logs of a store in the order in which they followed each other.
//!
//! Each log's first record is read ahead, since it says which log came before and where that one ended.
//!
//! # Invariants
//! C1. A log that the chain passes over was given up by an earlier recovery: the log that recovery began
//!     names an older one as its predecessor.
//! C2. A predecessor that is in no file is noted in [`Link::missing`], unless the manifest no longer needs
//!     it: then it was flushed to tables and removed. So the loss of the *first* log is noticed too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, ReadAt, Result, SeqNo, batch};
use lsm_fs::Fs;

use crate::facts::{Facts, Predecessor};
use crate::reader::{HeaderStyle, Outcome, RecordReader};
use crate::replay::LogToReplay;

/// A log file with what its first record says.
pub(crate) struct Log {
    pub(crate) number: FileNumber,
    pub(crate) path: PathBuf,
    pub(crate) synced_bytes: Option<u64>,
    /// `None` for a file that is not there.
    source: Option<Arc<dyn ReadAt>>,
    pub(crate) facts: Facts,
    pub(crate) first_seq: Option<SeqNo>,
    /// The stored crc of the first fragment, if the first record can be read.
    pub(crate) first_crc: Option<u32>,
}

/// A log in the chain.
pub(crate) struct Link {
    pub(crate) log: Log,
    /// Where the log ends, as the next one says.
    pub(crate) end: Option<Predecessor>,
    /// The log that should stand before this one and is not there.
    pub(crate) missing: Option<FileNumber>,
}

impl Log {
    fn open(fs: &dyn Fs, dir: &Path, log: &LogToReplay) -> Result<Log> {
        let path = FileKind::Log(log.number).path(dir);
        let source = match fs.open(&path) {
            Ok(source) => Some(source),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", path, error)),
        };
        let LogToReplay { number, synced_bytes } = *log;
        let mut log =
            Log { number, path, synced_bytes, source, facts: Facts::default(), first_seq: None, first_crc: None };
        if let Some(mut reader) = log.reader()? {
            if let Outcome::Record { offset: 0, payload } = reader.next()? {
                log.facts = Facts::of_batch(payload);
                log.first_seq = batch::header(payload).ok().map(|(seq, _)| seq);
            }
            log.first_crc = reader.first_crc();
        }
        Ok(log)
    }

    /// A reader at the front of the log; `None` for a file that is not there.
    pub(crate) fn reader(&self) -> Result<Option<RecordReader>> {
        let Some(source) = &self.source else { return Ok(None) };
        RecordReader::new(Arc::clone(source), HeaderStyle::Log(self.number), &self.path).map(Some)
    }
}

/// Opens the logs from `oldest` on, which ascend by number, and follows their predecessors back from the last.
pub(crate) fn open_chain(fs: &dyn Fs, dir: &Path, oldest: FileNumber, logs: &[LogToReplay]) -> Result<Vec<Link>> {
    let needed = logs.iter().filter(|log| log.number >= oldest);
    let logs: Result<Vec<Log>> = needed.map(|log| Log::open(fs, dir, log)).collect();
    Ok(link(logs?, oldest))
}

fn link(mut logs: Vec<Log>, oldest: FileNumber) -> Vec<Link> {
    let mut chain: Vec<Link> = Vec::new();
    let mut end = None;
    while let Some(log) = logs.pop() {
        let predecessor = log.facts.predecessor;
        let known = predecessor.and_then(|fact| logs.iter().position(|log| log.number == fact.number));
        let missing = match (predecessor, known) {
            (Some(fact), None) if fact.number >= oldest || !logs.is_empty() => Some(fact.number), // C2
            _ => None,
        };
        chain.push(Link { log, end, missing });
        end = predecessor.filter(|_| known.is_some());
        if let Some(index) = known {
            logs.truncate(index + 1); // C1
        }
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(number: u64, predecessor: Option<u64>) -> Log {
        let predecessor = predecessor.map(|number| Predecessor { number: FileNumber(number), bytes: number, crc: 0 });
        Log {
            number: FileNumber(number),
            path: PathBuf::new(),
            synced_bytes: None,
            source: None,
            facts: Facts { predecessor, ..Facts::default() },
            first_seq: None,
            first_crc: None,
        }
    }

    /// Number, end and missing predecessor of each link, if logs from 3 on are needed.
    fn chain(logs: &[(u64, Option<u64>)]) -> Vec<(u64, Option<u64>, Option<u64>)> {
        let logs = logs.iter().map(|(number, predecessor)| log(*number, *predecessor)).collect();
        let links = link(logs, FileNumber(3)).into_iter();
        links.map(|link| (link.log.number.0, link.end.map(|end| end.bytes), link.missing.map(|log| log.0))).collect()
    }

    #[test]
    fn a_log_ends_where_the_next_one_says() {
        assert_eq!(
            chain(&[(3, Some(1)), (5, Some(3)), (9, Some(5))]),
            [(3, Some(3), None), (5, Some(5), None), (9, None, None)]
        );
    }

    #[test]
    fn logs_without_facts_follow_each_other_by_number() {
        assert_eq!(chain(&[(3, None), (5, None)]), [(3, None, None), (5, None, None)]);
    }

    // Covers C1.
    #[test]
    fn a_log_that_an_earlier_recovery_gave_up_is_passed_over() {
        assert_eq!(chain(&[(3, None), (5, Some(3)), (9, Some(3))]), [(3, Some(3), None), (9, None, None)]);
    }

    // Covers C2.
    #[test]
    fn a_predecessor_that_is_not_there_is_missing() {
        assert_eq!(chain(&[(3, None), (9, Some(5))]), [(3, None, None), (9, None, Some(5))]);
        assert_eq!(chain(&[(3, None), (9, Some(1))]), [(3, None, None), (9, None, Some(1))]);
        assert_eq!(chain(&[(9, Some(5))]), [(9, None, Some(5))]);
        assert_eq!(chain(&[(9, Some(2))]), [(9, None, None)]);
    }
}
