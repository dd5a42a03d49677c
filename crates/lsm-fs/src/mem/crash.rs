//! What a crash keeps of that which was not synced.

use super::random::Random;

/// Which of the unsynced changes survive a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// A power cut that loses everything unsynced.
    DropUnsynced,
    /// A process crash: everything that the file system was told is still there, and what was not synced
    /// can be lost by a power cut that follows.
    KeepAll,
    /// A power cut that keeps some of the unsynced changes and tears others, as the seed says.
    Random(u64),
    /// A power cut that keeps change `i` if bit `i` is set, of at most 64 changes.
    ///
    /// [`crate::MemFs::unsynced`] counts them. A change that needs another one first is kept only with it.
    Subset(u64),
}

/// The decisions of one crash, one after the other.
pub(super) struct Fate {
    crash: Crash,
    decided: usize,
    random: Random,
    /// Of 8 changes, how many a random power cut keeps.
    kept_of_8: u64,
}

/// Of the sectors of a mapping, one in this many is torn inside by a random power cut.
const TORN_ONE_IN: u64 = 16;

impl Fate {
    pub(super) fn new(crash: Crash) -> Fate {
        let seed = match crash {
            Crash::Random(seed) => seed,
            _ => 0,
        };
        let mut random = Random::new(seed);
        // Some power cuts keep nearly everything and some hardly anything.
        let kept_of_8 = 1 + random.next() % 7;
        Fate { crash, decided: 0, random, kept_of_8 }
    }

    /// Whether the next change survives.
    pub(super) fn keeps(&mut self) -> bool {
        let index = self.decided;
        self.decided += 1;
        match self.crash {
            Crash::DropUnsynced => false,
            Crash::KeepAll => true,
            Crash::Random(_) => self.random.next() % 8 < self.kept_of_8,
            Crash::Subset(bits) => index < 64 && bits >> index & 1 == 1,
        }
    }

    /// How many of `count` successive versions of one thing happened before the crash.
    pub(super) fn newest(&mut self, count: usize) -> usize {
        let mut newest = 0;
        for version in 0..count {
            // Every version takes a decision, so that the number of decisions is the same for all policies.
            if self.keeps() && newest == version {
                newest += 1;
            }
        }
        newest
    }

    /// How many of `count` bytes of a lost copy to a mapping are in their sector nonetheless.
    pub(super) fn torn(&mut self, count: usize) -> usize {
        let tears = matches!(self.crash, Crash::Random(_)) && self.random.next().is_multiple_of(TORN_ONE_IN);
        if tears { (self.random.next() % (count as u64 + 1)) as usize } else { 0 }
    }

    /// Decisions so far.
    pub(super) fn decided(&self) -> usize {
        self.decided
    }
}
