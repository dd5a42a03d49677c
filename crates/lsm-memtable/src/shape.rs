//! What keys look like, so that the four bytes that a link has for them tell as much as they can.
//!
//! Behind what all keys start with, a prefix is the next four bytes of a key. Of decimal numbers those are four digits,
//! which tell ten thousand keys apart where they could tell four billion. So for keys of few characters the prefix is a
//! number with a digit for each of up to eight characters, in a base just large enough.
//!
//! # Invariants
//! K1. Prefixes never contradict the keys: prefix(a) < prefix(b) implies a < b. Equal prefixes say nothing. A key ends with
//!     a digit below those of all characters; one outside the alphabet has the lowest or highest digit from there on.

use std::ops::RangeInclusive;

use lsm_core::key::{common_prefix, leading_bytes, number_behind};

/// Characters that keys are often made of, small sets first.
const ALPHABETS: [RangeInclusive<u8>; 5] = [b'0'..=b'9', b'a'..=b'z', b'A'..=b'Z', b'0'..=b'F', b'-'..=b'z'];

/// A number of more characters would have less than four bits for each.
const CHARACTERS_MAX: u32 = 8;

/// What most keys of a memtable are expected to look like. Any other key is fine too, and any shape gives the same
/// results; with a good one a search compares fewer whole keys.
///
/// ```
/// use std::sync::Arc;
/// use lsm_memtable::{KeyShape, Memtable};
///
/// let shape = KeyShape::of(["user0017", "user0042"].map(str::as_bytes));
/// let memtable = Memtable::expecting(Box::new(vec![0; 1 << 20]), &shape);
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyShape {
    common: Box<[u8]>,
    alphabet: Option<Alphabet>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Alphabet {
    low: u8,
    high: u8,
    /// Two digits more than characters: one below and one above all.
    base: u32,
    /// How many characters a prefix tells of.
    characters: usize,
}

impl KeyShape {
    /// The shape of keys of which these are some.
    pub fn of<'k>(keys: impl IntoIterator<Item = &'k [u8]>) -> KeyShape {
        let keys: Vec<&[u8]> = keys.into_iter().collect();
        let Some((first, others)) = keys.split_first() else { return KeyShape::default() };
        let shared = others.iter().map(|other| common_prefix(first, other)).min();
        let common = &first[..shared.unwrap_or(first.len())];
        let told = |key: &'k [u8]| key[common.len()..].iter().take(CHARACTERS_MAX as usize);
        let alphabet = Alphabet::with(keys.into_iter().flat_map(told));
        KeyShape { common: common.into(), alphabet }
    }

    /// The first four bytes of a key, so to speak (K1).
    ///
    /// Keys that do not start as expected get the smallest or the largest prefix, whichever side they are on.
    #[inline]
    pub(crate) fn prefix(&self, user_key: &[u8]) -> u32 {
        let number = |rest: &[u8]| match &self.alphabet {
            None => leading_bytes(rest) >> 32,
            Some(alphabet) => u64::from(alphabet.number(rest)),
        };
        number_behind(&self.common, user_key, number) as u32
    }
}

impl Alphabet {
    /// The smallest alphabet with all these characters, if there is one.
    fn with<'k>(characters: impl Iterator<Item = &'k u8> + Clone) -> Option<Alphabet> {
        let (low, high) = (*characters.clone().min()?, *characters.max()?);
        let known = ALPHABETS.into_iter().find(|known| known.contains(&low) && known.contains(&high))?;
        let (low, high) = known.into_inner();
        let base = u32::from(high - low) + 3;
        let characters = (1..=CHARACTERS_MAX).rev().find(|&count| u64::from(base).pow(count) <= 1 << u32::BITS)?;
        Some(Alphabet { low, high, base, characters: characters as usize })
    }

    /// The number that the first characters of a key make.
    #[inline]
    fn number(&self, key: &[u8]) -> u32 {
        let mut number = 0;
        let mut beyond = None;
        for at in 0..self.characters {
            let digit = match (beyond, key.get(at)) {
                (Some(digit), _) => digit,
                (None, Some(&byte)) if self.low <= byte && byte <= self.high => u32::from(byte - self.low) + 1,
                (None, Some(&byte)) if self.high < byte => *beyond.insert(self.base - 1),
                (None, _) => *beyond.insert(0),
            };
            number = number * self.base + digit;
        }
        number
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// Keys that are likely to be of this shape, or just outside of it.
    fn key_near(shape: &KeyShape, has_common: bool, bytes: &[u8]) -> Vec<u8> {
        let character = |byte: &u8| match &shape.alphabet {
            Some(alphabet) => alphabet.low - 1 + byte % (alphabet.high - alphabet.low + 3),
            None => *byte,
        };
        let rest: Vec<u8> = bytes.iter().map(character).collect();
        if has_common { [&*shape.common, &rest].concat() } else { bytes.to_vec() }
    }

    quickcheck! {
        fn prefixes_never_contradict_the_keys(a: (bool, Vec<u8>), b: (bool, Vec<u8>), which: usize, others: bool) -> bool {
            // Covers K1, also of keys with a character in the place of the one that differs first.
            let samples: [&[&[u8]]; 6] = [
                &[], &[b"k\x01", b"k\xff"], &[b"user1", b"user29"], &[b"", b"z"], &[b"id-A", b"id-0"], &[b"no-a/b", b"no-Z"],
            ];
            let shape = KeyShape::of(samples[which % 6].iter().copied());
            let (a, mut b) = (key_near(&shape, a.0, &a.1), key_near(&shape, b.0, &b.1));
            if others {
                b.splice(..b.len().min(a.len() / 2), a[..a.len() / 2].iter().copied());
            }
            let ordered = |a: &[u8], b: &[u8]| shape.prefix(a) >= shape.prefix(b) || a < b;
            ordered(&a, &b) && ordered(&b, &a)
        }
    }

    #[test]
    fn keys_outside_the_common_prefix_are_clamped() {
        let shape = KeyShape::of([b"user\0".as_slice(), b"user\xff"]);
        assert_eq!(shape.prefix(b"user1"), u32::from_be_bytes(*b"1\0\0\0"));
        assert_eq!(shape.prefix(b"user"), 0);
        assert_eq!(shape.prefix(b"use"), 0);
        assert_eq!(shape.prefix(b""), 0);
        assert_eq!(shape.prefix(b"v"), u32::MAX);
    }

    #[test]
    fn a_prefix_tells_of_more_characters_where_they_are_few() {
        let told = |samples: &[&[u8]]| {
            let shape = KeyShape::of(samples.iter().copied());
            (shape.common.len(), shape.alphabet.map(|alphabet| alphabet.characters))
        };
        assert_eq!(told(&[b"user0012345", b"user0098765"]), (6, Some(8)));
        assert_eq!(told(&[b"ada", b"zoe"]), (0, Some(6)));
        assert_eq!(told(&[b"0F", b"A7"]), (0, Some(6)));
        assert_eq!(told(&[b"3f9-a", b"e07-0"]), (0, Some(5)));
        assert_eq!(told(&[b"3f9 a", b"e07 0"]), (0, None));
        let shape = KeyShape::of([b"k0".as_slice(), b"k9"]);
        assert!(shape.prefix(b"k12345678") < shape.prefix(b"k12345679"));
        assert!(shape.prefix(b"k1") < shape.prefix(b"k10"));
        assert_eq!(shape.prefix(b"k:"), shape.prefix(b"k;"));
    }
}
