//! A user's merge operator: read-modify-write without the read.

/// Combines the operands that were written to a key with the value below them.
///
/// A store calls it while it reads or compacts, from any thread, and may combine the same operands
/// more than once: the result must depend on nothing but the arguments.
///
/// ```
/// use lsm_core::MergeOperator;
///
/// struct Append;
///
/// impl MergeOperator for Append {
///     fn name(&self) -> &str {
///         "append"
///     }
///
///     fn full_merge(&self, _key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
///         Some([existing.unwrap_or_default(), &operands.concat()].concat())
///     }
/// }
///
/// assert_eq!(Append.full_merge(b"k", Some(b"a"), &[b"b", b"c"]), Some(b"abc".to_vec()));
/// ```
pub trait MergeOperator: Send + Sync {
    /// Name recorded in tables, so that a store is not reopened with another operator unnoticed.
    fn name(&self) -> &str;

    /// The value of `key` after `operands`, oldest first, were applied to `existing`.
    /// `None` says that the operands make no sense; the read or compaction then reports corruption.
    fn full_merge(&self, key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>>;

    /// One operand that does what `older` followed by `newer` does, or `None` when there is none.
    fn partial_merge(&self, _key: &[u8], _older: &[u8], _newer: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
