//! Locks, atomics and threads of this crate: those of `lsm-sync`, for which shuttle can stand in. The models are
//! in `shuttle_models` beside each protocol.

pub(crate) use lsm_sync::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, spin_loop, thread};

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
