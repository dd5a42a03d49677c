//! A user's merge operator: read-modify-write without the read.

use crate::{Error, Result};

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
    /// Name that each table records, as `lsm dump` shows it. Nobody compares it: a store is to be opened with the operator
    /// that its operands were written for.
    fn name(&self) -> &str;

    /// The value of `key` after `operands`, oldest first, were applied to `existing`.
    /// `None` says that the operands make no sense: a read then reports corruption, while a flush or a
    /// compaction keeps them as they are.
    fn full_merge(&self, key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>>;

    /// One operand that does what `older` followed by `newer` does, or `None` when there is none.
    fn partial_merge(&self, _key: &[u8], _older: &[u8], _newer: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Applies `operands`, oldest first, to `existing`.
///
/// # Errors
/// [`Error::InvalidArgument`] when the store was opened without an operator;
/// [`Error::Corruption`] when the operator refuses the operands.
pub fn apply<'o>(
    operator: Option<&dyn MergeOperator>,
    user_key: &[u8],
    existing: Option<&[u8]>,
    operands: impl Iterator<Item = &'o [u8]>,
) -> Result<Vec<u8>> {
    let operator = operator.ok_or_else(|| {
        Error::invalid_argument("the store holds merge operands, but was opened without a merge operator")
    })?;
    let operands: Vec<&[u8]> = operands.collect();
    operator.full_merge(user_key, existing, &operands).ok_or_else(|| {
        Error::corruption(format!("merge operator {} refused {} operands", operator.name(), operands.len()))
    })
}
