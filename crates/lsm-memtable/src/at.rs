//! Where something lies in an arena: a position that knows of what.
//!
//! # Invariants
//! P1. An [`At`] stands for a whole entry, node or leaf. It is made where one is filled ([`crate::entry`],
//!     [`crate::index`]), and read back only from words that such a place was written to.

use std::marker::PhantomData;
use std::num::NonZeroU32;

use crate::arena::UNIT_BYTES;

/// A key, its sequence number and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {}

/// An anchor, the way to its leaf, and links to nodes behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Node {}

/// Links to a few entries, and their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaf {}

/// Position of a `T` in its arena, in units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct At<T> {
    units: NonZeroU32,
    of: PhantomData<T>,
}

impl<T> At<T> {
    /// `None` for 0, which stands for nothing.
    #[inline]
    pub(crate) fn from_units(units: u32) -> Option<At<T>> {
        NonZeroU32::new(units).map(|units| At { units, of: PhantomData })
    }

    /// At this byte, a multiple of the unit.
    #[inline]
    pub(crate) fn from_byte(byte: usize) -> At<T> {
        debug_assert_eq!(byte % UNIT_BYTES, 0, "positions count units");
        let units = u32::try_from(byte / UNIT_BYTES).expect("A6: positions fit 31 bits");
        At::from_units(units).expect("A6: position 0 is never handed out")
    }

    #[inline]
    pub(crate) fn units(self) -> u32 {
        self.units.get()
    }

    #[inline]
    pub(crate) fn byte(self) -> usize {
        self.units.get() as usize * UNIT_BYTES
    }
}
