//! Runs models under many schedules: as the code is, when nothing may fail, and with planted bugs that must show.

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Schedules of each kind for each model, random ones and PCT's.
const SCHEDULES: usize = 5_000;

/// Another number of schedules of each kind, for a longer run.
const SCHEDULES_VARIABLE: &str = "LSM_SHUTTLE_SCHEDULES";

/// Models of a whole store take this many times longer, and run under so many times fewer schedules.
const WHOLE_STORE_SHARE: usize = 10;

/// Places per schedule where PCT takes the processor from the thread that it prefers, and one more.
const PCT_DEPTH: usize = 3;

/// The same schedules in each run; `SHUTTLE_RANDOM_SEED` in the environment gives others.
const SEED: u64 = 1;

/// One schedule, as a failure printed it, in the place of all others.
const REPLAY: &str = "SHUTTLE_SCHEDULE";

/// Runs `model` under random schedules and under PCT's: few switches, at the worst places.
pub fn holds(model: impl Fn() + Send + Sync + Copy + 'static) {
    holds_under(schedules(), model);
}

/// As [`holds`] for a model of a whole store, under fewer schedules.
pub fn holds_for_store(model: impl Fn() + Send + Sync + Copy + 'static) {
    holds_under(schedules().div_ceil(WHOLE_STORE_SHARE), model);
}

fn holds_under(schedules: usize, model: impl Fn() + Send + Sync + Copy + 'static) {
    if let Ok(schedule) = std::env::var(REPLAY) {
        run(ReplayScheduler::new_from_encoded(&schedule), FailurePersistence::Print, model);
        return;
    }
    run(RandomScheduler::new_from_seed(SEED, schedules), FailurePersistence::Print, model);
    run(PctScheduler::new_from_seed(SEED, PCT_DEPTH, schedules), FailurePersistence::Print, model);
    println!("held under {} schedules", 2 * schedules);
}

/// Runs `model`, in which a bug is planted: schedules of both kinds must find it, by a panic that says `symptom`.
pub fn finds(symptom: &str, model: impl Fn() + Send + Sync + Copy + 'static) {
    let random = RandomScheduler::new_from_seed(SEED, schedules());
    let pct = PctScheduler::new_from_seed(SEED, PCT_DEPTH, schedules());
    let random = catch_unwind(AssertUnwindSafe(|| run(random, FailurePersistence::None, model)));
    let pct = catch_unwind(AssertUnwindSafe(|| run(pct, FailurePersistence::None, model)));
    for (kind, outcome) in [("random", random), ("PCT's", pct)] {
        let panic = outcome.expect_err(&format!("{kind} schedules do not find the bug"));
        let text = panic.downcast_ref::<&str>().copied();
        let message = panic.downcast_ref::<String>().map(String::as_str).or(text).unwrap_or_default();
        assert!(message.contains(symptom), "{kind} schedules find something else: {message}");
    }
}

fn schedules() -> usize {
    let chosen = std::env::var(SCHEDULES_VARIABLE).ok();
    chosen.map_or(SCHEDULES, |number| number.parse().expect("LSM_SHUTTLE_SCHEDULES is a number"))
}

fn run(scheduler: impl Scheduler + 'static, failures: FailurePersistence, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.failure_persistence = failures;
    // A model takes some hundred steps; many more are threads that wait for each other, awake.
    config.max_steps = MaxSteps::FailAfter(50_000);
    // A whole store's calls go deeper than shuttle's default stack.
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model);
}
