//! Locks, atomics and threads of this crate: those of `lsm-sync`, for which shuttle can stand in. The models are
//! in `shuttle_models` beside each protocol.

pub(crate) use lsm_sync::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, spin_loop, thread};

#[cfg(all(test, shuttle))]
pub(crate) use lsm_sync::explore;
