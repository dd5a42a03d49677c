//! Locks, atomics and threads of the concurrent crates, named in one place so that shuttle can stand in for them.
//!
//! As it is built for users this crate is nothing but names of parking_lot's and the standard library's. With
//! `--cfg shuttle` they are shuttle's, in parking_lot's shape, and a model checks a protocol under thousands of
//! schedules. Shuttle treats every access to an atomic as SeqCst: it finds steps in a wrong order, not orderings
//! that are too weak. For those `lsm-memtable` has loom models, and a module of its own for the switch.
//!
//! ```
//! use lsm_sync::{AtomicU64, Mutex, Ordering};
//!
//! static COUNT: AtomicU64 = AtomicU64::new(0);
//! static NAMES: Mutex<Vec<&str>> = Mutex::new(Vec::new());
//!
//! NAMES.lock().push("a");
//! COUNT.fetch_add(1, Ordering::Relaxed);
//! assert_eq!(NAMES.lock().len() as u64, COUNT.load(Ordering::Relaxed));
//! ```

#[cfg(not(shuttle))]
pub use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub use std::hint::spin_loop;
#[cfg(not(shuttle))]
pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(shuttle))]
pub use std::thread;

mod tally;
pub use tally::Tally;

#[cfg(shuttle)]
pub mod explore;

#[cfg(shuttle)]
pub use scheduled::{Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
pub use shuttle::hint::spin_loop;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
#[cfg(shuttle)]
pub use shuttle::thread;

/// Shuttle's locks with parking_lot's interface.
#[cfg(shuttle)]
mod scheduled {
    use shuttle::rand::Rng;
    use std::ops::{Deref, DerefMut};
    use std::sync::{PoisonError, TryLockError};
    use std::time::Duration;

    /// A lock that is never poisoned.
    #[derive(Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// Holds a [`Mutex`] until it is dropped.
    pub struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        /// Empty only while a [`Condvar`] has it.
        held: Option<shuttle::sync::MutexGuard<'a, T>>,
    }

    /// Wakes those who wait for something behind a [`Mutex`].
    pub struct Condvar(shuttle::sync::Condvar);

    impl<T> Mutex<T> {
        /// Locks up `value`.
        pub const fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
        }

        /// The lock, unless another thread has it.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(held) => Some(MutexGuard { mutex: self, held: Some(held) }),
                Err(TryLockError::Poisoned(held)) => Some(MutexGuard { mutex: self, held: Some(held.into_inner()) }),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    impl<T> std::fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Mutex")
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect("nobody sees a guard that waits")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect("nobody sees a guard that waits")
        }
    }

    impl Condvar {
        /// Nobody waits yet.
        pub const fn new() -> Condvar {
            Condvar(shuttle::sync::Condvar::new())
        }

        /// Waits for a call of [`Condvar::notify_all`], with the lock given back meanwhile.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.held.take().expect("nobody sees a guard that waits");
            guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }

        /// Time does not pass in a model. A draw says whether this wait has timed out by the time that the
        /// lock is free again, or never does: a model must not rest on the one nor on the other.
        pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            if shuttle::rand::thread_rng().gen_bool(0.5) {
                return self.wait(guard);
            }
            drop(guard.held.take());
            shuttle::thread::yield_now();
            *guard = guard.mutex.lock();
        }

        /// Wakes all who wait.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl Default for Condvar {
        fn default() -> Condvar {
            Condvar::new()
        }
    }
}
