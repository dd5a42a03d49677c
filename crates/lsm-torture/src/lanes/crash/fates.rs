//! Which crashes are tried at a moment.

use lsm_fs::{Crash, MemFs};
use lsm_testkit::Choices;

/// Up to so many unsynced things, every subset of them is tried.
const ALL_SUBSETS_MAX: usize = 8;

/// Up to so many, each is left out alone.
const EACH_MISSING_MAX: usize = 24;

/// Power cuts with choices of their own, where not all subsets can be tried.
const RANDOM_CUTS: usize = 12;

/// All crashes worth trying: the end of the process, and power cuts.
pub(super) fn all(memory: &MemFs, choices: &mut Choices) -> Vec<Crash> {
    let unsynced = memory.unsynced();
    let mut fates = vec![Crash::KeepAll];
    if unsynced <= ALL_SUBSETS_MAX {
        fates.extend((0..1 << unsynced).map(Crash::Subset));
        // Torn inside of a sector.
        fates.extend((unsynced > 0).then(|| Crash::Random(choices.number())));
        return fates;
    }
    fates.extend([Crash::DropUnsynced, Crash::Subset(u64::MAX)]);
    if unsynced <= EACH_MISSING_MAX {
        fates.extend((0..unsynced).map(|missing| Crash::Subset(!(1 << missing))));
    }
    fates.extend((0..RANDOM_CUTS).map(|_| Crash::Random(choices.number())));
    fates
}

/// A few crashes, for moments of which there are many.
pub(super) fn some(choices: &mut Choices) -> Vec<Crash> {
    vec![Crash::KeepAll, Crash::DropUnsynced, Crash::Random(choices.number()), Crash::Random(choices.number())]
}
