//! The atomics of this crate, in one place so that loom can replace them.
//!
//! Everything that two threads may touch at once goes through the types named here: the arena's fill
//! mark, the links, the height and the finger of a list, and the counters. With `--cfg loom` they are
//! loom's, and [`mutant`] can plant a bug that a model must find; a model that stays green with its
//! mutant planted proves nothing.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Replaces `expected` by `new` in `slot`; with it, all that this thread wrote before becomes visible
/// to whoever reads `new` with Acquire. False if `slot` no longer held `expected`.
///
/// The failure order is Relaxed, since the value found is never used: the caller searches again.
#[cfg(not(loom))]
#[inline]
pub(crate) fn publish(slot: &AtomicU64, expected: u64, new: u64) -> bool {
    slot.compare_exchange(expected, new, Ordering::Release, Ordering::Relaxed).is_ok()
}

#[cfg(loom)]
pub(crate) fn publish(slot: &AtomicU64, expected: u64, new: u64) -> bool {
    use mutant::Mutant;
    match mutant::planted() {
        None => slot.compare_exchange(expected, new, Ordering::Release, Ordering::Relaxed).is_ok(),
        Some(Mutant::RelaxedPublish) => {
            slot.compare_exchange(expected, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        }
        Some(Mutant::StoreInsteadOfExchange) => {
            slot.store(new, Ordering::Release);
            true
        }
    }
}

/// Bugs that the loom models plant to show that they would be found.
#[cfg(loom)]
pub mod mutant {
    use std::cell::Cell;

    /// A bug in how a node is linked.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Mutant {
        /// A link is published without Release: a reader may see a node before its contents.
        RelaxedPublish,
        /// A link is stored without looking: one of two neighbours inserted at once is lost.
        StoreInsteadOfExchange,
    }

    std::thread_local! {
        // Loom runs all threads of a model on the OS thread that started it.
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Plants `mutant`, or removes the planted one, for models run by this OS thread.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    pub(crate) fn planted() -> Option<Mutant> {
        PLANTED.get()
    }
}
