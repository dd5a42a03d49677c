//! Stretches of keys in which nothing is live, remembered from one walk to the next.
//!
//! Deletions stay between the keys until a compaction meets what they delete. A queue that is popped at its front,
//! or a series that is trimmed, would make each walk step over all of them anew. So a walk that has stepped over
//! many says between which keys it found nothing, and a later one that meets a few of them asks how far they go.
//! RocksDB has a cousin of it: from 11.2 on, its iterators may turn a run of deletions into a range tombstone.
//!
//! # Invariants
//! D1. A stretch that is known at `seq` holds no live key for any reader from `seq` on, at the moment when it is
//!     asked for. Whoever keeps stretches forgets one when a key in it is written.

use crate::key::{SeqNo, successor};
use std::ops::Range;
use std::sync::Arc;

/// Keeps the stretches of one column family.
pub trait DeadStretches: Send + Sync {
    /// A stretch with `user_key` in it that is dead for readers at `seq`: from its first key, up to the first behind.
    fn around(&self, user_key: &[u8], seq: SeqNo) -> Option<Range<Vec<u8>>>;

    /// Says that a reader at `seq`, who had missed no write up to it, saw nothing live in `stretch`.
    fn note(&self, stretch: Range<Vec<u8>>, seq: SeqNo);
}

/// After so many dead keys in a row a walk asks how far they go, and again each time that it has met twice as many.
const DEAD_BEFORE_ASKING: usize = 8;

/// So many dead keys in a row are worth to be remembered.
const DEAD_BEFORE_NOTING: usize = 16;

/// A long walk says what it has come over after so many keys, and again each time that it is twice as many. Its last
/// word may come too late: a stretch is not taken when something was written since the reader's moment.
const DEAD_BEFORE_NOTING_EARLY: usize = 64;

/// The dead keys that a walk has come over since the last live one.
pub(crate) struct DeadRun {
    stretches: Option<Arc<dyn DeadStretches>>,
    seq: SeqNo,
    /// The first of them in the direction of the walk, once there is one.
    first: Vec<u8>,
    begun: bool,
    /// How many, since the last that was known before.
    passed: usize,
}

impl DeadRun {
    pub(crate) fn new(stretches: Option<Arc<dyn DeadStretches>>, seq: SeqNo) -> DeadRun {
        DeadRun { stretches, seq, first: Vec::new(), begun: false, passed: 0 }
    }

    /// Forgets the run: the next dead key is the first of another one.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.begun = false;
    }

    /// Takes in a dead key of a walk forward. The answer is a stretch around it that is known to be dead.
    pub(crate) fn pass_forward(&mut self, user_key: &[u8]) -> Option<Range<Vec<u8>>> {
        self.pass(user_key, |first| first.to_vec()..successor(user_key))
    }

    /// As [`DeadRun::pass_forward`], of a walk backward.
    pub(crate) fn pass_backward(&mut self, user_key: &[u8]) -> Option<Range<Vec<u8>>> {
        self.pass(user_key, |first| user_key.to_vec()..successor(first))
    }

    /// Ends the run of a walk forward, which saw nothing live before `end`.
    #[inline]
    pub(crate) fn end_before(&mut self, end: impl FnOnce() -> Vec<u8>) {
        self.end(|first| first.to_vec()..end());
    }

    /// Ends the run of a walk backward, which saw nothing live from `start` on.
    #[inline]
    pub(crate) fn end_at(&mut self, start: impl FnOnce() -> Vec<u8>) {
        self.end(|first| start()..successor(first));
    }

    /// `stretch` makes of the first key what was come over with this one.
    fn pass(&mut self, user_key: &[u8], stretch: impl FnOnce(&[u8]) -> Range<Vec<u8>>) -> Option<Range<Vec<u8>>> {
        self.count(user_key);
        let known = self.ask(user_key);
        if known.is_none() && self.is_long() {
            self.note(stretch);
        }
        known
    }

    #[inline]
    fn end(&mut self, stretch: impl FnOnce(&[u8]) -> Range<Vec<u8>>) {
        if self.begun {
            self.note(stretch);
            self.begun = false;
        }
    }

    fn count(&mut self, user_key: &[u8]) {
        if !self.begun {
            self.first.clear();
            self.first.extend_from_slice(user_key);
            (self.begun, self.passed) = (true, 0);
        }
        self.passed += 1;
    }

    /// Whether it is time for an early word.
    fn is_long(&self) -> bool {
        self.passed >= DEAD_BEFORE_NOTING_EARLY && self.passed.is_power_of_two()
    }

    fn ask(&mut self, user_key: &[u8]) -> Option<Range<Vec<u8>>> {
        if self.passed < DEAD_BEFORE_ASKING || !self.passed.is_power_of_two() {
            return None;
        }
        let known = self.stretches.as_ref()?.around(user_key, self.seq)?;
        self.passed = 0;
        Some(known)
    }

    fn note(&self, stretch: impl FnOnce(&[u8]) -> Range<Vec<u8>>) {
        if let Some(stretches) = self.stretches.as_ref().filter(|_| self.passed >= DEAD_BEFORE_NOTING) {
            stretches.note(stretch(&self.first), self.seq);
        }
    }
}
