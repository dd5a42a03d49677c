//! Joins fragments back into records, and tells how the records end.
//!
//! The reader does not look into payloads and has no opinion on what damage means: it says whether
//! records of the same file follow a broken place ([`Outcome::Damaged`]) or not ([`Outcome::Torn`]).
//! `replay.rs` and the manifest decide.
//!
//! Two ways lead past a broken place. [`RecordReader::next`] resumes only where the layout of the file
//! puts a fragment: behind the broken one if its length fits, or at the start of a block.
//! [`RecordReader::search`] tries every byte, since a damaged length hides all that follows in its block;
//! what it finds may lie *inside* a payload, so it serves as evidence and never as data.
//!
//! # Invariants
//! R1. A record is returned only if every fragment's crc held and the chain was whole.
//! R2. One file has headers of one size; the first whole fragment decides.
//! R3. Memory: one window of the file and one record, whose size the file itself bounds.
//! R4. A search looks at a bounded multiple of the file's bytes, whatever they hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::{Error, ReadAt, Result};

use crate::format::{BLOCK_BYTES, Expected, Framing, Parsed, Part, offset_in_block, parse};
use crate::window::Window;
use crate::writer::roll;

/// Which headers a reader accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderStyle {
    /// Seven bytes: manifests.
    Legacy,
    /// A log with this number: seven or eleven bytes, whichever its first fragment has (R2).
    Log(FileNumber),
}

/// What [`RecordReader::next`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<'a> {
    /// A whole record (R1).
    Record {
        /// Where its first fragment starts.
        offset: u64,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// The records end as they should: the file ends, zeros follow, or what an earlier log left in the file.
    End {
        /// Where the last record ends.
        offset: u64,
    },
    /// A record is cut or unreadable and no whole record of this file lies behind it: a write that
    /// a crash cut short looks like this.
    Torn {
        /// Where the last whole record ends.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A place is unreadable, or never written, although records of this file lie behind it. The next call
    /// goes on behind the place.
    Damaged {
        /// Where the last whole record ends.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
}

/// A record that [`RecordReader::search`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'a> {
    /// Where its first fragment starts.
    pub offset: u64,
    /// Where it ends; the next search may go on here.
    pub end: u64,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Reads the records of one file.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use lsm_wal::{HeaderStyle, Outcome, RecordReader, RecordWriter};
///
/// let mut writer = RecordWriter::new(Vec::new());
/// writer.append(b"one")?;
/// let source = Arc::new(writer.into_inner());
/// let mut reader = RecordReader::new(source, HeaderStyle::Legacy, Path::new("MANIFEST-000001"))?;
/// assert_eq!(reader.next()?, Outcome::Record { offset: 0, payload: b"one" });
/// assert_eq!(reader.next()?, Outcome::End { offset: 10 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordReader {
    file: PathBuf,
    window: Window,
    expected: Expected,
    position: u64,
    record: Vec<u8>,
    rolling_crc: u32,
    first_crc: Option<u32>,
    /// Bytes that searches checked in vain (R4).
    searched: u64,
    ended: bool,
}

/// What stands at a place, seen as a record.
enum Step {
    Record { offset: u64, end: u64, body: Body, framing: Framing, rolling_crc: u32, first_crc: u32 },
    Stop { at: u64, cause: Cause },
}

enum Body {
    /// In one block, at this offset of the file.
    InPlace { offset: u64, bytes: usize },
    /// Joined in `record`.
    Joined,
}

enum Cause {
    EndOfFile,
    Blank(&'static str),
    Bad { detail: String, skip: Option<usize> },
}

/// How many bytes searches may check in vain, as a multiple of the file (R4). Random bytes take about 16, small
/// integers in an array about 128.
const SEARCH_FACTOR: u64 = 512;

/// What a look at a place costs, in bytes checked: a file full of headers with nothing behind them would else keep a
/// search busy for seconds per megabyte.
const LOOK_BYTES: u64 = 64;

impl RecordReader {
    /// Starts at the front of `source`, whose present size counts. Errors name `file`.
    ///
    /// # Errors
    /// [`Error::Io`] when the size cannot be told.
    pub fn new(source: Arc<dyn ReadAt>, style: HeaderStyle, file: &Path) -> Result<RecordReader> {
        let expected = match style {
            HeaderStyle::Legacy => Expected::Legacy,
            HeaderStyle::Log(number) => Expected::Either(number.0 as u32),
        };
        Ok(RecordReader {
            file: file.to_owned(),
            window: Window::new(source).map_err(|source| Error::io("stat", file, source))?,
            expected,
            position: 0,
            record: Vec::new(),
            rolling_crc: 0,
            first_crc: None,
            searched: 0,
            ended: false,
        })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.window.file_bytes()
    }

    /// Where the last record ended.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The crc32c of the stored crcs of all fragments that were returned.
    pub fn rolling_crc(&self) -> u32 {
        self.rolling_crc
    }

    /// The stored crc of the file's first fragment, once that was returned.
    pub(crate) fn first_crc(&self) -> Option<u32> {
        self.first_crc
    }

    /// The next record, or how the records end.
    ///
    /// # Errors
    /// [`Error::Io`] when reading fails, [`Error::Unsupported`] for records that this reader does not understand.
    #[expect(clippy::should_implement_trait, reason = "the payload borrows from the reader")]
    pub fn next(&mut self) -> Result<Outcome<'_>> {
        let offset = self.position;
        if self.ended {
            return Ok(Outcome::End { offset });
        }
        match self.step(offset)? {
            Step::Record { offset, end, body, framing, rolling_crc, first_crc } => {
                self.position = end;
                if offset == 0 {
                    self.first_crc = Some(first_crc);
                }
                self.rolling_crc = rolling_crc;
                if let (Expected::Either(number), Framing::Recyclable(_)) = (self.expected, framing) {
                    self.expected = Expected::Recyclable(number);
                } else if framing == Framing::Legacy {
                    self.expected = Expected::Legacy;
                }
                Ok(Outcome::Record { offset, payload: self.payload(body)? })
            }
            Step::Stop { cause: Cause::EndOfFile, .. } => {
                self.ended = true;
                Ok(Outcome::End { offset })
            }
            Step::Stop { at, cause } => self.stop(offset, at, cause),
        }
    }

    /// The first whole record that starts at or behind `from`, at any byte. See the module's page: evidence, not data.
    ///
    /// # Errors
    /// As for [`RecordReader::next`].
    pub fn search(&mut self, from: u64) -> Result<Option<Found<'_>>> {
        match self.find(from)? {
            Some((offset, end, body)) => Ok(Some(Found { offset, end, payload: self.payload(body)? })),
            None => Ok(None),
        }
    }

    /// Names the outcome of a broken or blank place and moves behind it.
    fn stop(&mut self, offset: u64, at: u64, cause: Cause) -> Result<Outcome<'_>> {
        let followed = self.find(offset + 1)?.is_some();
        let (detail, skip) = match cause {
            Cause::EndOfFile => (None, None),
            Cause::Blank(what) => (followed.then(|| what.to_owned()), None),
            Cause::Bad { detail, skip } => (Some(detail), skip),
        };
        let resume = if followed { self.resume(at, skip)? } else { None };
        match resume {
            Some(position) => self.position = position,
            None => self.ended = true,
        }
        Ok(match detail {
            None => Outcome::End { offset },
            Some(detail) if followed => Outcome::Damaged { offset, detail },
            Some(detail) => Outcome::Torn { offset, detail },
        })
    }

    /// Where the layout puts the next record behind a broken fragment at `at`.
    fn resume(&mut self, at: u64, skip: Option<usize>) -> Result<Option<u64>> {
        let mut position = match skip {
            Some(bytes) => at + bytes as u64,
            None => block_behind(at),
        };
        while position < self.file_bytes() {
            match self.parse(position)? {
                Parsed::Fragment(fragment) => {
                    if matches!(fragment.part, Some(Part::Full | Part::First)) {
                        return Ok(Some(position));
                    }
                    position += (fragment.payload.end - offset_in_block(position)) as u64;
                }
                Parsed::Unsupported(feature) => return Err(Error::unsupported(feature).in_file(&self.file)),
                _ => position = block_behind(position),
            }
        }
        Ok(None)
    }

    /// See [`RecordReader::search`].
    fn find(&mut self, from: u64) -> Result<Option<(u64, u64, Body)>> {
        let searched_max = self.file_bytes().max(BLOCK_BYTES as u64).saturating_mul(SEARCH_FACTOR);
        let mut position = from;
        while let Some(candidate) = self.candidate(position)? {
            let read_before = self.window.bytes_read();
            match self.step(candidate)? {
                Step::Record { offset, end, body, .. } => return Ok(Some((offset, end, body))),
                Step::Stop { at, cause } => {
                    let checked_last = if let Cause::Bad { skip: Some(bytes), .. } = cause { bytes } else { 0 };
                    self.searched += at - candidate + checked_last as u64 + LOOK_BYTES;
                    self.searched += self.window.bytes_read() - read_before;
                }
            }
            if self.searched > searched_max {
                return Ok(None);
            }
            position = candidate + 1;
        }
        Ok(None)
    }

    /// The first place at or behind `from` where a record may start.
    fn candidate(&mut self, from: u64) -> Result<Option<u64>> {
        let mut position = from;
        while position < self.file_bytes() {
            let expected = self.expected;
            let block = self.block(position)?;
            let rest = block.get(offset_in_block(position)..).unwrap_or_default();
            if let Some(start) = expected.first_start(rest, BLOCK_BYTES - offset_in_block(position)) {
                return Ok(Some(position + start as u64));
            }
            position = block_behind(position);
        }
        Ok(None)
    }

    /// Reads the record at `position`. Changes nothing but `record` and the window.
    fn step(&mut self, position: u64) -> Result<Step> {
        let mut at = position;
        let mut start = None;
        let (mut rolling_crc, mut first_crc) = (self.rolling_crc, None);
        self.record.clear();
        loop {
            let fragment = match self.parse(at)? {
                Parsed::Fragment(fragment) => fragment,
                Parsed::Padding => {
                    at = block_behind(at);
                    continue;
                }
                Parsed::Unsupported(feature) => return Err(Error::unsupported(feature).in_file(&self.file)),
                other => return Ok(Step::Stop { at, cause: cause_of(other, start.is_some()) }),
            };
            let in_block = offset_in_block(at);
            let end = at + (fragment.payload.end - in_block) as u64;
            rolling_crc = roll(rolling_crc, fragment.stored_crc);
            let first_crc = *first_crc.get_or_insert(fragment.stored_crc);
            let payload = at + (fragment.payload.start - in_block) as u64;
            let framing = fragment.framing;
            match (fragment.part, start) {
                (None, None) => {}
                (Some(Part::Full), None) => {
                    let body = Body::InPlace { offset: payload, bytes: fragment.payload.len() };
                    return Ok(Step::Record { offset: at, end, body, framing, rolling_crc, first_crc });
                }
                (Some(Part::First), None) => {
                    start = Some(at);
                    self.join(payload, fragment.payload.len())?;
                }
                (Some(Part::Middle), Some(_)) => self.join(payload, fragment.payload.len())?,
                (Some(Part::Last), Some(offset)) => {
                    self.join(payload, fragment.payload.len())?;
                    return Ok(Step::Record { offset, end, body: Body::Joined, framing, rolling_crc, first_crc });
                }
                (part, _) => return Ok(out_of_order(at, part, start.is_some(), end)),
            }
            at = end;
        }
    }

    fn join(&mut self, offset: u64, bytes: usize) -> Result<()> {
        let block = self.window.block(offset).map_err(|source| Error::io("read", &self.file, source))?;
        let start = offset_in_block(offset);
        // An empty payload may end where its block ends, and then `offset` names the next block.
        self.record.extend_from_slice(block.get(start..start + bytes).unwrap_or_default());
        Ok(())
    }

    fn payload(&mut self, body: Body) -> Result<&[u8]> {
        match body {
            Body::Joined => Ok(&self.record),
            Body::InPlace { bytes: 0, .. } => Ok(&[]),
            Body::InPlace { offset, bytes } => {
                let start = offset_in_block(offset);
                Ok(&self.block(offset)?[start..start + bytes])
            }
        }
    }

    fn parse(&mut self, position: u64) -> Result<Parsed> {
        let expected = self.expected;
        Ok(parse(self.block(position)?, offset_in_block(position), expected))
    }

    fn block(&mut self, position: u64) -> Result<&[u8]> {
        self.window.block(position).map_err(|source| Error::io("read", &self.file, source))
    }
}

fn cause_of(parsed: Parsed, in_record: bool) -> Cause {
    let detail = match parsed {
        Parsed::EndOfFile if !in_record => return Cause::EndOfFile,
        Parsed::Zeros if !in_record => return Cause::Blank("zeros where a record should start"),
        Parsed::Stale if !in_record => {
            return Cause::Blank("a record of an earlier log where one of this log should be");
        }
        Parsed::Bad { detail, skip } => return Cause::Bad { detail, skip },
        Parsed::EndOfFile => "the file ends inside a record",
        Parsed::Zeros => "zeros inside a record",
        _ => "a record of an earlier log inside a record",
    };
    Cause::Bad { detail: detail.to_owned(), skip: None }
}

/// A whole fragment that cannot stand where it does. A record that starts there is read again from its start.
fn out_of_order(at: u64, part: Option<Part>, in_record: bool, end: u64) -> Step {
    let starts = matches!(part, Some(Part::Full | Part::First));
    let detail = match in_record {
        true => "a record is followed by another before its last fragment",
        false => "a fragment without the start of its record",
    };
    let skip = if starts { 0 } else { (end - at) as usize };
    Step::Stop { at, cause: Cause::Bad { detail: detail.to_owned(), skip: Some(skip) } }
}

/// Start of the block behind the one that `position` is in.
fn block_behind(position: u64) -> u64 {
    (position / BLOCK_BYTES as u64 + 1) * BLOCK_BYTES as u64
}
