//! Locks, atomics and threads of this crate: those of `lsm-sync`, for which shuttle can stand in. The models are
//! in `shuttle_models` beside each protocol.

pub(crate) use lsm_sync::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, Tally, spin_loop, thread,
};

#[cfg(all(test, shuttle))]
pub(crate) use lsm_sync::explore;

#[cfg(not(shuttle))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(shuttle)]
pub(crate) use swap::ArcSwap;

/// arc-swap with a lock of shuttle's inside: its own atomics are not seen as steps, and a reader could not be stopped
/// between a view and a sequence number.
#[cfg(shuttle)]
mod swap {
    use super::Mutex;
    use std::sync::Arc;

    pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

    impl<T> ArcSwap<T> {
        pub(crate) fn from_pointee(value: T) -> ArcSwap<T> {
            ArcSwap(Mutex::new(Arc::new(value)))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            self.load_full()
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            Arc::clone(&self.0.lock())
        }

        /// What was there before goes after the lock, for its end may be the end of files.
        pub(crate) fn store(&self, value: Arc<T>) {
            let before = std::mem::replace(&mut *self.0.lock(), value);
            drop(before);
        }
    }
}
