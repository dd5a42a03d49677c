//! The atomics of this crate, in one place so that loom can replace them.
//!
//! Everything that two threads may touch at once goes through the types named here: the arena's mark, the
//! words of the index, the height and the hint of a list, and the counters. With `--cfg loom` they are
//! loom's, and `mutant` can plant a bug that a model must find; a model that stays green with its
//! mutant planted proves nothing.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mutant::{Mutant, has};

/// Leaves `value` in `slot`, which only this thread may change; with it, all that this thread wrote before
/// becomes visible to whoever reads `value` with Acquire.
#[inline]
pub(crate) fn release(slot: &AtomicU64, value: u64) {
    let order = if has(Mutant::RelaxedPublish) { Ordering::Relaxed } else { Ordering::Release };
    slot.store(value, order);
}

/// As [`release`], in the place of `expected`. False if `slot` no longer held that.
///
/// The failure order is Relaxed, since the value found is never used: the caller searches again.
#[inline]
pub(crate) fn publish(slot: &AtomicU64, expected: u64, new: u64) -> bool {
    let order = if has(Mutant::RelaxedUpperLink) { Ordering::Relaxed } else { Ordering::Release };
    slot.compare_exchange(expected, new, order, Ordering::Relaxed).is_ok()
}

/// Locks what `slot` guards, by putting `locked` in the place of `seen`. Acquire: what its last owner did was done
/// before. The failure order is Relaxed, since the caller reads again.
#[inline]
pub(crate) fn lock(slot: &AtomicU64, seen: u64, locked: u64) -> bool {
    if has(Mutant::StoreInsteadOfExchange) {
        slot.store(locked, Ordering::Release);
        return true;
    }
    slot.compare_exchange_weak(seen, locked, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Makes the best of waiting for another writer, for the `nth` time: it has a few nanoseconds of work left,
/// unless it lost its processor.
#[inline]
pub(crate) fn wait(nth: usize) {
    #[cfg(loom)]
    {
        let _ = nth;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if nth < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// What `first` and `second` read, in this order.
#[inline]
pub(crate) fn in_order<A, B>(first: impl FnOnce() -> A, second: impl FnOnce() -> B) -> (A, B) {
    if has(Mutant::LinkBeforeLeaf) {
        let read_second = second();
        return (first(), read_second);
    }
    let read_first = first();
    (read_first, second())
}

/// Leaves `value` in `slot` for whoever reads it with Acquire, whatever was there.
#[inline]
pub(crate) fn leave(slot: &AtomicU64, value: u64) {
    let order = if has(Mutant::RelaxedHint) { Ordering::Relaxed } else { Ordering::Release };
    slot.store(value, order);
}

/// Counts one more; whoever reads the count with Acquire sees what was done before.
#[inline]
pub(crate) fn count(counter: &AtomicUsize) {
    let order = if has(Mutant::RelaxedCount) { Ordering::Relaxed } else { Ordering::Release };
    counter.fetch_add(1, order);
}

/// Moves a mark from `mark` to `end`, or says where it stands now. It orders nothing but itself:
/// what is filled is published by links.
#[inline]
pub(crate) fn advance(slot: &AtomicU64, mark: u64, end: u64) -> Result<(), u64> {
    if has(Mutant::StoreInsteadOfExchange) {
        slot.store(end, Ordering::Relaxed);
        return Ok(());
    }
    slot.compare_exchange_weak(mark, end, Ordering::Relaxed, Ordering::Relaxed).map(|_| ())
}

/// Sets `bits` in `slot`, beside whoever sets others. It orders nothing: links do.
#[inline]
pub(crate) fn set_bits(slot: &AtomicU64, bits: u64) {
    if has(Mutant::BitsStoredWhole) {
        let others = slot.load(Ordering::Relaxed);
        return slot.store(others | bits, Ordering::Relaxed);
    }
    slot.fetch_or(bits, Ordering::Relaxed);
}

/// Bugs that the loom models plant to show that they would be found.
#[cfg_attr(not(loom), expect(unreachable_pub, reason = "only the models reach it"))]
pub mod mutant {
    /// An ordering that is too weak, a step that is not atomic, or one left out.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Mutant {
        /// A link, a leaf or its order is published without Release: a reader may see it before its contents.
        RelaxedPublish,
        /// A link on an upper level is published without Release.
        RelaxedUpperLink,
        /// A hint is left without Release.
        RelaxedHint,
        /// A range deletion is counted without Release.
        RelaxedCount,
        /// A lock or the mark is stored without looking: one of two writers is overwritten.
        StoreInsteadOfExchange,
        /// A filter's word is read and stored in two steps: one of two writers is overwritten.
        BitsStoredWhole,
        /// A node's link is read before its leaf: the leaf may be a later, smaller one.
        LinkBeforeLeaf,
        /// A writer inserts into a leaf that others have replaced.
        DeadNotSeen,
        /// A writer does not look again, once it has the lock, where the range of the leaf ends.
        EndNotSeen,
        /// Others may insert into the upper half of a split before the lower half is in its place.
        BornUnlocked,
        /// A commit is made visible without Release: for the model that makes it visible itself.
        #[cfg(loom)]
        RelaxedVisible,
    }

    /// Whether this bug is planted.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) const fn has(_: Mutant) -> bool {
        false
    }

    #[cfg(loom)]
    pub use planting::{grow, plant, planted};
    #[cfg(loom)]
    pub(crate) use planting::{grown, has};

    #[cfg(loom)]
    mod planting {
        use super::Mutant;
        use std::cell::Cell;

        std::thread_local! {
            // Loom runs all threads of a model on the OS thread that started it.
            static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
            static HEIGHT: Cell<Option<usize>> = const { Cell::new(None) };
        }

        /// Plants `mutant`, or removes the planted one, for models run by this OS thread.
        pub fn plant(mutant: Option<Mutant>) {
            PLANTED.set(mutant);
        }

        /// The planted one.
        pub fn planted() -> Option<Mutant> {
            PLANTED.get()
        }

        pub(crate) fn has(mutant: Mutant) -> bool {
            planted() == Some(mutant)
        }

        /// Makes all nodes of models run by this OS thread so tall.
        pub fn grow(height: usize) {
            HEIGHT.set(Some(height));
        }

        pub(crate) fn grown() -> Option<usize> {
            HEIGHT.get()
        }
    }
}
