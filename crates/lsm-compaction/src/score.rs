//! How much each level wants to be compacted.
//!
//! A score of 1 or more asks for a compaction; the larger, the sooner. Level sizes are set from the
//! bottom up: the largest level keeps its size, each level above is [`LeveledOptions::multiplier`]
//! times smaller, and the first that would fall under the base size is the *base level*, into which
//! level 0 goes. So about nine tenths of the data lie in the last level whatever the store's size.
//!
//! The formulas are those of RocksDB (`db/version_set.cc`: `ComputeCompactionScore`,
//! `CalculateBaseBytes`, `EstimateCompactionBytesNeeded`, `ComputeCompensatedSizes`).
//!
//! # Invariants
//! S1. `1 <= base < LEVELS`; levels above the base are empty or being drained.
//! S2. Targets do not shrink going down from the base.
//! S3. A level that holds nothing but tables in flight has score zero.

use crate::in_flight::InFlight;
use crate::options::LeveledOptions;
use lsm_manifest::{LEVELS, TableMeta, Version};

/// A score above 1 is multiplied by this, so that needs that were met once outrank those nearly met.
const URGENT: f64 = 10.0;

/// Weight of the bytes that a table's deletions are expected to free.
const DELETION_WEIGHT: u64 = 2;

/// The last level: nothing is moved out of it.
pub(crate) const LAST: usize = LEVELS - 1;

/// The base level and how many bytes each level should hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelTargets {
    /// The level that level 0 is compacted into.
    pub base: usize,
    /// Bytes that each level should hold; `u64::MAX` above the base, and everywhere while
    /// there is nothing below level 0.
    pub bytes: [u64; LEVELS],
    /// The lowest level that the store is too small to need; it and those above it are drained.
    pub unneeded: Option<usize>,
}

impl LevelTargets {
    /// Targets for the sizes that `version` has.
    pub fn of(version: &Version, options: &LeveledOptions) -> LevelTargets {
        let sizes: Vec<u64> = (0..LEVELS).map(|level| version.level_bytes(level)).collect();
        let Some(first) = (1..LEVELS).find(|&level| sizes[level] > 0) else {
            // Whatever comes out of level 0 starts at the very bottom.
            return LevelTargets { base: LAST, bytes: [u64::MAX; LEVELS], unneeded: None };
        };
        let largest = sizes[1..].iter().copied().max().unwrap_or(0);
        let base_max = options.level_base_bytes;
        let base_min = (base_max as f64 / options.multiplier) as u64;
        let mut unneeded = None;
        let mut size = largest;
        for level in (first..LAST).rev() {
            size = (size as f64 / options.multiplier) as u64;
            if unneeded.is_none() && size <= base_min {
                unneeded = Some(level);
            }
        }
        if size <= base_min {
            return LevelTargets::spread(first, base_min + 1, unneeded, options);
        }
        let mut base = first;
        while base > 1 && size > base_max {
            base -= 1;
            size = (size as f64 / options.multiplier) as u64;
        }
        LevelTargets::spread(base, size.min(base_max).max(1), unneeded, options)
    }

    fn spread(base: usize, base_bytes: u64, unneeded: Option<usize>, options: &LeveledOptions) -> LevelTargets {
        let mut bytes = [u64::MAX; LEVELS];
        let mut size = base_bytes as f64;
        for target in &mut bytes[base..] {
            // Never below the base size: a level smaller than the one above it would be an hourglass.
            *target = (size as u64).max(options.level_base_bytes);
            size *= options.multiplier;
        }
        LevelTargets { base, bytes, unneeded }
    }
}

/// The score of each level but the last, which has nowhere to go and scores zero.
pub fn scores(version: &Version, in_flight: &InFlight, options: &LeveledOptions) -> Vec<f64> {
    scores_by(version, in_flight, options, &LevelTargets::of(version, options), &Weights::of(version))
}

/// As [`scores`], for whoever has worked out targets and weights.
pub(crate) fn scores_by(
    version: &Version,
    in_flight: &InFlight,
    options: &LeveledOptions,
    targets: &LevelTargets,
    weights: &Weights,
) -> Vec<f64> {
    let idle = |level: usize| version.level(level).iter().filter(|table| !in_flight.holds(table));
    let idle0: u64 = idle(0).map(|table| weights.bytes(table)).sum();
    let mut scores = vec![score0(version, idle(0).count(), idle0, targets, weights, options)];
    let mut coming_down = version.level_bytes(0);
    for level in 1..LAST {
        let bytes: u64 = idle(level).map(|table| weights.bytes(table)).sum();
        scores.push(score(level, bytes, coming_down, targets));
        coming_down += version.level_bytes(level).saturating_sub(targets.bytes[level]);
    }
    scores.push(0.0);
    scores
}

fn score0(
    version: &Version,
    count: usize,
    bytes: u64,
    targets: &LevelTargets,
    weights: &Weights,
    options: &LeveledOptions,
) -> f64 {
    let mut score = count as f64 / options.level0_trigger as f64;
    if bytes >= options.level_base_bytes {
        score = score.max(1.01);
    }
    let base_target = targets.bytes[targets.base];
    if bytes > base_target {
        let base_bytes: u64 = version.level(targets.base).iter().map(|table| weights.bytes(table)).sum();
        score = score.max(bytes as f64 / base_bytes.max(base_target) as f64);
    }
    if score > 1.0 { score * URGENT } else { score }
}

/// `coming_down` are bytes that the levels above have in excess: a level that is about to receive them
/// is better compacted afterwards.
fn score(level: usize, bytes: u64, coming_down: u64, targets: &LevelTargets) -> f64 {
    if bytes == 0 {
        return 0.0;
    }
    let target = targets.bytes[level];
    let score = if bytes < target {
        bytes as f64 / target as f64
    } else {
        bytes as f64 / (target as f64 + coming_down as f64) * URGENT
    };
    match targets.unneeded {
        Some(unneeded) if level <= unneeded => score.max(URGENT * (1.001 + 0.001 * (unneeded - level) as f64)),
        _ => score,
    }
}

/// Bytes that must be rewritten until every level is within its target: the store's debt.
pub fn pending_bytes(version: &Version, options: &LeveledOptions) -> u64 {
    let targets = LevelTargets::of(version, options);
    let level0 = version.level_bytes(0);
    let triggered = version.level(0).len() >= options.level0_trigger || level0 >= options.level_base_bytes;
    let (mut pending, mut coming_down) = if triggered { (level0, level0) } else { (0, 0) };
    for level in targets.base..LAST {
        let own = version.level_bytes(level);
        if level == targets.base && triggered {
            pending += own;
        }
        let bytes = own + coming_down;
        coming_down = bytes.saturating_sub(targets.bytes[level]);
        let next = version.level_bytes(level + 1);
        if coming_down > 0 && next > 0 {
            pending += (coming_down as f64 * (next as f64 / bytes as f64 + 1.0)) as u64;
        }
    }
    pending
}

/// Sizes of tables in which deletions weigh what they are expected to free.
pub(crate) struct Weights {
    /// Bytes of an average value in this version.
    value_bytes: u64,
}

impl Weights {
    pub(crate) fn of(version: &Version) -> Weights {
        let (mut bytes, mut values) = (0_u64, 0_u64);
        for stats in version.tables().filter_map(|(_, table)| table.stats.get()) {
            bytes = bytes.saturating_add(stats.raw_value_bytes);
            values = values.saturating_add(stats.entries.saturating_sub(stats.deletions));
        }
        Weights { value_bytes: bytes / values.max(1) }
    }

    /// The compensated size: a table of mostly deletions weighs more than its bytes.
    pub(crate) fn bytes(&self, table: &TableMeta) -> u64 {
        let freed_by_points = table.stats.get().map_or(0, |stats| {
            let surplus = stats.deletions.saturating_mul(2).saturating_sub(stats.entries);
            surplus.saturating_mul(self.value_bytes).saturating_mul(DELETION_WEIGHT)
        });
        table.bytes.saturating_add(freed_by_points).saturating_add(table.compensated_range_deletion_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MIB, sized, table, version, with_stats};

    const NONE: u64 = u64::MAX;

    fn check_targets(mib: [u64; LEVELS], base: usize, unneeded: Option<usize>, targets: [u64; LEVELS]) {
        let found = LevelTargets::of(&sized(1, mib), &LeveledOptions::default());
        let rounded = found.bytes.map(|bytes| if bytes == NONE { NONE } else { bytes / MIB });
        assert_eq!((found.base, found.unneeded, rounded), (base, unneeded, targets), "{mib:?}");
    }

    #[test]
    fn targets_are_set_from_the_largest_level_up() {
        // Covers S1, S2. Base size 256 MiB, so a base level of less than 25.6 MiB is not needed.
        let n = NONE;
        check_targets([9, 0, 0, 0, 0, 0, 0], 6, None, [n, n, n, n, n, n, n]);
        check_targets([9, 0, 0, 0, 0, 0, 100], 6, None, [n, n, n, n, n, n, 256]);
        check_targets([9, 0, 0, 0, 0, 0, 20], 6, None, [n, n, n, n, n, n, 256]);
        // 1000 > 256, so the base moves up; 100 MiB are raised to the base size.
        check_targets([9, 0, 0, 0, 0, 0, 1000], 5, None, [n, n, n, n, n, 256, 1000]);
        check_targets([9, 0, 0, 0, 0, 300, 2000], 5, None, [n, n, n, n, n, 256, 2000]);
        // Two levels more: 50_000 / 1000 = 50.
        check_targets([9, 0, 0, 0, 0, 300, 50_000], 3, None, [n, n, n, 256, 500, 5000, 50_000]);
        // The store shrank: 200 / 10 is below 25.6, so levels 5 and 4 are drained.
        check_targets([9, 0, 0, 0, 10, 100, 200], 4, Some(5), [n, n, n, n, 256, 256, 2560]);
    }

    fn check_scores(level0_tables: u64, mib: [u64; LEVELS], expected: [f64; LEVELS]) {
        let found = scores(&sized(level0_tables, mib), &InFlight::new(), &LeveledOptions::default());
        let close = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-6);
        assert!(close, "{mib:?}: found {found:?}, expected {expected:?}");
    }

    #[test]
    fn level_0_scores_by_tables_and_by_bytes() {
        check_scores(3, [30, 0, 0, 0, 0, 0, 200], [0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        check_scores(4, [40, 0, 0, 0, 0, 0, 200], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        check_scores(5, [50, 0, 0, 0, 0, 0, 200], [12.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        // 256 MiB reach the base size, but are not more than the base level's target.
        check_scores(2, [256, 0, 0, 0, 0, 0, 200], [10.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        // 400 MiB against the base level's target of 256, as the base level (5) is empty.
        check_scores(2, [400, 0, 0, 0, 0, 0, 300], [15.625, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        // 600 MiB against a base level of 400.
        check_scores(2, [600, 0, 0, 0, 0, 400, 2000], [15.0, 0.0, 0.0, 0.0, 0.0, 10.0 * 400.0 / 856.0, 0.0]);
    }

    #[test]
    fn deeper_levels_score_by_what_they_have_and_what_comes_down() {
        check_scores(1, [100, 0, 0, 0, 0, 128, 2560], [0.25, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0]);
        check_scores(1, [100, 0, 0, 0, 0, 512, 2560], [0.25, 0.0, 0.0, 0.0, 0.0, 10.0 * 512.0 / 356.0, 0.0]);
        // Level 4 has 256 MiB in excess, which delays level 5.
        let l5 = 10.0 * 5120.0 / (2560.0 + 100.0 + 256.0);
        check_scores(1, [100, 0, 0, 0, 512, 5120, 25_600], [0.25, 0.0, 0.0, 0.0, 10.0 * 512.0 / 356.0, l5, 0.0]);
        // Levels that are not needed are drained from the top.
        check_scores(1, [9, 0, 0, 0, 10, 100, 200], [0.25, 0.0, 0.0, 0.0, 10.02, 10.01, 0.0]);
    }

    #[test]
    fn tables_in_flight_do_not_count() {
        // Covers S3.
        let version = sized(4, [40, 0, 0, 0, 0, 512, 2560]);
        let options = LeveledOptions::default();
        let mut in_flight = InFlight::new();
        let plan = crate::pick(&version, &in_flight, &options, None).unwrap();
        assert_eq!((plan.start_level, plan.output_level), (5, 6));
        in_flight.reserve(&plan);
        assert_eq!(scores(&version, &in_flight, &options), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn debt_counts_every_rewrite_on_the_way_down() {
        let options = LeveledOptions::default();
        let debt = |tables, mib| pending_bytes(&sized(tables, mib), &options) / MIB;
        assert_eq!(debt(3, [192, 0, 0, 0, 0, 200, 2560]), 0);
        // 256 come down onto 512: 768 rewritten, of which 512 go on, each dragging 2560 / 768 along.
        assert_eq!(debt(4, [256, 0, 0, 0, 0, 512, 2560]), 256 + 512 + (512.0 * (1.0 + 2560.0 / 768.0)) as u64);
        assert_eq!(debt(1, [10, 0, 0, 0, 0, 356, 2560]), (100.0 * (1.0 + 2560.0 / 356.0)) as u64);
    }

    #[test]
    fn deletions_weigh_what_they_free() {
        // 100 values of 40 bytes on average.
        let values = with_stats(table(1, "a", "b", 5000), 100, 0, 4000);
        let mixed = with_stats(table(2, "c", "d", 500), 10, 5, 0);
        let mut deletions = with_stats(table(3, "e", "f", 500), 10, 8, 0);
        deletions.compensated_range_deletion_bytes = 7;
        let weights = Weights { value_bytes: 40 };
        assert_eq!(weights.bytes(&values), 5000);
        assert_eq!(weights.bytes(&mixed), 500);
        assert_eq!(weights.bytes(&deletions), 500 + (2 * 8 - 10) * 40 * 2 + 7);
        let version = version(vec![(6, values), (6, mixed), (6, deletions)]);
        assert_eq!(Weights::of(&version).value_bytes, 4000 / 107);
    }
}
