//! A link to an entry or a node, which also tells how its key begins.
//!
//! ```text
//! 63            32 31             0
//! ┌───────────────┬────────────────┐
//! │ key prefix    │ position       │   position 0: nothing, and then the prefix is all ones
//! └───────────────┴────────────────┘
//! ```
//!
//! The key of a node is that of its anchor. Most comparisons of a search end at the prefix ([`crate::shape`]), without
//! touching the entry: that saves a cache miss each.

use std::marker::PhantomData;

use crate::at::At;

/// Where a `T` is and how its key begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link<T>(u64, PhantomData<T>);

impl<T: Copy> Link<T> {
    /// The end of a list. Its prefix is the largest, so that a search stops before it (K1).
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
