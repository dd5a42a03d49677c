//! Locks and atomics of this crate, named in one place so that a model checker can stand in for them.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
