//! A merge operator for tests.

use lsm_core::MergeOperator;

/// Appends operands to the value with commas between.
///
/// Order, loss and doubling of operands show in the result, and so does an empty value taken for none.
///
/// ```
/// use lsm_core::MergeOperator;
/// use lsm_testkit::AppendOperator;
/// assert_eq!(AppendOperator.full_merge(b"k", None, &[b"a", b"b"]), Some(b"a,b".to_vec()));
/// assert_eq!(AppendOperator.full_merge(b"k", Some(b""), &[b"a", b"b"]), Some(b",a,b".to_vec()));
/// assert_eq!(AppendOperator.partial_merge(b"k", b"a", b"b"), Some(b"a,b".to_vec()));
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct AppendOperator;

impl MergeOperator for AppendOperator {
    fn name(&self) -> &str {
        "lsm-testkit.append"
    }

    fn full_merge(&self, _key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        let parts: Vec<&[u8]> = existing.into_iter().chain(operands.iter().copied()).collect();
        Some(parts.join(&b','))
    }

    fn partial_merge(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some([older, newer].join(&b','))
    }
}
