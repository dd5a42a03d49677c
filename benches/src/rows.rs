//! Keys and values, and the check of what is read.
//!
//! Keys are those of `db_bench`: a number of eight bytes, the most significant first, then eight times `0`; or, to see
//! what a long common prefix does, `user` and twenty digits. Row `i` has the number `2 i`; odd numbers are never
//! there. A value begins with its row's number; the rest is random and compresses to about a half. It is worked out, not cut
//! from a pool, which would wait for memory as long as the store does for its own.

use std::hint::black_box;

use anyhow::{Result, ensure};

/// The shape of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum KeyShape {
    /// Sixteen bytes that differ early.
    Number,
    /// Twenty-four bytes that differ late.
    User,
}

/// A key, on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    bytes: [u8; 24],
    length: usize,
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Makes keys and values.
#[derive(Clone)]
pub(crate) struct Rows {
    shape: KeyShape,
    value_bytes: usize,
}

/// Random bytes, which come twice: what `db_bench` calls a compression ratio of a half.
const HALF_BYTES: usize = 50;

impl Rows {
    pub(crate) fn new(shape: KeyShape, value_bytes: usize) -> Rows {
        Rows { shape, value_bytes: value_bytes.max(8) }
    }

    pub(crate) fn shape(&self) -> KeyShape {
        self.shape
    }

    /// The key of a row that may be there.
    pub(crate) fn key(&self, row: u64) -> Key {
        self.of_number(2 * row)
    }

    /// A key between two rows, which is never there.
    pub(crate) fn absent(&self, row: u64) -> Key {
        self.of_number(2 * row + 1)
    }

    fn of_number(&self, mut number: u64) -> Key {
        let mut bytes = [b'0'; 24];
        match self.shape {
            KeyShape::Number => {
                bytes[..8].copy_from_slice(&number.to_be_bytes());
                Key { bytes, length: 16 }
            }
            KeyShape::User => {
                bytes[..4].copy_from_slice(b"user");
                for digit in bytes[4..].iter_mut().rev() {
                    *digit = b'0' + (number % 10) as u8;
                    number /= 10;
                }
                Key { bytes, length: 24 }
            }
        }
    }

    /// Writes the value of a row into `value`. `salt` tells versions apart.
    pub(crate) fn value(&self, row: u64, salt: u64, value: &mut Vec<u8>) {
        let mut random = fastrand::Rng::with_seed(row ^ salt.rotate_left(17));
        value.clear();
        while value.len() < self.value_bytes {
            let words: [[u8; 8]; HALF_BYTES.div_ceil(8)] = std::array::from_fn(|_| random.u64(..).to_le_bytes());
            let half = &words.as_flattened()[..HALF_BYTES];
            value.extend_from_slice(half);
            value.extend_from_slice(half);
        }
        value.truncate(self.value_bytes);
        value[..8].copy_from_slice(&(2 * row).to_be_bytes());
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.value_bytes + self.key(0).as_ref().len()
    }
}

/// What was read: each row is checked, all of them added up.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
    wrong: u64,
}

impl Seen {
    /// Looks at a row: at the whole of its value, and whether the value belongs to the key.
    #[inline]
    pub(crate) fn see(&mut self, key: &[u8], value: &[u8]) {
        let number = match key {
            [b'u', b's', b'e', b'r', digits @ ..] => number_of(digits),
            _ => word(key),
        };
        self.wrong += u64::from(value.len() < 8 || word(value) != number);
        let (words, rest) = value.as_chunks::<8>();
        let sum = words.iter().fold(number, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        let sum = rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        self.sum = black_box(self.sum.wrapping_add(sum));
        self.rows += 1;
    }

    /// Fails if a row was wrong.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.wrong == 0, "{} of {} rows that were read are wrong", self.wrong, self.rows);
        Ok(())
    }
}

/// Reads decimal digits, eight at a time: twenty one by one took a third as long as a walk takes for a row.
fn number_of(digits: &[u8]) -> u64 {
    let (eights, rest) = digits.as_chunks::<8>();
    let number = eights.iter().fold(0u64, |number, eight| {
        let ones = u64::from_le_bytes(*eight) & 0x0f0f_0f0f_0f0f_0f0f;
        // Digits side by side become numbers of two, then of four, then of eight; the first digit is the lowest byte.
        let pairs = ones.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
        let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
        number.wrapping_mul(100_000_000).wrapping_add(fours.wrapping_mul(10_000 << 32 | 1) >> 32)
    });
    rest.iter().fold(number, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit & 15)))
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |word| u64::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_seen_as_right() {
        for shape in [KeyShape::Number, KeyShape::User] {
            let rows = Rows::new(shape, 100);
            let (mut seen, mut value) = (Seen::default(), Vec::new());
            for row in [0, 1, 77, 1 << 40] {
                rows.value(row, 3, &mut value);
                seen.see(rows.key(row).as_ref(), &value);
            }
            assert!(seen.check().is_ok());
            seen.see(rows.key(5).as_ref(), &value);
            assert!(seen.check().is_err());
        }
    }

    #[test]
    fn keys_are_in_the_order_of_their_rows() {
        for shape in [KeyShape::Number, KeyShape::User] {
            let rows = Rows::new(shape, 100);
            assert!(rows.key(9).as_ref() < rows.absent(9).as_ref());
            assert!(rows.absent(9).as_ref() < rows.key(10).as_ref());
        }
    }
}
