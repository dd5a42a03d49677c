//! The filter of a table: none, one block, or a block for each part of the key space.

use crate::bloom::BloomFilter;
use crate::index::Index;

/// Answers whether a table may hold a key. Never denies a key that the table holds.
#[derive(Debug)]
pub(crate) enum Filter {
    /// There is none, or none that is understood: every key may be there.
    None,
    Full(BloomFilter),
    /// Filter `i` is for keys up to separator `i`.
    Partitioned {
        index: Index,
        parts: Vec<BloomFilter>,
    },
}

impl Filter {
    #[inline]
    pub(crate) fn may_contain(&self, user_key: &[u8], hash: u64) -> bool {
        match self {
            Filter::None => true,
            Filter::Full(filter) => filter.may_contain(hash),
            Filter::Partitioned { index, parts } => {
                // Versions of a key may lie on both sides of its own separator. Behind the last separator
                // nothing is known.
                let first = index.seek(user_key, u64::MAX);
                let next = first + usize::from(first < parts.len() && index.continues_behind(first, user_key));
                parts.get(first..=next).is_none_or(|parts| parts.iter().any(|part| part.may_contain(hash)))
            }
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Filter::None => 0,
            Filter::Full(filter) => filter.memory_bytes(),
            Filter::Partitioned { index, parts } => {
                index.memory_bytes() + parts.iter().map(BloomFilter::memory_bytes).sum::<usize>()
            }
        }
    }
}
