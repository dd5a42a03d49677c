//! What walks found dead in one column family, for as long as nobody writes there.
//!
//! Memtables, tables and compactions do not come into it: which keys are live does not depend on where their entries
//! lie. Only a write brings a key to life, and each commit passes here on its way.
//!
//! # Invariants
//! K1. No key in a stretch was put or merged behind the moment at which it was found dead. A commit first says up to
//!     where sequence numbers are given out, then looks for stretches that it writes into. Who brings a stretch first
//!     leaves it, then looks whether anything was given out since its moment: one of the two sees the other.
//! K2. Stretches do not overlap, and there are at most [`STRETCHES_MAX`].
//! K3. Readers do not wait: while somebody else is here, a walk goes on key by key.

use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use lsm_core::SeqNo;
use lsm_core::dead::DeadStretches;
use lsm_core::key::successor;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};

/// Queues that one family may have at once before their walks go key by key again.
const STRETCHES_MAX: usize = 64;

/// A stretch that begins or ends with a longer key is not kept.
const KEY_BYTES_MAX: usize = 1 << 10;

/// The dead stretches of one column family.
pub(crate) struct Stretches {
    /// Up to where sequence numbers were given to writes into this family.
    given: AtomicU64,
    /// Whether `kept` holds any.
    any: AtomicBool,
    kept: Mutex<Kept>,
}

/// Stretches by their first key.
type Kept = BTreeMap<Vec<u8>, Stretch>;

struct Stretch {
    end: Vec<u8>,
    /// Readers from here on find nothing in it.
    seq: SeqNo,
}

impl Stretches {
    pub(crate) fn new() -> Stretches {
        Stretches { given: AtomicU64::new(0), any: AtomicBool::new(false), kept: Mutex::new(Kept::new()) }
    }

    /// Takes in a commit before anybody can see it: `last` is its last sequence number, `keys` are those that it puts
    /// or merges into this family.
    pub(crate) fn write<'a>(&self, last: SeqNo, keys: impl Iterator<Item = &'a [u8]>) {
        self.given.store(last.get(), Ordering::SeqCst);
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let mut kept = self.kept.lock();
        keys.for_each(|key| split(&mut kept, key));
        self.any.store(!kept.is_empty(), Ordering::SeqCst);
    }
}

impl DeadStretches for Stretches {
    fn around(&self, user_key: &[u8], seq: SeqNo) -> Option<Range<Vec<u8>>> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let kept = self.kept.try_lock()?;
        let (start, stretch) = last_from(&kept, user_key)?;
        (user_key < stretch.end.as_slice() && stretch.seq <= seq).then(|| start.clone()..stretch.end.clone())
    }

    fn note(&self, stretch: Range<Vec<u8>>, seq: SeqNo) {
        let is_late = || self.given.load(Ordering::SeqCst) > seq.get();
        if is_late() || stretch.start.len().max(stretch.end.len()) > KEY_BYTES_MAX {
            return;
        }
        let Some(mut kept) = self.kept.try_lock() else { return };
        let start = join(&mut kept, stretch, seq);
        self.any.store(true, Ordering::SeqCst);
        if is_late() {
            kept.remove(&start); // K1
        } else if kept.len() > STRETCHES_MAX {
            let oldest = kept.iter().min_by_key(|(_, stretch)| stretch.seq).map(|(start, _)| start.clone());
            oldest.and_then(|start| kept.remove(&start));
        }
        self.any.store(!kept.is_empty(), Ordering::SeqCst);
    }
}

/// The last stretch that begins at `user_key` or before.
fn last_from<'a>(kept: &'a Kept, user_key: &[u8]) -> Option<(&'a Vec<u8>, &'a Stretch)> {
    kept.range::<[u8], _>((Bound::Unbounded, Bound::Included(user_key))).next_back()
}

/// Takes `key` out of the stretch in which it lies.
fn split(kept: &mut Kept, key: &[u8]) {
    let Some((start, stretch)) = last_from(kept, key).filter(|(_, stretch)| key < stretch.end.as_slice()) else {
        return;
    };
    let (start, seq) = (start.clone(), stretch.seq);
    let Some(Stretch { end, .. }) = kept.remove(&start) else { return };
    let behind = successor(key);
    if start.as_slice() < key {
        kept.insert(start, Stretch { end: key.to_vec(), seq });
    }
    if behind < end {
        kept.insert(behind, Stretch { end, seq });
    }
}

/// Adds `stretch` together with all that it meets (K2), and returns where that begins.
fn join(kept: &mut Kept, stretch: Range<Vec<u8>>, mut seq: SeqNo) -> Vec<u8> {
    let Range { mut start, mut end } = stretch;
    while let Some((first, met)) = last_from(kept, &end).filter(|(_, met)| start <= met.end) {
        let first = first.clone();
        seq = seq.max(met.seq);
        if let Some(met) = kept.remove(&first) {
            end = end.max(met.end);
        }
        start = start.min(first);
    }
    kept.insert(start.clone(), Stretch { end, seq });
    start
}

#[cfg(all(test, shuttle))]
mod shuttle_models;

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        // Covers K1 and K2, by one thread: keys are single bytes, the present moves on with each step.
        fn keeps_what_was_noted_and_not_written(steps: Vec<(bool, u8, u8)>) -> bool {
            let stretches = Stretches::new();
            // For each key the moment from which it is dead.
            let mut dead = [None; 256];
            (1_u64..).zip(steps).all(|(now, (write, first, count))| {
                let seq = SeqNo::new(now);
                let last = first.saturating_add(count % 32);
                if write {
                    stretches.write(seq, std::iter::once([first].as_slice()));
                    dead[usize::from(first)] = None;
                } else {
                    stretches.note(vec![first]..vec![last], seq);
                    (first..last).for_each(|key| dead[usize::from(key)] = Some(now));
                }
                (0..=u8::MAX).all(|key| match stretches.around(&[key], seq) {
                    // At most 64 of the 128 that there could be are kept.
                    None => dead[usize::from(key)].is_none() || stretches.kept.lock().len() == STRETCHES_MAX,
                    Some(stretch) => stretch.contains(&vec![key]) && dead[usize::from(key)].is_some(),
                })
            })
        }
    }

    #[test]
    fn earlier_readers_and_late_words_get_nothing() {
        let stretches = Stretches::new();
        stretches.write(SeqNo::new(5), std::iter::empty());
        stretches.note(b"a".to_vec()..b"m".to_vec(), SeqNo::new(4));
        assert_eq!(stretches.around(b"b", SeqNo::new(9)), None, "K1: something was written since");
        stretches.note(b"a".to_vec()..b"m".to_vec(), SeqNo::new(5));
        assert_eq!(stretches.around(b"b", SeqNo::new(4)), None, "what is dead at 5 may live at 4");
        assert_eq!(stretches.around(b"b", SeqNo::new(5)), Some(b"a".to_vec()..b"m".to_vec()));
        assert_eq!(stretches.around(b"m", SeqNo::new(5)), None);
        stretches.note(vec![b'x'; KEY_BYTES_MAX + 1]..b"y".to_vec(), SeqNo::new(5));
        assert_eq!(stretches.kept.lock().len(), 1);
    }
}
