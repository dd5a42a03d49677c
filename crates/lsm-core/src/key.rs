//! Internal keys: a user key, the sequence number of its write, and what kind of write it was.
//!
//! ```text
//! ┌──────────────┬──────────────────────────────┐
//! │ user key     │ fixed64 (sequence << 8 | kind)│   the last 8 bytes are the *trailer*
//! └──────────────┴──────────────────────────────┘
//! ```
//!
//! Source of the layout: RocksDB `db/dbformat.h`. An encoded internal key travels as `&[u8]`; the
//! functions here take it apart.
//!
//! # Invariants
//! K1. Internal keys are ordered by user key bytewise ascending, then by trailer *descending*: of two
//!     writes to one key the newer one comes first.
//! K2. A sequence number has 56 bits.
//! K3. Every slice named `internal_key` has at least [`TRAILER_BYTES`] bytes; whoever reads keys
//!     from disk checks that with [`ParsedKey::parse`] before anyone else sees them.

use std::cmp::Ordering;
use std::fmt;

/// Bytes that an internal key adds to its user key.
pub const TRAILER_BYTES: usize = 8;

/// Longest user key in bytes that a store accepts (8 MiB).
pub const USER_KEY_BYTES_MAX: usize = 8 << 20;

/// Longest value in bytes that a store accepts (1 GiB).
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// The position of a write in the one order of all writes of a store.
///
/// Zero means "older than every write"; compaction gives it to entries that no reader can tell apart
/// from older ones any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Older than every write.
    pub const ZERO: SeqNo = SeqNo(0);
    /// The largest sequence number that fits the format (K2).
    pub const MAX: SeqNo = SeqNo((1 << 56) - 1);

    /// Wraps `value`, which must fit 56 bits.
    ///
    /// # Panics
    /// When `value` is larger than [`SeqNo::MAX`]; numbers from disk go through [`SeqNo::checked`].
    pub const fn new(value: u64) -> SeqNo {
        assert!(value <= SeqNo::MAX.0, "K2: a sequence number has 56 bits");
        SeqNo(value)
    }

    /// Wraps a number read from disk, or `None` if it has more than 56 bits.
    pub const fn checked(value: u64) -> Option<SeqNo> {
        if value <= SeqNo::MAX.0 { Some(SeqNo(value)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number `count` writes later.
    ///
    /// # Panics
    /// When the result has more than 56 bits.
    pub const fn plus(self, count: u64) -> SeqNo {
        SeqNo::new(self.0 + count)
    }
}

impl fmt::Debug for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Number of a column family; 0 is the default family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ColumnFamilyId(pub u32);

impl ColumnFamilyId {
    /// The family that exists in every store, named `default`.
    pub const DEFAULT: ColumnFamilyId = ColumnFamilyId(0);
}

/// What a write did to its key. The numbers are RocksDB's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The key was deleted.
    Deletion = 0x00,
    /// The key got a value.
    Value = 0x01,
    /// An operand for the store's merge operator was added.
    Merge = 0x02,
    /// The key, written exactly once before, was deleted.
    SingleDeletion = 0x07,
    /// All keys from this one up to an end key were deleted. Never among point entries.
    RangeDeletion = 0x0f,
}

impl Kind {
    /// Trailer byte that sorts before every real kind of the same sequence number.
    ///
    /// RocksDB seeks with its highest known kind (0x18); any byte not below it orders the same.
    pub const SEEK: u8 = 0x18;

    /// The kind with this number, or `None` for one that this store does not know.
    pub const fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            0x00 => Some(Kind::Deletion),
            0x01 => Some(Kind::Value),
            0x02 => Some(Kind::Merge),
            0x07 => Some(Kind::SingleDeletion),
            0x0f => Some(Kind::RangeDeletion),
            _ => None,
        }
    }

    /// What RocksDB calls a kind that this store refuses, for error messages.
    pub fn describe_byte(byte: u8) -> &'static str {
        match byte {
            0x00 => "deletion",
            0x01 => "value",
            0x02 => "merge operand",
            0x07 => "single deletion",
            0x0f => "range deletion",
            0x11 => "blob index (values in blob files)",
            0x14 => "deletion with timestamp",
            0x16 => "wide-column entity",
            0x18 => "value with preferred sequence number",
            _ => "unknown value type",
        }
    }
}

/// An encoded internal key that owns its bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct InternalKey(Vec<u8>);

impl InternalKey {
    /// Encodes `user_key`, `seq` and `kind`.
    ///
    /// ```
    /// use lsm_core::key::{InternalKey, Kind, SeqNo, user_key};
    /// let key = InternalKey::new(b"city", SeqNo::new(7), Kind::Value);
    /// assert_eq!(key.as_bytes(), b"city\x01\x07\0\0\0\0\0\0");
    /// assert_eq!(user_key(key.as_bytes()), b"city");
    /// ```
    pub fn new(user_key: &[u8], seq: SeqNo, kind: Kind) -> InternalKey {
        InternalKey::with_trailer(user_key, pack_trailer(seq, kind as u8))
    }

    /// The key that stands before every entry of `user_key` which a reader at `seq` may see.
    pub fn for_seek(user_key: &[u8], seq: SeqNo) -> InternalKey {
        InternalKey::with_trailer(user_key, pack_trailer(seq, Kind::SEEK))
    }

    /// The key that stands behind every entry of `user_key`.
    pub fn behind(user_key: &[u8]) -> InternalKey {
        InternalKey::with_trailer(user_key, 0)
    }

    /// The exclusive upper bound that a range tombstone ending at `user_key` gives its table.
    pub fn exclusive_end(user_key: &[u8]) -> InternalKey {
        InternalKey::new(user_key, SeqNo::MAX, Kind::RangeDeletion)
    }

    /// Takes over bytes that already are an internal key, or `None` if they are too short (K3).
    pub fn from_encoded(bytes: impl Into<Vec<u8>>) -> Option<InternalKey> {
        let bytes = bytes.into();
        (bytes.len() >= TRAILER_BYTES).then_some(InternalKey(bytes))
    }

    fn with_trailer(user_key: &[u8], trailer: u64) -> InternalKey {
        let mut bytes = Vec::with_capacity(user_key.len() + TRAILER_BYTES);
        bytes.extend_from_slice(user_key);
        bytes.extend_from_slice(&trailer.to_le_bytes());
        InternalKey(bytes)
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes before the trailer.
    pub fn user_key(&self) -> &[u8] {
        user_key(&self.0)
    }

    /// The sequence number.
    pub fn seq(&self) -> SeqNo {
        seq(&self.0)
    }

    /// Whether this is the exclusive bound of a range tombstone (see [`InternalKey::exclusive_end`]).
    pub fn is_exclusive_end(&self) -> bool {
        trailer(&self.0) == pack_trailer(SeqNo::MAX, Kind::RangeDeletion as u8)
    }
}

impl PartialOrd for InternalKey {
    fn partial_cmp(&self, other: &InternalKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InternalKey {
    fn cmp(&self, other: &InternalKey) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl fmt::Debug for InternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ParsedKey::parse(&self.0) {
            Some(parsed) => write!(f, "{parsed:?}"),
            None => write!(f, "{}@trailer {:016x}", self.user_key().escape_ascii(), trailer(&self.0)),
        }
    }
}

/// An internal key taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParsedKey<'a> {
    /// The bytes that the user wrote.
    pub user_key: &'a [u8],
    /// When.
    pub seq: SeqNo,
    /// What.
    pub kind: Kind,
}

impl<'a> ParsedKey<'a> {
    /// Takes `internal_key` apart; `None` if it is too short or of an unknown kind.
    pub fn parse(internal_key: &'a [u8]) -> Option<ParsedKey<'a>> {
        let split = internal_key.len().checked_sub(TRAILER_BYTES)?;
        let kind = Kind::from_byte(internal_key[split])?;
        Some(ParsedKey { user_key: &internal_key[..split], seq: seq(internal_key), kind })
    }
}

impl fmt::Debug for ParsedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}:{:?}", self.user_key.escape_ascii(), self.seq, self.kind)
    }
}

/// Joins a sequence number and a kind into a trailer.
pub const fn pack_trailer(seq: SeqNo, kind: u8) -> u64 {
    (seq.0 << 8) | kind as u64
}

/// The user key of an encoded internal key (K3).
#[inline]
pub fn user_key(internal_key: &[u8]) -> &[u8] {
    &internal_key[..internal_key.len() - TRAILER_BYTES]
}

/// The trailer of an encoded internal key (K3).
#[inline]
#[expect(clippy::expect_used, reason = "K3: whoever reads keys from disk has checked them")]
pub fn trailer(internal_key: &[u8]) -> u64 {
    let (_, last) = internal_key.split_last_chunk::<TRAILER_BYTES>().expect("K3: an internal key has a trailer");
    u64::from_le_bytes(*last)
}

/// The sequence number of an encoded internal key (K3).
#[inline]
pub fn seq(internal_key: &[u8]) -> SeqNo {
    SeqNo(trailer(internal_key) >> 8)
}

/// The kind byte of an encoded internal key (K3).
#[inline]
pub fn kind_byte(internal_key: &[u8]) -> u8 {
    internal_key[internal_key.len() - TRAILER_BYTES]
}

/// Orders encoded internal keys (K1).
#[inline]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    user_key(a).cmp(user_key(b)).then_with(|| trailer(b).cmp(&trailer(a)))
}

/// The shortest user key behind `key`: `key` with a zero byte.
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// The first eight bytes, zeros for missing ones, as a number: where two of them differ, the keys order as they do.
#[inline]
pub fn leading_bytes(user_key: &[u8]) -> u64 {
    match user_key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..user_key.len()].copy_from_slice(user_key);
            u64::from_be_bytes(padded)
        }
    }
}

/// How many bytes `a` and `b` begin with in common.
#[inline]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let limit = a.len().min(b.len());
    let mut at = 0;
    while let (Some(x), Some(y)) = (a[at..limit].first_chunk::<8>(), b[at..limit].first_chunk::<8>()) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return at + difference.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..limit].iter().zip(&b[at..limit]).take_while(|(x, y)| x == y).count()
}

/// The `number` of what a key has behind `common`, which most keys at hand start with. Others get zero or all ones, whichever
/// side of it they are on: if the numbers never contradict what lies behind, these never contradict the keys.
#[inline]
pub fn number_behind(common: &[u8], user_key: &[u8], number: impl FnOnce(&[u8]) -> u64) -> u64 {
    match user_key.strip_prefix(common) {
        // No call to compare nothing.
        _ if common.is_empty() => number(user_key),
        Some(rest) => number(rest),
        None if user_key < common => 0,
        None => u64::MAX,
    }
}

/// Whether two user keys, neighbours in order, are the same. Those that are not mostly differ in their last bytes; up to
/// sixteen bytes are compared without a call.
#[inline]
pub fn is_same_key(a: &[u8], b: &[u8]) -> bool {
    let ends = |key: &[u8]| key.first_chunk::<8>().copied().zip(key.last_chunk::<8>().copied());
    a.len() == b.len() && ends(a) == ends(b) && ((8..=16).contains(&a.len()) || a == b)
}

/// The shortest user key behind every key that starts with `prefix`, or `None` when there is none
/// (a prefix of nothing but 0xff bytes, or an empty one).
pub fn prefix_successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn common_prefixes_agree_with_a_byte_loop(shared: Vec<u8>, a: Vec<u8>, b: Vec<u8>) -> bool {
            let (a, b) = ([shared.clone(), a].concat(), [shared, b].concat());
            let naive = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            common_prefix(&a, &b) == naive
        }

        fn numbers_behind_what_is_common_never_contradict_the_keys(a: Vec<u8>, b: Vec<u8>, common: Vec<u8>) -> bool {
            let common = &common[..common.len().min(2)];
            [false, true].iter().all(|&a_has| [false, true].iter().all(|&b_has| {
                let key = |has: bool, key: &[u8]| if has { [common, key].concat() } else { key.to_vec() };
                let (a, b) = (key(a_has, &a), key(b_has, &b));
                number_behind(common, &a, leading_bytes) >= number_behind(common, &b, leading_bytes) || a < b
            }))
        }

        fn leading_bytes_never_contradict_the_keys(a: Vec<u8>, b: Vec<u8>) -> bool {
            let (a, b) = ([b"long".as_slice(), &a].concat(), [b"long".as_slice(), &b].concat());
            leading_bytes(&a) == leading_bytes(&b) || (leading_bytes(&a) < leading_bytes(&b)) == (a < b)
        }
    }

    #[test]
    fn newer_writes_of_a_key_come_first() {
        // Covers K1.
        let old = InternalKey::new(b"k", SeqNo::new(1), Kind::Value);
        let new = InternalKey::new(b"k", SeqNo::new(2), Kind::Deletion);
        let longer = InternalKey::new(b"k\0", SeqNo::new(9), Kind::Value);
        assert!(new < old && old < longer);
        assert!(InternalKey::for_seek(b"k", SeqNo::new(2)) < new);
        assert!(InternalKey::behind(b"k") > old);
        assert!(InternalKey::behind(b"k") < longer);
    }

    #[test]
    fn unknown_kinds_and_short_keys_do_not_parse() {
        assert_eq!(ParsedKey::parse(b"1234567"), None);
        assert_eq!(ParsedKey::parse(b"k\x11\0\0\0\0\0\0\0"), None);
    }

    #[test]
    fn prefix_successors_skip_trailing_ff() {
        assert_eq!(prefix_successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_successor(b"\xff"), None);
        assert_eq!(prefix_successor(b""), None);
    }
}
