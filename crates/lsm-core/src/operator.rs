//! A user's merge operator: read-modify-write without the read.

use crate::key::VALUE_BYTES_MAX;
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
    /// compaction keeps them as they are. It keeps them too if the result has more than [`VALUE_BYTES_MAX`], which a
    /// read reports as an invalid argument.
    fn full_merge(&self, key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>>;

    /// One operand that does what `older` followed by `newer` does, or `None` when there is none. One of more than
    /// [`VALUE_BYTES_MAX`] is not used.
    fn partial_merge(&self, _key: &[u8], _older: &[u8], _newer: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Applies `operands`, oldest first, to `existing`.
///
/// # Errors
/// [`Error::InvalidArgument`] when the store was opened without an operator, or when the result has more than
/// [`VALUE_BYTES_MAX`]: nobody could have put such a value, and it is no damage;
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
    let merged = operator.full_merge(user_key, existing, &operands).ok_or_else(|| {
        Error::corruption(format!("merge operator {} refused {} operands", operator.name(), operands.len()))
    })?;
    if merged.len() > VALUE_BYTES_MAX {
        let (name, count, bytes) = (operator.name(), operands.len(), merged.len());
        let detail =
            format!("merge operator {name} made {bytes} bytes of {count} operands, more than {VALUE_BYTES_MAX}");
        return Err(Error::invalid_argument(detail));
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes so many zeros of anything.
    struct Zeros(usize);

    impl MergeOperator for Zeros {
        fn name(&self) -> &str {
            "zeros"
        }

        fn full_merge(&self, _key: &[u8], _existing: Option<&[u8]>, _operands: &[&[u8]]) -> Option<Vec<u8>> {
            // The system gives zeros without taking memory for them until they are looked at.
            Some(vec![0; self.0])
        }
    }

    #[test]
    fn a_result_that_is_too_long_for_a_value_is_an_invalid_argument() {
        let merged = |bytes| apply(Some(&Zeros(bytes)), b"k", None, [b"x".as_slice()].into_iter());
        assert_eq!(merged(VALUE_BYTES_MAX).map(|value| value.len()).ok(), Some(VALUE_BYTES_MAX));
        let error = merged(VALUE_BYTES_MAX + 1).expect_err("nobody can put so much");
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    }
}
