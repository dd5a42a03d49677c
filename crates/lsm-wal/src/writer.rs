//! Cuts records into fragments.
//!
//! [`Framer`] fills memory that its caller has reserved; the active log uses it on its segment.
//! [`RecordWriter`] puts it before any [`io::Write`] and is used for manifests. Neither looks into
//! a payload, and neither syncs.
//!
//! # Invariants
//! W1. A fragment lies in one block; a record takes exactly [`framed_bytes`] bytes.
//! W2. The rolling crc is the crc32c of the stored crcs of all fragments, in order.

use std::io;

use lsm_core::checksum::{crc32c_append, mask};

use crate::format::{Framing, Part, framed_bytes, room_at};

/// Frames records of one file and keeps its rolling crc.
#[derive(Clone, Debug)]
pub(crate) struct Framer {
    framing: Framing,
    /// Per part of a record, what the crc is over before the payload: saves a pass over five bytes per fragment.
    header_crcs: [u32; Part::ALL.len()],
    rolling_crc: u32,
    first_crc: Option<u32>,
}

impl Framer {
    pub(crate) fn new(framing: Framing) -> Framer {
        let header_crcs = Part::ALL.map(|part| framing.header_crc(part));
        Framer { framing, header_crcs, rolling_crc: 0, first_crc: None }
    }

    /// Bytes that [`Framer::frame`] needs at `position`.
    pub(crate) fn framed_bytes(&self, position: u64, payload_bytes: usize) -> usize {
        framed_bytes(self.framing.header_bytes(), position, payload_bytes)
    }

    /// The crc of all fragments so far (W2).
    pub(crate) fn rolling_crc(&self) -> u32 {
        self.rolling_crc
    }

    /// The stored crc of the file's first fragment; 0 before there is one.
    pub(crate) fn first_crc(&self) -> u32 {
        self.first_crc.unwrap_or(0)
    }

    /// Goes on where a reader has found these crcs.
    pub(crate) fn resume(&mut self, rolling_crc: u32, first_crc: Option<u32>) {
        self.rolling_crc = rolling_crc;
        self.first_crc = first_crc;
    }

    /// Zeros that keep a reader from what stands behind the record that ended at `position`.
    pub(crate) fn end_mark_bytes(&self, position: u64) -> usize {
        room_at(self.framing.header_bytes(), position).0 + self.framing.header_bytes()
    }

    /// Frames `head` and `tail` as one record into `out`, which has exactly the needed size (W1).
    pub(crate) fn frame(&mut self, position: u64, mut head: &[u8], mut tail: &[u8], mut out: &mut [u8]) {
        debug_assert_eq!(out.len(), self.framed_bytes(position, head.len() + tail.len()), "W1");
        let header_bytes = self.framing.header_bytes();
        let (padding, mut room) = room_at(header_bytes, position);
        out[..padding].fill(0);
        out = &mut out[padding..];
        let mut begins = true;
        loop {
            let length = room.min(head.len() + tail.len());
            let (fragment, rest) = out.split_at_mut(header_bytes + length);
            let (header, payload) = fragment.split_at_mut(header_bytes);
            take(&mut head, &mut tail, payload);
            let ends = head.is_empty() && tail.is_empty();
            self.seal(Part::new(begins, ends), header, payload);
            if ends {
                return;
            }
            begins = false;
            out = rest;
            (_, room) = room_at(header_bytes, 0);
        }
    }

    #[expect(clippy::expect_used, reason = "W1: what is written, not what is read")]
    fn seal(&mut self, part: Part, header: &mut [u8], payload: &[u8]) {
        let crc = crc32c_append(self.header_crcs[part as usize - Part::Full as usize], payload);
        let length = u16::try_from(payload.len()).expect("W1: a fragment fits its block");
        self.framing.write_header(part, length, crc, header);
        self.first_crc.get_or_insert(mask(crc));
        self.rolling_crc = roll(self.rolling_crc, mask(crc));
    }
}

/// The rolling crc after one more fragment (W2).
pub(crate) fn roll(rolling_crc: u32, stored_crc: u32) -> u32 {
    crc32c_append(rolling_crc, &stored_crc.to_le_bytes())
}

/// Fills `out` from the front of `head` and then of `tail`, and takes off what was copied.
fn take(head: &mut &[u8], tail: &mut &[u8], out: &mut [u8]) {
    let from_head = head.len().min(out.len());
    let from_tail = out.len() - from_head;
    out[..from_head].copy_from_slice(&head[..from_head]);
    out[from_head..].copy_from_slice(&tail[..from_tail]);
    *head = &head[from_head..];
    *tail = &tail[from_tail..];
}

/// Writes records with legacy headers, as manifests have them.
///
/// ```
/// let mut writer = lsm_wal::RecordWriter::new(Vec::new());
/// writer.append(b"hello")?;
/// assert_eq!(writer.position(), 12);
/// assert_eq!(&writer.into_inner()[7..], b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct RecordWriter<W> {
    out: W,
    framer: Framer,
    position: u64,
    buffer: Vec<u8>,
}

impl<W: io::Write> RecordWriter<W> {
    /// Starts an empty file.
    pub fn new(out: W) -> RecordWriter<W> {
        RecordWriter { out, framer: Framer::new(Framing::Legacy), position: 0, buffer: Vec::new() }
    }

    /// Writes one record with a single call of `write_all`. It is not synced, nor flushed.
    ///
    /// # Errors
    /// What the writer says. A part of the record may have been written: the file must not be appended to again.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        let end = self.position_after(payload.len());
        self.buffer.resize((end - self.position) as usize, 0);
        self.framer.frame(self.position, payload, &[], &mut self.buffer);
        self.out.write_all(&self.buffer)?;
        self.position = end;
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the file once a record with `payload_bytes` bytes is appended.
    pub fn position_after(&self, payload_bytes: usize) -> u64 {
        self.position + self.framer.framed_bytes(self.position, payload_bytes) as u64
    }

    /// The crc32c of the stored crcs of all fragments (W2), which
    /// [`RecordReader::rolling_crc`](crate::RecordReader::rolling_crc) finds again.
    pub fn rolling_crc(&self) -> u32 {
        self.framer.rolling_crc()
    }

    /// The writer below, to flush or sync it.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// The writer below.
    pub fn into_inner(self) -> W {
        self.out
    }
}
