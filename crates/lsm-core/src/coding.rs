//! Integers and lengths as RocksDB writes them, and a decoder for bytes that may be hostile.
//!
//! Fixed-width integers are little-endian; `varint` is LEB128; a length-prefixed string is a
//! varint32 length followed by its bytes (LevelDB `util/coding.h`).
//!
//! [`Decoder`] never reads past the end, never allocates, and answers `None` instead of panicking:
//! its callers turn that into a corruption error that names the file and the field.

use byteorder::{ByteOrder, LittleEndian};

/// Longest varint64 in bytes.
pub const VARINT64_BYTES_MAX: usize = 10;

/// Longest varint32 in bytes.
pub const VARINT32_BYTES_MAX: usize = 5;

/// Appends `value` as four bytes.
pub fn put_fixed32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends `value` as eight bytes.
pub fn put_fixed64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends `value` as one to five bytes.
pub fn put_varint32(out: &mut Vec<u8>, value: u32) {
    put_varint64(out, u64::from(value));
}

/// Appends `value` as one to ten bytes.
pub fn put_varint64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` zigzag-coded, so that small negative numbers stay short.
pub fn put_varsigned64(out: &mut Vec<u8>, value: i64) {
    put_varint64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends the length of `bytes` and `bytes`.
///
/// # Panics
/// When `bytes` is 4 GiB or longer.
#[expect(clippy::expect_used, reason = "what is written, not what is read")]
pub fn put_length_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint32(out, u32::try_from(bytes.len()).expect("a length fits 32 bits"));
    out.extend_from_slice(bytes);
}

/// Bytes that `value` takes as a varint.
pub const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads fields from the front of bytes that may be damaged.
///
/// ```
/// use lsm_core::coding::{Decoder, put_length_prefixed, put_varint64};
/// let mut bytes = Vec::new();
/// put_varint64(&mut bytes, 300);
/// put_length_prefixed(&mut bytes, b"key");
/// let mut decoder = Decoder::new(&bytes);
/// assert_eq!(decoder.varint64(), Some(300));
/// assert_eq!(decoder.length_prefixed(), Some(b"key".as_slice()));
/// assert!(decoder.is_empty());
/// assert_eq!(decoder.fixed32(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Four bytes as an integer.
    pub fn fixed32(&mut self) -> Option<u32> {
        self.bytes(4).map(LittleEndian::read_u32)
    }

    /// Eight bytes as an integer.
    pub fn fixed64(&mut self) -> Option<u64> {
        self.bytes(8).map(LittleEndian::read_u64)
    }

    /// A varint that fits 32 bits.
    #[inline]
    pub fn varint32(&mut self) -> Option<u32> {
        u32::try_from(self.varint64()?).ok()
    }

    /// A varint that fits 64 bits; longer or cut ones are `None`.
    #[inline]
    pub fn varint64(&mut self) -> Option<u64> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Some(u64::from(first))
            }
            _ => self.long_varint64(),
        }
    }

    fn long_varint64(&mut self) -> Option<u64> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().enumerate().take(VARINT64_BYTES_MAX) {
            let bits = u64::from(byte & 0x7f);
            if index == VARINT64_BYTES_MAX - 1 && bits > 1 {
                return None;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Some(value);
            }
        }
        None
    }

    /// A zigzag-coded varint.
    pub fn varsigned64(&mut self) -> Option<i64> {
        let value = self.varint64()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A length and that many bytes.
    #[inline]
    pub fn length_prefixed(&mut self) -> Option<&'a [u8]> {
        let count = self.varint32()?;
        self.bytes(count as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn varints_read_back(value: u64, signed: i64) -> bool {
            let mut bytes = Vec::new();
            put_varint64(&mut bytes, value);
            let length_is_right = bytes.len() == varint_bytes(value);
            put_varsigned64(&mut bytes, signed);
            let mut decoder = Decoder::new(&bytes);
            length_is_right && decoder.varint64() == Some(value) && decoder.varsigned64() == Some(signed) && decoder.is_empty()
        }

        fn hostile_bytes_never_panic(bytes: Vec<u8>) -> bool {
            let mut decoder = Decoder::new(&bytes);
            while decoder.length_prefixed().is_some() || decoder.varint64().is_some() {}
            decoder.rest().len() <= bytes.len()
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Decoder::new(&[0xff; 11]).varint64(), None);
        assert_eq!(Decoder::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).varint32(), None);
        assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint32(), Some(u32::MAX));
        assert_eq!(Decoder::new(&[0x80]).varint64(), None);
        let mut longest = vec![0xff; 9];
        longest.push(1);
        assert_eq!(Decoder::new(&longest).varint64(), Some(u64::MAX));
        longest[9] = 2;
        assert_eq!(Decoder::new(&longest).varint64(), None);
    }
}
