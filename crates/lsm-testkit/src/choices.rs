//! Random choices that a seed brings back.

use std::ops::RangeInclusive;

/// The environment variable that reruns a single seed.
pub const SEED_VARIABLE: &str = "LSM_SEED";

/// A stream of choices that depends on its seed alone. Prints the seed when the test panics.
///
/// ```
/// use lsm_testkit::Choices;
/// let (mut one, mut other) = (Choices::from_seed(7), Choices::from_seed(7));
/// assert_eq!(one.bytes(0..=20), other.bytes(0..=20));
/// assert!(one.below(10) < 10);
/// ```
#[derive(Debug)]
pub struct Choices {
    seed: u64,
    random: fastrand::Rng,
}

impl Choices {
    /// The choices of `seed`.
    pub fn from_seed(seed: u64) -> Choices {
        Choices { seed, random: fastrand::Rng::with_seed(seed) }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.random.u64(..)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.random.usize(..limit)
    }

    /// A number in `range`.
    pub fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        self.random.usize(range)
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An index into `weights`, each as likely as its weight; their sum is not 0.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        unreachable!("the number was below the sum of the weights")
    }

    /// Random bytes, as many as `count` allows.
    pub fn bytes(&mut self, count: RangeInclusive<usize>) -> Vec<u8> {
        let mut bytes = vec![0; self.within(count)];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A key out of at most `distinct` many: the same ones come again and again.
    ///
    /// Many share a prefix, some are prefixes of others, and one is empty.
    pub fn key(&mut self, distinct: usize) -> Vec<u8> {
        match self.below(distinct) {
            0 => Vec::new(),
            number if number % 7 == 0 => vec![b'k'; number / 7 % 50],
            number => format!("key{number:04}").into_bytes(),
        }
    }
}

impl Drop for Choices {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {0}; rerun it alone with {SEED_VARIABLE}={0}", self.seed);
        }
    }
}

/// Runs `test` with the seeds 0 up to `count`, or with the one in `LSM_SEED` alone.
///
/// # Panics
/// When the test does, or when the variable is no number.
pub fn for_each_seed(count: u64, mut test: impl FnMut(&mut Choices)) {
    let seeds = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => {
            let seed = seed.parse().expect("LSM_SEED is a number");
            seed..=seed
        }
        Err(_) if count == 0 => return,
        Err(_) => 0..=count - 1,
    };
    seeds.for_each(|seed| test(&mut Choices::from_seed(seed)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn weights_decide_how_often_an_index_comes() {
        let mut choices = Choices::from_seed(1);
        let mut found = [0; 4];
        for _ in 0..10_000 {
            found[choices.weighted(&[1, 0, 3, 6])] += 1;
        }
        assert_eq!(found[1], 0);
        assert!((800..1200).contains(&found[0]) && (5700..6300).contains(&found[3]), "{found:?}");
    }

    #[test]
    fn keys_come_again_and_are_no_more_than_asked_for() {
        let mut choices = Choices::from_seed(2);
        let keys: BTreeSet<Vec<u8>> = (0..10_000).map(|_| choices.key(100)).collect();
        assert_eq!(keys.len(), 100);
        assert!(keys.contains(&Vec::new()));
    }

    #[test]
    fn each_seed_runs_and_differs() {
        let mut streams = BTreeSet::new();
        for_each_seed(50, |choices| {
            streams.insert((choices.seed(), choices.number()));
        });
        assert_eq!(streams.len(), 50);
    }
}
