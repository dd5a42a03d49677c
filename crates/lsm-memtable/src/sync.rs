//! The atomics of this crate, in one place so that loom can replace them.
//!
//! Everything that two threads may touch at once goes through the types named here: the arena's fill
//! mark, the links, the height and the finger of a list, and the counters. With `--cfg loom` they are
//! loom's, and `mutant` can plant a bug that a model must find; a model that stays green with its
//! mutant planted proves nothing.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Replaces `expected` by `new` in `slot`; with it, all that this thread wrote before becomes visible
/// to whoever reads `new` with Acquire. False if `slot` no longer held `expected`.
///
/// The failure order is Relaxed, since the value found is never used: the caller searches again.
#[inline]
pub(crate) fn publish(slot: &AtomicU64, expected: u64, new: u64) -> bool {
    #[cfg(loom)]
    match mutant::planted() {
        Some(mutant::Mutant::RelaxedPublish) => {
            return slot.compare_exchange(expected, new, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        }
        Some(mutant::Mutant::StoreInsteadOfExchange) => {
            slot.store(new, Ordering::Release);
            return true;
        }
        _ => {}
    }
    slot.compare_exchange(expected, new, Ordering::Release, Ordering::Relaxed).is_ok()
}

/// Leaves `value` in `slot` for whoever reads it with Acquire, whatever was there.
#[inline]
pub(crate) fn leave(slot: &AtomicU64, value: u64) {
    #[cfg(loom)]
    if mutant::planted() == Some(mutant::Mutant::RelaxedFinger) {
        return slot.store(value, Ordering::Relaxed);
    }
    slot.store(value, Ordering::Release);
}

/// Counts one more; whoever reads the count with Acquire sees what was done before.
#[inline]
pub(crate) fn count(counter: &AtomicUsize) {
    #[cfg(loom)]
    if mutant::planted() == Some(mutant::Mutant::RelaxedCount) {
        counter.fetch_add(1, Ordering::Relaxed);
        return;
    }
    counter.fetch_add(1, Ordering::Release);
}

/// Moves a fill mark from `mark` to `end`, or says where it stands now. It orders nothing but itself:
/// what is filled is published by links.
#[inline]
pub(crate) fn advance(slot: &AtomicU64, mark: u64, end: u64) -> Result<(), u64> {
    #[cfg(loom)]
    if mutant::planted() == Some(mutant::Mutant::StoreInsteadOfExchange) {
        slot.store(end, Ordering::Relaxed);
        return Ok(());
    }
    slot.compare_exchange_weak(mark, end, Ordering::Relaxed, Ordering::Relaxed).map(|_| ())
}

/// Sets `bits` in `slot`, beside whoever sets others. It orders nothing: links do.
#[inline]
pub(crate) fn set_bits(slot: &AtomicU64, bits: u64) {
    #[cfg(loom)]
    if mutant::planted() == Some(mutant::Mutant::BitsStoredWhole) {
        let others = slot.load(Ordering::Relaxed);
        return slot.store(others | bits, Ordering::Relaxed);
    }
    slot.fetch_or(bits, Ordering::Relaxed);
}

/// Bugs that the loom models plant to show that they would be found.
#[cfg(loom)]
pub mod mutant {
    use std::cell::Cell;

    /// An ordering that is too weak, or a step that is not atomic.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Mutant {
        /// A link is published without Release: a reader may see a node before its contents.
        RelaxedPublish,
        /// A finger is left without Release.
        RelaxedFinger,
        /// A range deletion is counted without Release.
        RelaxedCount,
        /// A link or the fill mark is stored without looking: one of two writers is overwritten.
        StoreInsteadOfExchange,
        /// A filter's word is read and stored in two steps: one of two writers is overwritten.
        BitsStoredWhole,
        /// A commit is made visible without Release: for the model that makes it visible itself.
        RelaxedVisible,
    }

    std::thread_local! {
        // Loom runs all threads of a model on the OS thread that started it.
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Plants `mutant`, or removes the planted one, for models run by this OS thread.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    /// The planted one.
    pub fn planted() -> Option<Mutant> {
        PLANTED.get()
    }
}
