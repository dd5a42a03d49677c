//! A link to an entry or a node, which also tells how its key begins.
//!
//! ```text
//! 63            32 31             0
//! ┌───────────────┬────────────────┐
//! │ key prefix    │ position       │   position 0: nothing, and then the prefix is all ones
//! └───────────────┴────────────────┘
//! ```
//!
//! The key of a node is that of its anchor. Most comparisons of a search end at the prefix, without touching
//! the entry: that saves a cache miss each. The prefix is the first four bytes of the user key behind what all
//! keys are expected to share.
//!
//! # Invariants
//! L1. Prefixes never contradict the keys: prefix(a) < prefix(b) implies a < b. Equal prefixes say nothing.

use std::marker::PhantomData;

use crate::at::At;

/// Where a `T` is and how its key begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link<T>(u64, PhantomData<T>);

impl<T: Copy> Link<T> {
    /// The end of a list. Its prefix is the largest, so that a search stops before it by L1.
    pub(crate) const NULL: Link<T> = Link((u32::MAX as u64) << 32, PhantomData);

    #[inline]
    pub(crate) fn new(prefix: u32, at: At<T>) -> Link<T> {
        Link((u64::from(prefix) << 32) | u64::from(at.units()), PhantomData)
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Link<T> {
        Link(bits, PhantomData)
    }

    #[inline]
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn prefix(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn at(self) -> Option<At<T>> {
        At::from_units(self.0 as u32)
    }
}

/// The prefix of `user_key` in a list whose keys are expected to start with `common`.
///
/// Keys that do not start so get the smallest or the largest prefix, whichever side they are on (L1).
#[inline]
pub(crate) fn prefix_of(user_key: &[u8], common: &[u8]) -> u32 {
    match user_key.strip_prefix(common) {
        Some(rest) => leading_bytes(rest),
        None if user_key < common => 0,
        None => u32::MAX,
    }
}

/// The first four bytes, zeros for missing ones, as a number that orders as they do.
#[inline]
fn leading_bytes(bytes: &[u8]) -> u32 {
    match bytes.first_chunk::<4>() {
        Some(first) => u32::from_be_bytes(*first),
        None => {
            let mut padded = [0; 4];
            padded[..bytes.len()].copy_from_slice(bytes);
            u32::from_be_bytes(padded)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn prefixes_never_contradict_the_keys(a: Vec<u8>, b: Vec<u8>, common: Vec<u8>) -> bool {
            // Covers L1; half of the keys get the common part.
            let common = &common[..common.len().min(2)];
            [false, true].iter().all(|&a_has| [false, true].iter().all(|&b_has| {
                let key = |has: bool, key: &[u8]| if has { [common, key].concat() } else { key.to_vec() };
                let (a, b) = (key(a_has, &a), key(b_has, &b));
                prefix_of(&a, common) >= prefix_of(&b, common) || a < b
            }))
        }
    }

    #[test]
    fn keys_outside_the_common_prefix_are_clamped() {
        assert_eq!(prefix_of(b"user1", b"user"), u32::from_be_bytes(*b"1\0\0\0"));
        assert_eq!(prefix_of(b"user", b"user"), 0);
        assert_eq!(prefix_of(b"use", b"user"), 0);
        assert_eq!(prefix_of(b"", b"user"), 0);
        assert_eq!(prefix_of(b"v", b"user"), u32::MAX);
    }
}
