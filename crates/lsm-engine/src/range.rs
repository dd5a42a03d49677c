//! Ranges of user keys as callers write them.
//!
//! Implemented one by one for the standard ranges: a blanket implementation over `RangeBounds` would
//! leave the key type open for `..`. Both ends must have one type, as Rust's own ranges demand.

use lsm_core::key::successor;
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A range of user keys: every standard range whose ends are bytes, `..`, and pairs of bounds.
///
/// An inverted range is empty to a reader. For a deletion it is an invalid argument, and an open end
/// covers every key that was put by a write which returned before the call.
///
/// ```
/// use lsm_engine::KeyRange;
/// fn takes(_range: impl KeyRange) {}
/// takes(..);
/// takes("a".."c");
/// takes(b"a"..b"c");
/// takes(vec![1_u8]..);
/// takes(..="c");
/// ```
pub trait KeyRange {
    /// Where the range begins.
    fn lower(&self) -> Bound<&[u8]>;

    /// Where it ends.
    fn upper(&self) -> Bound<&[u8]>;
}

macro_rules! key_range {
    ($($range:ty, $self:ident => $lower:expr, $upper:expr;)*) => {$(
        impl<K: AsRef<[u8]>> KeyRange for $range {
            fn lower(&$self) -> Bound<&[u8]> {
                $lower
            }

            fn upper(&$self) -> Bound<&[u8]> {
                $upper
            }
        }
    )*};
}

key_range! {
    Range<K>, self => Bound::Included(self.start.as_ref()), Bound::Excluded(self.end.as_ref());
    RangeInclusive<K>, self => Bound::Included(self.start().as_ref()), Bound::Included(self.end().as_ref());
    RangeFrom<K>, self => Bound::Included(self.start.as_ref()), Bound::Unbounded;
    RangeTo<K>, self => Bound::Unbounded, Bound::Excluded(self.end.as_ref());
    RangeToInclusive<K>, self => Bound::Unbounded, Bound::Included(self.end.as_ref());
    (Bound<K>, Bound<K>), self => self.0.as_ref().map(AsRef::as_ref), self.1.as_ref().map(AsRef::as_ref);
}

impl KeyRange for RangeFull {
    fn lower(&self) -> Bound<&[u8]> {
        Bound::Unbounded
    }

    fn upper(&self) -> Bound<&[u8]> {
        Bound::Unbounded
    }
}

impl<R: KeyRange + ?Sized> KeyRange for &R {
    fn lower(&self) -> Bound<&[u8]> {
        (**self).lower()
    }

    fn upper(&self) -> Bound<&[u8]> {
        (**self).upper()
    }
}

/// First key of `range`, if it has one.
pub(crate) fn first_key(range: &impl KeyRange) -> Option<Vec<u8>> {
    match range.lower() {
        Bound::Included(key) => Some(key.to_vec()),
        Bound::Excluded(key) => Some(successor(key)),
        Bound::Unbounded => None,
    }
}

/// First key behind `range`, if it has an end.
pub(crate) fn end_key(range: &impl KeyRange) -> Option<Vec<u8>> {
    match range.upper() {
        Bound::Included(key) => Some(successor(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
        Bound::Unbounded => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(range: impl KeyRange) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (first_key(&range), end_key(&range))
    }

    #[test]
    fn every_range_has_half_open_ends() {
        let (a, c) = (Some(b"a".to_vec()), Some(b"c".to_vec()));
        let behind_c = Some(b"c\0".to_vec());
        assert_eq!(ends(..), (None, None));
        assert_eq!(ends("a".."c"), (a.clone(), c.clone()));
        assert_eq!(ends(b"a"..=b"c"), (a.clone(), behind_c.clone()));
        assert_eq!(ends("a".to_owned()..), (a.clone(), None));
        assert_eq!(ends(..b"c".to_vec()), (None, c.clone()));
        assert_eq!(ends(..="c"), (None, behind_c.clone()));
        assert_eq!(ends(&("a".."c")), (a.clone(), c));
        assert_eq!(ends((Bound::Excluded("a"), Bound::Included("c"))), (Some(b"a\0".to_vec()), behind_c));
    }
}
