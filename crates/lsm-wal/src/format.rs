//! The bytes of a log file: blocks, fragments and their headers.
//!
//! ```text
//! file      block block … block            blocks of 32 KiB, the last one may be short
//! block     fragment fragment … [padding]  padding: zeros, where fewer bytes than a header are left
//! fragment  ┌────────────┬────────────┬─────────┬───────────────────────┬─────────┐
//!           │ crc fixed32│ length u16 │ type u8 │ [log number fixed32]  │ payload │
//!           └────────────┴────────────┴─────────┴───────────────────────┴─────────┘
//! ```
//!
//! A record is one `full` fragment or a chain `first middle* last`, one fragment to a block. The crc
//! is a masked crc32c over everything behind the length. Headers with a log number are *recyclable*:
//! what an earlier log left in a reused file has another number and so ends the log.
//!
//! This module knows single fragments only; `writer.rs` cuts records, `reader.rs` joins them.
//! Source: RocksDB `db/log_format.h`, `db/log_writer.cc`, `db/log_reader.cc`.
//!
//! # Invariants
//! F1. [`parse`] answers [`Parsed::Fragment`] only for bytes whose crc holds and that lie in one block.
//! F2. [`parse`] reads nothing behind the block, allocates nothing in the size of the input and never panics.

use std::ops::Range;

use lsm_core::checksum::{crc32c, mask, unmask};
use lsm_core::coding::Decoder;

/// Bytes of a block, the unit in which a reader finds its way again after damage.
pub const BLOCK_BYTES: usize = 32 << 10;

/// Bytes of a header without a log number.
pub const LEGACY_HEADER_BYTES: usize = TYPE_OFFSET + TYPE_BYTES;

/// Bytes of a header with a log number.
pub const RECYCLABLE_HEADER_BYTES: usize = LEGACY_HEADER_BYTES + NUMBER_BYTES;

const CRC_BYTES: usize = 4;
const LENGTH_BYTES: usize = 2;
const TYPE_BYTES: usize = 1;
const NUMBER_BYTES: usize = 4;
const TYPE_OFFSET: usize = CRC_BYTES + LENGTH_BYTES;

const _: () = assert!(LEGACY_HEADER_BYTES == 7 && RECYCLABLE_HEADER_BYTES == 11);
const _: () = assert!(BLOCK_BYTES - LEGACY_HEADER_BYTES <= u16::MAX as usize);

/// Places that a search looks at together.
const STRIDE_BYTES: usize = 64;

/// Distance between a type with a legacy header and the same with a recyclable one.
const RECYCLABLE_TYPE: u8 = 4;
const SET_COMPRESSION: u8 = 9;
const TIMESTAMP_SIZES: u8 = 10;
const RECYCLABLE_TIMESTAMP_SIZES: u8 = 11;
const RECYCLABLE_PREDECESSOR: u8 = 131;
/// Types with this bit may be skipped by readers that do not know them.
const IGNORABLE: u8 = 0x80;

/// Which part of a record a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The whole record.
    Full = 1,
    First = 2,
    Middle = 3,
    Last = 4,
}

impl Part {
    pub(crate) const ALL: [Part; 4] = [Part::Full, Part::First, Part::Middle, Part::Last];

    pub(crate) fn new(begins: bool, ends: bool) -> Part {
        match (begins, ends) {
            (true, true) => Part::Full,
            (true, false) => Part::First,
            (false, false) => Part::Middle,
            (false, true) => Part::Last,
        }
    }

    fn from_type(tag: u8) -> Option<Part> {
        let tag = if tag > RECYCLABLE_TYPE { tag - RECYCLABLE_TYPE } else { tag };
        Part::ALL.into_iter().find(|part| *part as u8 == tag)
    }
}

/// Whether a fragment of this type is [`Part::Full`] or [`Part::First`].
fn starts_record(tag: u8) -> bool {
    // Arithmetic that a processor does for many at a time.
    (tag & !RECYCLABLE_TYPE).wrapping_sub(Part::Full as u8) <= Part::First as u8 - Part::Full as u8
}

/// Which headers the fragments of a file have; never both kinds in one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// Seven bytes, for files that are never reused.
    Legacy,
    /// Eleven bytes with the low 32 bits of the log's number.
    Recyclable(u32),
}

impl Framing {
    pub(crate) const fn header_bytes(self) -> usize {
        match self {
            Framing::Legacy => LEGACY_HEADER_BYTES,
            Framing::Recyclable(_) => RECYCLABLE_HEADER_BYTES,
        }
    }

    /// The header's bytes between length and payload, in the front of the array, and how many they are.
    fn tail(self, part: Part) -> ([u8; TYPE_BYTES + NUMBER_BYTES], usize) {
        let mut tail = [0; TYPE_BYTES + NUMBER_BYTES];
        tail[0] = part as u8;
        if let Framing::Recyclable(number) = self {
            tail[0] += RECYCLABLE_TYPE;
            tail[TYPE_BYTES..].copy_from_slice(&number.to_le_bytes());
        }
        (tail, self.header_bytes() - TYPE_OFFSET)
    }

    /// The crc, not yet masked, of the header's part that the crc covers.
    pub(crate) fn header_crc(self, part: Part) -> u32 {
        let (tail, bytes) = self.tail(part);
        crc32c(&tail[..bytes])
    }

    /// Writes a header in front of a payload with `length` bytes; `crc` covers type, number and payload.
    pub(crate) fn write_header(self, part: Part, length: u16, crc: u32, out: &mut [u8]) {
        let (tail, bytes) = self.tail(part);
        out[..CRC_BYTES].copy_from_slice(&mask(crc).to_le_bytes());
        out[CRC_BYTES..TYPE_OFFSET].copy_from_slice(&length.to_le_bytes());
        out[TYPE_OFFSET..TYPE_OFFSET + bytes].copy_from_slice(&tail[..bytes]);
    }
}

/// Bytes that a record with `payload_bytes` bytes takes at `position` of a file: padding, headers, payload.
pub(crate) fn framed_bytes(header_bytes: usize, position: u64, payload_bytes: usize) -> usize {
    let (padding, room) = room_at(header_bytes, position);
    let rest = payload_bytes.saturating_sub(room);
    padding + header_bytes + payload_bytes + rest.div_ceil(BLOCK_BYTES - header_bytes) * header_bytes
}

/// Padding before a fragment that starts at `position`, and room for its payload behind the header.
pub(crate) fn room_at(header_bytes: usize, position: u64) -> (usize, usize) {
    let left = BLOCK_BYTES - offset_in_block(position);
    match left < header_bytes {
        true => (left, BLOCK_BYTES - header_bytes),
        false => (0, left - header_bytes),
    }
}

pub(crate) fn offset_in_block(position: u64) -> usize {
    (position % BLOCK_BYTES as u64) as usize
}

/// What a reader expects in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// Legacy headers only.
    Legacy,
    /// Recyclable headers with this number only.
    Recyclable(u32),
    /// Legacy headers, or recyclable ones with this number: no fragment was seen yet.
    Either(u32),
}

impl Expected {
    fn header_bytes_min(self) -> usize {
        match self {
            Expected::Recyclable(_) => RECYCLABLE_HEADER_BYTES,
            Expected::Legacy | Expected::Either(_) => LEGACY_HEADER_BYTES,
        }
    }

    /// Where in `bytes`, `room` bytes before the end of a block, a record could start first.
    /// A filter for searches: it does not look at the crc.
    pub(crate) fn first_start(self, bytes: &[u8], room: usize) -> Option<usize> {
        let mut from = 0;
        while let Some(types) = bytes.get(from + TYPE_OFFSET..).and_then(|types| types.first_chunk::<STRIDE_BYTES>())
            && let Some(behind) = bytes[from + TYPE_OFFSET + TYPE_BYTES..].first_chunk::<STRIDE_BYTES>()
        {
            if self.may_start_within(types, behind)
                && let Some(place) = self.first_start_in(bytes, room, from..from + STRIDE_BYTES)
            {
                return Some(place);
            }
            from += STRIDE_BYTES;
        }
        self.first_start_in(bytes, room, from..bytes.len())
    }

    /// Whether a record could start where one of these is its type, with the byte behind that. Loops that a processor does for
    /// many places at a time: what was never written has no type, what another log has left has another number.
    fn may_start_within(self, types: &[u8; STRIDE_BYTES], behind: &[u8; STRIDE_BYTES]) -> bool {
        let places = types.iter().zip(behind);
        let found = match self {
            Expected::Recyclable(number) => places.fold(0, |found, (&tag, &behind)| {
                found | u8::from(starts_record(tag)) & u8::from(behind == number as u8)
            }),
            Expected::Legacy | Expected::Either(_) => {
                places.fold(0, |found, (&tag, _)| found | u8::from(starts_record(tag)))
            }
        };
        found != 0
    }

    fn first_start_in(self, bytes: &[u8], room: usize, mut places: Range<usize>) -> Option<usize> {
        places.find(|&place| self.may_start_record(&bytes[place..], room - place))
    }

    /// Whether a record could start with these header bytes, `room` bytes before the end of a block.
    fn may_start_record(self, header: &[u8], room: usize) -> bool {
        let [_, _, _, _, low, high, tag, number @ ..] = header else { return false };
        let fits = usize::from(u16::from_le_bytes([*low, *high])) + LEGACY_HEADER_BYTES <= room;
        let is = |expected| Decoder::new(number).fixed32() == Some(expected);
        fits && starts_record(*tag)
            && match self {
                Expected::Legacy => !has_number(*tag),
                Expected::Recyclable(expected) => has_number(*tag) && is(expected),
                Expected::Either(expected) => !has_number(*tag) || is(expected),
            }
    }
}

/// A fragment whose crc holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fragment {
    pub(crate) framing: Framing,
    /// `None` for a type that readers may skip.
    pub(crate) part: Option<Part>,
    /// Where in the block the payload lies.
    pub(crate) payload: Range<usize>,
    /// The crc as it is stored.
    pub(crate) stored_crc: u32,
}

/// What stands at a place where a fragment may start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Parsed {
    Fragment(Fragment),
    /// The rest of the block is too short for a header.
    Padding,
    /// The file ends here.
    EndOfFile,
    /// A header of zeros: never written.
    Zeros,
    /// A fragment of the log that had the file before, its crc holds.
    Stale,
    /// A fragment that only a newer or differently configured reader understands.
    Unsupported(String),
    /// None of these. `skip` is the length that the header claims, if it fits the block.
    Bad {
        detail: String,
        skip: Option<usize>,
    },
}

/// Looks at offset `at` of a block (F1, F2). `block` is short only where the file ends.
pub(crate) fn parse(block: &[u8], at: usize, expected: Expected) -> Parsed {
    let room = BLOCK_BYTES - at;
    if room < expected.header_bytes_min() {
        return Parsed::Padding;
    }
    let rest = block.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Parsed::EndOfFile;
    }
    if rest.iter().take(LEGACY_HEADER_BYTES).all(|byte| *byte == 0) {
        return Parsed::Zeros;
    }
    let bad = |detail: String, skip| Parsed::Bad { detail, skip };
    let mut header = Decoder::new(rest);
    let (Some(stored_crc), Some(length), Some(tag)) = (header.fixed32(), header.bytes(LENGTH_BYTES), header.byte())
    else {
        return bad(format!("a header is cut after {} bytes", rest.len()), None);
    };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let recyclable = has_number(tag);
    let header_bytes = if recyclable { RECYCLABLE_HEADER_BYTES } else { LEGACY_HEADER_BYTES };
    let bytes = header_bytes + length;
    if bytes > room {
        return bad(format!("a fragment of {length} bytes does not fit its block, {room} bytes are left"), None);
    }
    let Some(covered) = rest.get(TYPE_OFFSET..bytes) else {
        return bad(format!("a fragment of {bytes} bytes is cut after {} bytes", rest.len()), None);
    };
    let actual_crc = crc32c(covered);
    if unmask(stored_crc) != actual_crc {
        return bad(format!("checksum {actual_crc:08x}, stored {:08x}", unmask(stored_crc)), Some(bytes));
    }
    let framing = match header.fixed32() {
        Some(number) if recyclable => Framing::Recyclable(number),
        _ => Framing::Legacy,
    };
    if let (Expected::Recyclable(wanted) | Expected::Either(wanted), Framing::Recyclable(number)) = (expected, framing)
        && wanted != number
    {
        return Parsed::Stale;
    }
    if let Some(feature) = unsupported(tag) {
        return Parsed::Unsupported(feature);
    }
    // Either kind of header may open a log; afterwards, and in a manifest, only one is good.
    if matches!(
        (expected, framing),
        (Expected::Legacy, Framing::Recyclable(_)) | (Expected::Recyclable(_), Framing::Legacy)
    ) {
        return bad(format!("record type {tag} in a file whose headers have another size"), Some(bytes));
    }
    Parsed::Fragment(Fragment {
        framing,
        part: Part::from_type(tag),
        payload: at + header_bytes..at + bytes,
        stored_crc,
    })
}

fn has_number(tag: u8) -> bool {
    matches!(tag, 5..=8 | RECYCLABLE_TIMESTAMP_SIZES | RECYCLABLE_PREDECESSOR)
}

fn unsupported(tag: u8) -> Option<String> {
    match tag {
        SET_COMPRESSION => Some("compressed log records".to_owned()),
        TIMESTAMP_SIZES | RECYCLABLE_TIMESTAMP_SIZES => Some("user-defined timestamps in the log".to_owned()),
        tag if tag & IGNORABLE != 0 || Part::from_type(tag).is_some() => None,
        tag => Some(format!("log record type {tag}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn fragment(framing: Framing, tag: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; framing.header_bytes()];
        framing.write_header(Part::Full, payload.len() as u16, 0, &mut bytes);
        bytes[TYPE_OFFSET] = tag;
        bytes.extend_from_slice(payload);
        let crc = mask(crc32c(&bytes[TYPE_OFFSET..]));
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn types_that_start_a_record_are_those_of_full_and_first_parts() {
        for tag in 0..=u8::MAX {
            let starts = matches!(Part::from_type(tag), Some(Part::Full | Part::First));
            assert_eq!(starts_record(tag), starts, "type {tag}");
        }
    }

    quickcheck! {
        fn the_first_start_is_what_a_look_at_each_place_finds(bytes: Vec<u8>, places: Vec<(u16, bool)>, room: u16) -> bool {
            // Short lengths, and numbers that are right here and there.
            let mut bytes: Vec<u8> = bytes.into_iter().flat_map(|byte| [byte % 16, 0, byte % 2]).collect();
            for (place, is_right) in places {
                let place = usize::from(place) % (bytes.len() + 1);
                let header = [3, 0, 5, 7, 0, 0, u8::from(!is_right)];
                bytes.splice(place..place, header);
            }
            let room = bytes.len() + usize::from(room);
            [Expected::Legacy, Expected::Recyclable(7), Expected::Either(7)].into_iter().all(|expected| {
                let each = (0..bytes.len()).find(|&place| expected.may_start_record(&bytes[place..], room - place));
                expected.first_start(&bytes, room) == each
            })
        }
    }

    #[test]
    fn sizes_agree_with_a_walk_over_the_blocks() {
        for header_bytes in [LEGACY_HEADER_BYTES, RECYCLABLE_HEADER_BYTES] {
            for position in (0..14).chain(BLOCK_BYTES - 20..=BLOCK_BYTES + 1) {
                for payload in [0, 1, 5, 32_740, 32_757, 32_761, 32_768, 65_514, 65_522, 100_000] {
                    let mut end = position;
                    let mut left = payload;
                    loop {
                        let in_block = end % BLOCK_BYTES;
                        if BLOCK_BYTES - in_block < header_bytes {
                            end += BLOCK_BYTES - in_block;
                        }
                        let room = BLOCK_BYTES - end % BLOCK_BYTES - header_bytes;
                        end += header_bytes + left.min(room);
                        left -= left.min(room);
                        if left == 0 {
                            break;
                        }
                    }
                    let bytes = framed_bytes(header_bytes, position as u64, payload);
                    assert_eq!(bytes, end - position, "{header_bytes} {position} {payload}");
                }
            }
        }
    }

    #[test]
    fn each_type_of_the_format_is_told_apart() {
        let number = Framing::Recyclable(9);
        let cases: &[(Framing, u8, Expected, &str)] = &[
            (Framing::Legacy, 1, Expected::Legacy, "Fragment"),
            (Framing::Legacy, 4, Expected::Either(9), "Fragment"),
            (number, 5, Expected::Either(9), "Fragment"),
            (number, 8, Expected::Recyclable(9), "Fragment"),
            (number, 5, Expected::Recyclable(8), "Stale"),
            (number, 5, Expected::Legacy, "Bad"),
            (Framing::Legacy, 1, Expected::Recyclable(9), "Bad"),
            (Framing::Legacy, 9, Expected::Recyclable(9), "Unsupported(\"compressed"),
            (Framing::Legacy, 10, Expected::Legacy, "Unsupported(\"user"),
            (number, 11, Expected::Either(9), "Unsupported(\"user"),
            (Framing::Legacy, 12, Expected::Legacy, "Unsupported(\"log record type 12"),
            (Framing::Legacy, 130, Expected::Legacy, "Fragment"),
            (number, 131, Expected::Recyclable(9), "Fragment"),
            (Framing::Legacy, 200, Expected::Legacy, "Fragment"),
        ];
        for (framing, tag, expected, outcome) in cases {
            let parsed = format!("{:?}", parse(&fragment(*framing, *tag, b"abc"), 0, *expected));
            assert!(parsed.starts_with(outcome), "{framing:?} {tag} {expected:?}: {parsed}");
        }
    }

    #[test]
    fn hostile_headers_are_bad_and_never_read_past_the_block() {
        let whole = fragment(Framing::Legacy, 1, b"abc");
        for cut in 1..whole.len() {
            assert!(matches!(parse(&whole[..cut], 0, Expected::Legacy), Parsed::Bad { .. }), "{cut}");
        }
        assert_eq!(parse(&[], 0, Expected::Legacy), Parsed::EndOfFile);
        assert_eq!(parse(&[0; 3], 0, Expected::Legacy), Parsed::Zeros);
        let mut long = whole.clone();
        long[4..6].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(matches!(parse(&long, 0, Expected::Legacy), Parsed::Bad { skip: None, .. }));
        let block = [1; BLOCK_BYTES];
        assert_eq!(parse(&block, BLOCK_BYTES - 6, Expected::Legacy), Parsed::Padding);
        assert_eq!(parse(&block, BLOCK_BYTES - 10, Expected::Recyclable(1)), Parsed::Padding);
    }
}
