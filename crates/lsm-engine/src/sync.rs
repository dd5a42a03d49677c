//! Locks, atomics and threads of this crate, named in one place so that shuttle can stand in for them.
//!
//! With `--cfg shuttle` they are shuttle's, in parking_lot's shape, and the models (`shuttle_models` beside
//! each protocol) run under thousands of schedules. Shuttle treats every access to an atomic as SeqCst: it
//! finds steps in a wrong order, not orderings that are too weak.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex};
#[cfg(not(shuttle))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(shuttle))]
pub(crate) use std::thread;

#[cfg(shuttle)]
pub(crate) use scheduled::{Condvar, Mutex};
#[cfg(shuttle)]
pub(crate) use shuttle::hint::spin_loop;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(shuttle)]
pub(crate) use shuttle::thread;

/// Shuttle's locks with parking_lot's interface.
#[cfg(shuttle)]
mod scheduled {
    use shuttle::rand::Rng;
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::time::Duration;

    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        /// Empty only while a [`Condvar`] has it.
        held: Option<shuttle::sync::MutexGuard<'a, T>>,
    }

    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
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
        pub(crate) const fn new() -> Condvar {
            Condvar(shuttle::sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.held.take().expect("nobody sees a guard that waits");
            guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }

        /// Time does not pass in a model. A draw says whether this wait has timed out by the time that the
        /// lock is free again, or never does: a model must not rest on the one nor on the other.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            if shuttle::rand::thread_rng().gen_bool(0.5) {
                return self.wait(guard);
            }
            drop(guard.held.take());
            shuttle::thread::yield_now();
            *guard = guard.mutex.lock();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl Default for Condvar {
        fn default() -> Condvar {
            Condvar::new()
        }
    }
}

/// Runs models under many schedules.
#[cfg(all(test, shuttle))]
pub(crate) mod explore {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
    use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Schedules of each kind for each model.
    const SCHEDULES: usize = 10_000;

    /// Places per schedule where PCT takes the processor from the thread that it prefers, and one more.
    const PCT_DEPTH: usize = 3;

    /// The same schedules in each run; `SHUTTLE_RANDOM_SEED` in the environment gives others.
    const SEED: u64 = 1;

    /// One schedule, as a failure printed it, in the place of all others.
    const REPLAY: &str = "SHUTTLE_SCHEDULE";

    /// Runs `model` under random schedules and under PCT's: few switches, at the worst places.
    pub(crate) fn holds(model: impl Fn() + Send + Sync + Copy + 'static) {
        if let Ok(schedule) = std::env::var(REPLAY) {
            run(ReplayScheduler::new_from_encoded(&schedule), FailurePersistence::Print, model);
            return;
        }
        run(RandomScheduler::new_from_seed(SEED, SCHEDULES), FailurePersistence::Print, model);
        run(PctScheduler::new_from_seed(SEED, PCT_DEPTH, SCHEDULES), FailurePersistence::Print, model);
    }

    /// Runs `model`, in which a bug is planted: schedules of both kinds must find it, by a panic that says `symptom`.
    pub(crate) fn finds(symptom: &str, model: impl Fn() + Send + Sync + Copy + 'static) {
        let random = RandomScheduler::new_from_seed(SEED, SCHEDULES);
        let pct = PctScheduler::new_from_seed(SEED, PCT_DEPTH, SCHEDULES);
        let random = catch_unwind(AssertUnwindSafe(|| run(random, FailurePersistence::None, model)));
        let pct = catch_unwind(AssertUnwindSafe(|| run(pct, FailurePersistence::None, model)));
        for (kind, outcome) in [("random", random), ("PCT's", pct)] {
            let panic = outcome.expect_err(&format!("{kind} schedules do not find the bug"));
            let message = panic.downcast_ref::<String>().map_or("", String::as_str);
            assert!(message.contains(symptom), "{kind} schedules find something else: {message}");
        }
    }

    fn run(
        scheduler: impl Scheduler + 'static,
        failures: FailurePersistence,
        model: impl Fn() + Send + Sync + 'static,
    ) {
        let mut config = Config::new();
        config.failure_persistence = failures;
        // A model takes some hundred steps; many more are threads that wait for each other, awake.
        config.max_steps = MaxSteps::FailAfter(20_000);
        config.silence_warnings = true;
        Runner::new(scheduler, config).run(model);
    }
}
