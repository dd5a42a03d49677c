//! How tall a node's tower of links is: drawn from where its anchor lies, so that one and the same history
//! always builds one and the same list.
//!
//! Each level holds a quarter of the nodes of the level below. That takes a twentieth more comparisons than 1/e would,
//! and a fifth fewer links; with so few levels the tallest node, which each reservation has to count with, stays small.

/// Levels that a list can have: a node of the topmost for some 600,000 entries.
#[cfg(not(loom))]
pub(crate) const HEIGHT_MAX: usize = 9;

/// Few enough levels that loom can try all orders.
#[cfg(loom)]
pub(crate) const HEIGHT_MAX: usize = 2;

/// The height of the node whose anchor lies at `position`, from 1 to [`HEIGHT_MAX`].
pub(crate) fn of(position: u32) -> usize {
    #[cfg(loom)]
    if let Some(height) = crate::sync::mutant::grown() {
        return height;
    }
    let draw = fastrand::Rng::with_seed(position.into()).u64(..);
    // Two zeros in a row come up in a quarter of all draws.
    let levels = 1 + draw.trailing_zeros() as usize / 2;
    levels.min(HEIGHT_MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_about_a_quarter_of_the_nodes_below() {
        // Entries of one size lie at equal distances.
        for distance in [1, 3, 17, 64, 1000] {
            let mut nodes = [0_usize; HEIGHT_MAX + 1];
            (1..1_000_000).for_each(|nth| nodes[of(nth * distance)] += 1);
            let at_least = |level: usize| nodes[level..].iter().sum::<usize>() as f64;
            for level in 1..6 {
                let share = at_least(level + 1) / at_least(level);
                assert!((share - 0.25).abs() < 0.05, "distance {distance}, level {level}: {share}");
            }
        }
    }
}
