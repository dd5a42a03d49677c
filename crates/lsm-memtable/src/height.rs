//! How tall a node's tower of links is, drawn from a seed so that it can be drawn again.
//!
//! Each level holds 1/e of the nodes of the level below, which costs the fewest comparisons per search
//! for the links it takes (1.58 per node). A reservation draws the heights of its entries to know its
//! exact size, keeps the seed and draws the same heights again when the entries arrive.

/// Levels that a list can have: e^20 entries are more than an arena can hold.
#[cfg(not(loom))]
pub(crate) const HEIGHT_MAX: usize = 20;

/// Few enough levels that loom can try all orders.
#[cfg(loom)]
pub(crate) const HEIGHT_MAX: usize = 2;

/// A draw below `THRESHOLDS[i]` gives a node of at least `i + 2` levels.
const THRESHOLDS: [u32; HEIGHT_MAX - 1] = {
    let mut thresholds = [0; HEIGHT_MAX - 1];
    let mut share = 1.0;
    let mut level = 0;
    while level < thresholds.len() {
        share /= std::f64::consts::E;
        thresholds[level] = (share * u32::MAX as f64) as u32;
        level += 1;
    }
    thresholds
};

/// A repeatable row of heights.
#[derive(Clone)]
pub(crate) struct Heights(fastrand::Rng);

impl Heights {
    pub(crate) fn from_seed(seed: u64) -> Heights {
        Heights(fastrand::Rng::with_seed(seed))
    }

    /// The next height, from 1 to [`HEIGHT_MAX`].
    #[inline]
    pub(crate) fn draw(&mut self) -> usize {
        let draw = self.0.u32(..);
        1 + THRESHOLDS.iter().take_while(|&&threshold| draw < threshold).count()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_about_a_third_of_the_nodes_below() {
        let mut heights = Heights::from_seed(1);
        let mut nodes = [0_usize; HEIGHT_MAX + 1];
        (0..1_000_000).for_each(|_| nodes[heights.draw()] += 1);
        let at_least = |level: usize| nodes[level..].iter().sum::<usize>() as f64;
        for level in 1..7 {
            let share = at_least(level + 1) / at_least(level);
            assert!((share - 1.0 / std::f64::consts::E).abs() < 0.03, "level {level}: {share}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_heights() {
        let mut first = Heights::from_seed(99);
        let mut second = first.clone();
        assert!((0..1000).all(|_| first.draw() == second.draw()));
    }
}
