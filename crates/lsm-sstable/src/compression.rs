//! The codecs of blocks: what RocksDB may have written is read, LZ4 and ZSTD are written.
//!
//! A compressed payload starts with its size before compression as a varint32; only Snappy's own format
//! carries that already. Deflate streams are raw (no zlib header).
//!
//! # Invariants
//! Z1. Nothing is allocated that the stored bytes could not possibly expand to, nor more than the
//!     caller's cap: a small hostile block does not become a large allocation.
//! Z2. A payload decompresses to exactly the size that it declares, or is refused.
//! Z3. Memory that the system refuses is an error, not an abort.

use std::cell::RefCell;

use lsm_core::coding::{Decoder, put_varint32};
use lsm_core::{Error, Result};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, inflate_flags};
use zstd::zstd_safe::{DCtx, DDict};

/// How blocks are compressed when they are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: fast both ways.
    #[default]
    Lz4,
    /// ZSTD: smaller and slower; each level costs more time for less space (3 is RocksDB's default).
    Zstd {
        /// ZSTD's level, 1 to 22.
        level: i32,
    },
}

impl Compression {
    /// The name in the property `rocksdb.compression`, which must be truthful: RocksDB installs the
    /// decompressor by it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::None => "NoCompression",
            Compression::Lz4 => "LZ4",
            Compression::Zstd { .. } => "ZSTD",
        }
    }
}

/// The type byte of a block that is stored as it is.
pub const STORED: u8 = 0;
const SNAPPY: u8 = 1;
const ZLIB: u8 = 2;
const LZ4: u8 = 4;
const LZ4HC: u8 = 5;
const ZSTD: u8 = 7;

/// Compresses block after block, reusing its memory.
pub(crate) enum Compressor {
    None,
    Lz4 { out: Vec<u8> },
    Zstd { context: Box<zstd::bulk::Compressor<'static>>, body: Vec<u8>, out: Vec<u8> },
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Result<Compressor> {
        Ok(match compression {
            Compression::None => Compressor::None,
            Compression::Lz4 => Compressor::Lz4 { out: Vec::new() },
            Compression::Zstd { level } => {
                let context = zstd::bulk::Compressor::new(level)
                    .map_err(|error| Error::invalid_argument(format!("zstd level {level}: {error}")))?;
                Compressor::Zstd { context: Box::new(context), body: Vec::new(), out: Vec::new() }
            }
        })
    }

    /// The compressed payload and its type, or `payload` itself where compression saves less than an eighth.
    pub(crate) fn compress<'a>(&'a mut self, payload: &'a [u8]) -> (&'a [u8], u8) {
        let Ok(raw_bytes) = u32::try_from(payload.len()) else { return (payload, STORED) };
        let packed = match self {
            Compressor::None => None,
            Compressor::Lz4 { out } => compress_lz4(payload, raw_bytes, out).map(|packed| (packed, LZ4)),
            Compressor::Zstd { context, body, out } => {
                compress_zstd(context, payload, raw_bytes, body, out).map(|packed| (packed, ZSTD))
            }
        };
        packed.filter(|(packed, _)| packed.len() < payload.len() - payload.len() / 8).unwrap_or((payload, STORED))
    }
}

fn compress_lz4<'a>(payload: &[u8], raw_bytes: u32, out: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let room = lz4::block::compress_bound(payload.len()).ok()?;
    out.clear();
    put_varint32(out, raw_bytes);
    let start = out.len();
    out.resize(start + room, 0);
    let bytes = lz4::block::compress_to_buffer(payload, None, false, &mut out[start..]).ok()?;
    Some(&out[..start + bytes])
}

fn compress_zstd<'a>(
    context: &mut zstd::bulk::Compressor<'static>,
    payload: &[u8],
    raw_bytes: u32,
    body: &mut Vec<u8>,
    out: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    body.clear();
    body.reserve(zstd::compress_bound(payload.len()));
    context.compress_to_buffer(payload, body).ok()?;
    out.clear();
    put_varint32(out, raw_bytes);
    out.extend_from_slice(body);
    Some(out)
}

/// A table's dictionary, made ready once.
pub(crate) struct Dictionary {
    bytes: Vec<u8>,
    /// `None` for bytes that look like a trained dictionary and are none. Only ZSTD minds.
    zstd: Option<DDict<'static>>,
}

impl Dictionary {
    pub(crate) fn new(bytes: Vec<u8>) -> Dictionary {
        Dictionary { zstd: DDict::try_create(&bytes), bytes }
    }
}

thread_local! {
    /// A ZSTD context has some hundred KiB; one for each thread that reads serves all tables.
    static ZSTD_CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Undoes the compression of a block of type `kind`; at most `cap` bytes come out (Z1).
pub(crate) fn decompress(kind: u8, stored: &[u8], dictionary: Option<&Dictionary>, cap: u64) -> Result<Vec<u8>> {
    let (raw_bytes, body) = match kind {
        SNAPPY => (snap::raw::decompress_len(stored).ok().map(|bytes| bytes as u64), stored),
        ZLIB | LZ4 | LZ4HC | ZSTD => {
            let mut decoder = Decoder::new(stored);
            (decoder.varint32().map(u64::from), decoder.rest())
        }
        _ => return Err(Error::unsupported(describe(kind))),
    };
    let raw_bytes = raw_bytes.ok_or_else(|| Error::corruption("compressed block without a size"))?;
    let possible = expansion_max(kind).saturating_mul(body.len() as u64).saturating_add(64);
    if raw_bytes > cap.min(possible) {
        return Err(Error::corruption(format!(
            "compressed block of {} bytes declares {raw_bytes} bytes, at most {} are possible here",
            stored.len(),
            cap.min(possible)
        )));
    }
    let raw_bytes = raw_bytes as usize;
    let room = room_for(raw_bytes)?;
    let raw = match kind {
        SNAPPY => decompress_snappy(body, raw_bytes, room),
        ZLIB => decompress_deflate(body, raw_bytes, room, dictionary),
        LZ4 | LZ4HC => decompress_lz4(body, raw_bytes, room, dictionary),
        _ => decompress_zstd(body, room, dictionary),
    };
    raw.filter(|raw| raw.len() == raw_bytes) // Z2
        .ok_or_else(|| Error::corruption(format!("{} does not decompress to {raw_bytes} bytes", describe(kind))))
}

fn describe(kind: u8) -> String {
    match kind {
        SNAPPY => "snappy block".into(),
        ZLIB => "zlib block".into(),
        3 => "bzip2 compression".into(),
        LZ4 | LZ4HC => "lz4 block".into(),
        6 => "xpress compression".into(),
        ZSTD => "zstd block".into(),
        0x80.. => format!("custom compression {kind:#04x}"),
        _ => format!("compression of type {kind:#04x}"),
    }
}

/// Most bytes that one stored byte can become.
fn expansion_max(kind: u8) -> u64 {
    match kind {
        SNAPPY => 64,       // a two-byte copy element gives up to 64 bytes
        ZLIB => 1032,       // a two-bit match gives up to 258 bytes
        LZ4 | LZ4HC => 255, // a length byte adds 255 bytes
        _ => 128 << 10,     // a block of one repeated byte
    }
}

/// Sizes of blocks differ by a few bytes. Rounded up, one can take the place of another; as they are, 3 MiB were left
/// in holes beside a cache of 8.
const ROOM_BYTES: usize = 128;

/// An empty buffer with room for `bytes` bytes, and perhaps some more (Z3).
pub(crate) fn room_for(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(bytes.next_multiple_of(ROOM_BYTES))
        .map_err(|_| Error::io("make room for a block of", "", std::io::ErrorKind::OutOfMemory.into()))?;
    Ok(room)
}

fn decompress_snappy(body: &[u8], raw_bytes: usize, mut raw: Vec<u8>) -> Option<Vec<u8>> {
    raw.resize(raw_bytes, 0);
    let bytes = snap::raw::Decoder::new().decompress(body, &mut raw).ok()?;
    raw.truncate(bytes);
    Some(raw)
}

fn decompress_deflate(
    body: &[u8],
    raw_bytes: usize,
    mut raw: Vec<u8>,
    dictionary: Option<&Dictionary>,
) -> Option<Vec<u8>> {
    // Matches may reach back into the dictionary, so it stands in front of the output.
    let dictionary = dictionary.map_or(&[][..], |dictionary| &dictionary.bytes);
    raw.extend_from_slice(dictionary);
    raw.resize(dictionary.len() + raw_bytes, 0);
    let mut state = Box::<DecompressorOxide>::default();
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, bytes) =
        miniz_oxide::inflate::core::decompress(&mut state, body, &mut raw, dictionary.len(), flags);
    raw.truncate(dictionary.len() + bytes);
    raw.drain(..dictionary.len());
    (status == TINFLStatus::Done).then_some(raw)
}

fn decompress_lz4(body: &[u8], raw_bytes: usize, mut raw: Vec<u8>, dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    raw.resize(raw_bytes, 0);
    let bytes = match dictionary {
        Some(dictionary) => lz4_flex::block::decompress_into_with_dict(body, &mut raw, &dictionary.bytes).ok()?,
        // The library takes the length for an i32 unseen.
        None if i32::try_from(body.len()).is_err() => return None,
        None => lz4::block::decompress_to_buffer(body, Some(i32::try_from(raw_bytes).ok()?), &mut raw).ok()?,
    };
    raw.truncate(bytes);
    Some(raw)
}

fn decompress_zstd(body: &[u8], mut raw: Vec<u8>, dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    ZSTD_CONTEXT.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(DCtx::create);
        match dictionary {
            Some(dictionary) => context.decompress_using_ddict(&mut raw, body, dictionary.zstd.as_ref()?),
            None => context.decompress(&mut raw, body),
        }
        .ok()?;
        Some(raw)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn round_trip(compression: Compression, payload: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(compression).unwrap();
        match compressor.compress(payload) {
            (stored, STORED) => stored.to_vec(),
            (packed, kind) => decompress(kind, packed, None, payload.len() as u64).unwrap(),
        }
    }

    quickcheck! {
        fn what_was_compressed_comes_back(words: Vec<u8>, repeat: u8) -> bool {
            let payload = words.repeat(usize::from(repeat));
            [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }]
                .into_iter()
                .all(|compression| round_trip(compression, &payload) == payload)
        }

        fn hostile_bytes_are_refused_without_a_panic(kind: u8, bytes: Vec<u8>) -> bool {
            let _ = decompress(kind % 9, &bytes, None, 1 << 16);
            let dictionary = Dictionary::new(b"some dictionary".to_vec());
            let _ = decompress(kind % 9, &bytes, Some(&dictionary), 1 << 16);
            true
        }
    }

    #[test]
    fn all_codecs_are_read() {
        let payload = b"payload ".repeat(100);
        let deflated = miniz_oxide::deflate::compress_to_vec(&payload, 6);
        let snappy = snap::raw::Encoder::new().compress_vec(&payload).unwrap();
        let mut prefixed = Vec::new();
        put_varint32(&mut prefixed, payload.len() as u32);
        let with_size = |body: &[u8]| [prefixed.clone(), body.to_vec()].concat();
        let lz4 = with_size(&lz4_flex::block::compress(&payload));
        for (kind, stored) in [(SNAPPY, snappy), (ZLIB, with_size(&deflated)), (LZ4, lz4.clone()), (LZ4HC, lz4)] {
            assert_eq!(decompress(kind, &stored, None, 800).unwrap(), payload);
            assert!(decompress(kind, &stored, None, 799).unwrap_err().is_corruption());
        }
    }

    #[test]
    fn dictionaries_stand_before_the_block() {
        let dictionary_bytes = b"the quick brown fox jumps over the lazy dog".to_vec();
        let payload = b"the quick brown fox jumps over the lazy dog twice";
        let dictionary = Dictionary::new(dictionary_bytes.clone());
        let mut prefix = Vec::new();
        put_varint32(&mut prefix, payload.len() as u32);
        let lz4 = lz4_flex::block::compress_with_dict(payload, &dictionary_bytes);
        let zstd = zstd::bulk::Compressor::with_dictionary(3, &dictionary_bytes).unwrap().compress(payload).unwrap();
        for (kind, body) in [(LZ4, lz4), (ZSTD, zstd)] {
            let stored = [prefix.clone(), body].concat();
            assert_eq!(decompress(kind, &stored, Some(&dictionary), 100).unwrap(), payload);
        }
    }

    /// A dictionary block that had the mark of a trained dictionary and nothing of the rest made opening panic.
    #[test]
    fn a_dictionary_that_zstd_refuses_is_corruption_for_zstd_alone() {
        let bytes = [&0xec30_a437_u32.to_le_bytes()[..], &[0xff; 60]].concat();
        let dictionary = Dictionary::new(bytes.clone());
        let payload = [0xff; 40];
        let mut prefix = Vec::new();
        put_varint32(&mut prefix, payload.len() as u32);
        let lz4 = [prefix.clone(), lz4_flex::block::compress_with_dict(&payload, &bytes)].concat();
        assert_eq!(decompress(LZ4, &lz4, Some(&dictionary), 100).unwrap(), payload);
        let zstd = [prefix, zstd::bulk::compress(&payload, 3).unwrap()].concat();
        assert_eq!(decompress(ZSTD, &zstd, None, 100).unwrap(), payload);
        assert!(decompress(ZSTD, &zstd, Some(&dictionary), 100).unwrap_err().is_corruption());
    }

    #[test]
    fn memory_that_there_is_not_is_an_error() {
        // Covers Z3.
        assert!(matches!(room_for(isize::MAX as usize), Err(Error::Io { .. })));
        assert_eq!(room_for(100).unwrap().capacity(), ROOM_BYTES);
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_allocated() {
        // Covers Z1: five bytes cannot become 200 MiB under LZ4, whatever the cap.
        let mut stored = Vec::new();
        put_varint32(&mut stored, 200 << 20);
        stored.extend_from_slice(&[0xff; 5]);
        let error = decompress(LZ4, &stored, None, u64::MAX).unwrap_err();
        assert!(error.to_string().contains("at most 1339"), "{error}");
    }

    #[test]
    fn unknown_codecs_are_named() {
        for (kind, name) in [(3, "bzip2"), (6, "xpress"), (0x85, "custom"), (9, "0x09")] {
            let error = decompress(kind, b"", None, 0).unwrap_err();
            assert!(matches!(&error, Error::Unsupported { .. }) && error.to_string().contains(name), "{error}");
        }
    }
}
