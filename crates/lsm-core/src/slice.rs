//! Bytes handed to a user: short ones inline, long ones as a view into a shared buffer.
//!
//! A value read from a table block need not be copied: the [`Slice`] keeps the block alive instead.
//! That is the right trade for a short visit; whoever keeps many slices for long calls
//! [`Slice::detach`], or a few bytes keep 4 KiB alive.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Up to this many bytes live inside the slice itself.
pub const INLINE_BYTES_MAX: usize = 22;

/// Up to this many bytes that are copied stay in memory of their own: a clone copies them again, but there is no count of
/// owners to make room for.
const OWNED_BYTES_MAX: usize = 512;

/// Immutable bytes, cheap to clone, 24 bytes in size.
///
/// ```
/// use lsm_core::Slice;
/// let slice = Slice::from(b"value".as_slice());
/// assert_eq!(slice, b"value".as_slice());
/// assert_eq!(&slice[1..3], b"al");
/// ```
#[derive(Clone)]
pub struct Slice(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Owned(Box<[u8]>),
    Shared { offset: u32, len: u32, buffer: Arc<Vec<u8>> },
}

const _: () = assert!(size_of::<Slice>() == 24);

impl Slice {
    /// Copies `bytes`.
    ///
    /// # Panics
    /// When there are 4 GiB or more.
    #[expect(clippy::expect_used, reason = "no batch, block or merge result of 4 GiB gets this far")]
    pub fn copy_from(bytes: &[u8]) -> Slice {
        match Slice::inline(bytes) {
            Some(slice) => slice,
            None if bytes.len() <= OWNED_BYTES_MAX => Slice(Repr::Owned(bytes.into())),
            None => Slice(Repr::Shared {
                offset: 0,
                len: u32::try_from(bytes.len()).expect("values have at most 1 GiB"),
                buffer: Arc::new(bytes.to_vec()),
            }),
        }
    }

    /// Looks at `range` of `buffer`, which lives as long as the slice; short ranges are copied, and so are those that begin
    /// behind the first 4 GiB.
    ///
    /// # Panics
    /// When `range` lies outside `buffer`, or has 4 GiB or more.
    pub fn from_shared(buffer: &Arc<Vec<u8>>, range: Range<usize>) -> Slice {
        let bytes = &buffer[range.clone()];
        match (Slice::inline(bytes), u32::try_from(range.start), u32::try_from(range.len())) {
            (Some(slice), _, _) => slice,
            (None, Ok(offset), Ok(len)) => Slice(Repr::Shared { offset, len, buffer: Arc::clone(buffer) }),
            (None, _, _) => Slice::copy_from(bytes),
        }
    }

    /// A slice that shares no buffer with anyone.
    pub fn detach(&self) -> Slice {
        Slice::copy_from(self)
    }

    fn inline(source: &[u8]) -> Option<Slice> {
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        Some(Slice(Repr::Inline { len: source.len() as u8, bytes }))
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..*len as usize],
            Repr::Owned(bytes) => bytes,
            Repr::Shared { offset, len, buffer } => &buffer[*offset as usize..*offset as usize + *len as usize],
        }
    }
}

impl Default for Slice {
    fn default() -> Slice {
        Slice::copy_from(&[])
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Slice {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Slice {
    fn from(bytes: &[u8]) -> Slice {
        Slice::copy_from(bytes)
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Slice {
        match bytes.len() {
            len if len > OWNED_BYTES_MAX => Slice::from_shared(&Arc::new(bytes), 0..len),
            len if len > INLINE_BYTES_MAX => Slice(Repr::Owned(bytes.into())),
            _ => Slice::copy_from(&bytes),
        }
    }
}

impl From<Slice> for Vec<u8> {
    fn from(slice: Slice) -> Vec<u8> {
        slice.to_vec()
    }
}

#[cfg(feature = "bytes")]
impl From<Slice> for bytes::Bytes {
    /// Keeps the slice, and with it the buffer it may share, as long as the bytes live.
    fn from(slice: Slice) -> bytes::Bytes {
        bytes::Bytes::from_owner(slice)
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Slice) -> bool {
        **self == **other
    }
}

impl Eq for Slice {}

impl PartialOrd for Slice {
    fn partial_cmp(&self, other: &Slice) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slice {
    fn cmp(&self, other: &Slice) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Slice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

macro_rules! compare_with {
    ($($other:ty)*) => {$(
        impl PartialEq<$other> for Slice {
            fn eq(&self, other: &$other) -> bool {
                **self == *AsRef::<[u8]>::as_ref(other)
            }
        }

        impl PartialEq<Slice> for $other {
            fn eq(&self, other: &Slice) -> bool {
                other == self
            }
        }
    )*};
}

compare_with! { [u8] &[u8] Vec<u8> str &str }

impl<const N: usize> PartialEq<[u8; N]> for Slice {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Slice {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_reads_back() {
        for len in (0..100).chain(OWNED_BYTES_MAX - 2..OWNED_BYTES_MAX + 3) {
            let bytes: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            assert_eq!(Slice::copy_from(&bytes), bytes);
            assert_eq!(Slice::from(bytes.clone()), bytes);
            let buffer = Arc::new([vec![9; 5], bytes.clone(), vec![9; 5]].concat());
            let slice = Slice::from_shared(&buffer, 5..5 + bytes.len());
            assert_eq!(slice, bytes);
            assert_eq!(slice.detach(), slice.clone());
        }
    }

    #[cfg(feature = "bytes")]
    #[test]
    fn bytes_are_handed_over_without_a_copy() {
        for len in [100, 1000] {
            let slice = Slice::from(vec![7; len]);
            let address = slice.as_ptr();
            let bytes = bytes::Bytes::from(slice);
            assert_eq!((bytes.as_ptr(), bytes.len()), (address, len));
        }
    }

    #[test]
    fn long_slices_share_their_buffer_until_detached() {
        let buffer = Arc::new(vec![7; 100]);
        let slice = Slice::from_shared(&buffer, 10..90);
        assert_eq!(Arc::strong_count(&buffer), 2);
        let detached = slice.detach();
        drop(slice);
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert_eq!(detached, vec![7; 80]);
    }
}
