//! A search among ascending keys by the bytes that tell them apart.
//!
//! Keys lie here and there in memory, and a binary search would wait for each that it looks at. So of many keys the leading
//! bytes behind those that all share are kept side by side, as numbers.
//!
//! # Invariants
//! S1. All keys begin with `shared`, and `words[n]` is the [`leading_bytes`] of key `n` behind that: of two words that differ
//!     the smaller is of the smaller key, and equal ones decide nothing.

use std::cmp::Ordering;

use crate::key::leading_bytes;

/// How many of ascending keys come before `target`, of which `is_before` says so of those that S1 leaves undecided.
///
/// ```
/// use lsm_core::{key::leading_bytes, words::count_before};
///
/// let keys = ["user-a", "user-b-and-more-1", "user-b-and-more-2", "user-c"];
/// let words: Vec<u64> = keys.iter().map(|key| leading_bytes(&key.as_bytes()[5..])).collect();
/// let before = |target: &str| count_before(b"user-", &words, target.as_bytes(), |number| keys[number] < target);
/// assert_eq!([before("a"), before("user-b-and-more-2"), before("user-bb"), before("z")], [0, 2, 3, 4]);
/// ```
#[inline]
pub fn count_before(shared: &[u8], words: &[u64], target: &[u8], is_before: impl Fn(usize) -> bool) -> usize {
    let own = &target[..target.len().min(shared.len())];
    match own.cmp(shared) {
        Ordering::Less => return 0,
        Ordering::Greater => return words.len(),
        Ordering::Equal => {}
    }
    let word = leading_bytes(&target[shared.len()..]);
    let low = words.partition_point(|&other| other < word);
    if words.get(low) != Some(&word) {
        return low;
    }
    let equal = words[low..].partition_point(|&other| other == word);
    let (mut low, mut high) = (low, low + equal);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_before(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::common_prefix;
    use quickcheck::quickcheck;

    quickcheck! {
        // S1.
        fn as_many_come_before_as_a_search_among_the_keys_finds(
            keys: Vec<(bool, Vec<u8>)>, targets: Vec<(bool, Vec<u8>)>, common: u8
        ) -> bool {
            // Many differ behind eight bytes only, and some targets do not begin as all keys do.
            let key = |(long, rest): &(bool, Vec<u8>)| {
                let rest: Vec<u8> = rest.iter().take(4).map(|byte| byte % 3).collect();
                [&vec![1; usize::from(common % 12)], &vec![2; usize::from(*long) * 9][..], &rest].concat()
            };
            let mut sorted: Vec<_> = keys.iter().map(key).collect();
            sorted.sort_unstable();
            let shared = sorted.first().zip(sorted.last()).map_or(0, |(first, last)| common_prefix(first, last));
            let words: Vec<u64> = sorted.iter().map(|key| leading_bytes(&key[shared..])).collect();
            let shared = sorted.first().map_or(&[][..], |first| &first[..shared]);
            sorted.iter().cloned().chain(targets.iter().flat_map(|one| [key(one), one.1.clone()])).all(|target| {
                let expected = sorted.partition_point(|key| *key < target);
                count_before(shared, &words, &target, |number| sorted[number] < target) == expected
            })
        }
    }
}
