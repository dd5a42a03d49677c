//! Runs lanes on all cores, up to their figure or for a stretch of time as well, and prints what came out.
//!
//! # Invariants
//! D1. A finding prints one line that repeats it alone.
//! D2. A lane passes only if it reached its figure: a lane that tried nothing has not passed.
//! D3. A step that takes longer than its lane's patience ends the run as a finding; nothing hangs for ever.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lane::{At, Lane, Steps};

/// How much a run does.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    /// Each lane until its figure is reached.
    Figure,
    /// Each lane for this long, and until its figure is reached.
    Time(Duration),
}

/// What came out of a lane.
struct Outcome {
    cases: u64,
    counts: BTreeMap<&'static str, u64>,
    findings: Vec<String>,
    took: Duration,
}

/// Runs lanes one after another, prints a table, and says whether all passed.
pub(crate) fn run(lanes: &[Box<dyn Lane>], amount: Amount, first_seed: u64) -> bool {
    std::panic::set_hook(Box::new(|info| LAST_PANIC.with(|last| *last.borrow_mut() = Some(info.to_string()))));
    let mut lines = Vec::new();
    let mut passed = true;
    for lane in lanes {
        let lane = lane.as_ref();
        let name = format!("{} {}", lane.letter(), lane.name());
        if let Some(why) = lane.unavailable() {
            lines.push(format!("  SKIPPED  {name:<14} {:>11} {}: {why}", 0, lane.unit()));
            continue;
        }
        println!("── {name}: {}", lane.about());
        let outcome = drive(lane, amount, first_seed);
        let has_passed = outcome.findings.is_empty() && outcome.cases >= lane.figure();
        let verdict = if has_passed { "passed" } else { "FAILED" };
        passed &= has_passed;
        outcome.findings.iter().for_each(|finding| println!("{finding}"));
        let counts: Vec<_> = outcome.counts.iter().map(|(what, count)| format!("{} {what}", grouped(*count))).collect();
        lines.push(format!(
            "  {verdict}   {name:<14} {:>11} {} (≥ {}) in {:.1} s{}{}",
            grouped(outcome.cases),
            lane.unit(),
            grouped(lane.figure()),
            outcome.took.as_secs_f64(),
            if counts.is_empty() { "" } else { ": " },
            counts.join(", "),
        ));
        println!("{}", lines.last().expect("pushed above"));
        lines.extend(outcome.findings);
    }
    println!("\nlanes");
    lines.iter().for_each(|line| println!("{line}"));
    passed
}

/// Runs a seed of a lane, or one step of it, and says whether it passed.
pub(crate) fn repro(lane: &dyn Lane, seed: u64, step: Option<u64>) -> bool {
    let at = Arc::default();
    let mut steps = Steps::new(step, at);
    match lane.run(seed, &mut steps) {
        Ok(()) => {
            println!("passed: {} {}", grouped(steps.cases), lane.unit());
            true
        }
        Err(error) => {
            println!("found: {error:?}");
            false
        }
    }
}

fn drive(lane: &dyn Lane, amount: Amount, first_seed: u64) -> Outcome {
    let mut nothing = Outcome { cases: 0, counts: BTreeMap::new(), findings: Vec::new(), took: Duration::ZERO };
    if let Err(error) = lane.prepare() {
        nothing.findings.push(format!("not ready: {error:#}"));
        return nothing;
    }
    let start = Instant::now();
    let next_seed = AtomicU64::new(first_seed);
    let total = Mutex::new(nothing);
    let goes_on = |seed: u64| {
        let total = total.lock();
        let is_due = seed - first_seed < lane.seeds() || total.cases < lane.figure();
        let is_early = matches!(amount, Amount::Time(time) if start.elapsed() < time);
        total.findings.is_empty() && (is_due || is_early)
    };
    let watched: Vec<(Arc<Mutex<At>>, AtomicU64)> = (0..lane.parallel()).map(|_| Default::default()).collect();
    let running = AtomicU64::new(watched.len() as u64);
    std::thread::scope(|scope| {
        for (at, of_seed) in &watched {
            let (next_seed, total, goes_on, running) = (&next_seed, &total, &goes_on, &running);
            scope.spawn(move || {
                loop {
                    let seed = next_seed.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(seed) {
                        break;
                    }
                    of_seed.store(seed, Ordering::Relaxed);
                    let mut steps = Steps::new(None, Arc::clone(at));
                    let finding = attempt(lane, seed, &mut steps);
                    let mut total = total.lock();
                    total.cases += steps.cases;
                    for (what, count) in steps.counts {
                        *total.counts.entry(what).or_default() += count;
                    }
                    if let Err(what) = finding {
                        let cases = total.cases;
                        total.findings.push(described(lane, seed, at.lock().step, &what, cases));
                    }
                }
                at.lock().since = None;
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        scope.spawn(|| watch(lane, &watched, &running));
    });
    let mut outcome = total.into_inner();
    outcome.took = start.elapsed();
    outcome
}

/// Keeps D3.
fn watch(lane: &dyn Lane, watched: &[(Arc<Mutex<At>>, AtomicU64)], running: &AtomicU64) {
    while running.load(Ordering::Relaxed) > 0 {
        std::thread::sleep(Duration::from_millis(20));
        for (at, seed) in watched {
            let at = at.lock();
            if at.since.is_some_and(|since| since.elapsed() > lane.patience()) {
                let what = format!("no answer within {:?}", lane.patience());
                println!("{}", described(lane, seed.load(Ordering::Relaxed), at.step, &what, 0));
                std::process::exit(1);
            }
        }
    }
}

thread_local! {
    static LAST_PANIC: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

fn attempt(lane: &dyn Lane, seed: u64, steps: &mut Steps) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| lane.run(seed, steps))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(LAST_PANIC.with(|last| last.take()).unwrap_or_else(|| "a panic elsewhere".to_owned())),
    }
}

/// Keeps D1.
fn described(lane: &dyn Lane, seed: u64, step: Option<u64>, what: &str, cases: u64) -> String {
    let step = step.map(|step| format!(" --step {step}")).unwrap_or_default();
    format!(
        "FOUND after {cases} {}: {what}\n  cargo xtask repro --lane {} --seed {seed:#x}{step}",
        lane.unit(),
        lane.name()
    )
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds something at the third step of its seed 5; steps are cases.
    struct Scripted {
        figure: u64,
        seeds: u64,
    }

    impl Lane for Scripted {
        fn letter(&self) -> char {
            'Z'
        }
        fn name(&self) -> &'static str {
            "scripted"
        }
        fn about(&self) -> &'static str {
            "nothing"
        }
        fn unit(&self) -> &'static str {
            "cases"
        }
        fn figure(&self) -> u64 {
            self.figure
        }
        fn seeds(&self) -> u64 {
            self.seeds
        }
        fn run(&self, seed: u64, steps: &mut Steps) -> anyhow::Result<()> {
            for step in 0..4 {
                if steps.begin(step) {
                    anyhow::ensure!((seed, step) != (5, 2), "broken");
                    steps.case();
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_lane_ends_at_its_figure() {
        let outcome = drive(&Scripted { figure: 10, seeds: 1 }, Amount::Figure, 0);
        assert!(outcome.cases >= 10 && outcome.findings.is_empty(), "{:?}", outcome.findings);
    }

    #[test]
    fn a_finding_prints_how_to_repeat_it() {
        let outcome = drive(&Scripted { figure: 1, seeds: 9 }, Amount::Figure, 0);
        assert_eq!(outcome.findings.len(), 1);
        let lines = "cargo xtask repro --lane scripted --seed 0x5 --step 2";
        assert!(outcome.findings[0].contains(lines) && outcome.findings[0].contains("broken"));
        assert!(!repro(&Scripted { figure: 1, seeds: 9 }, 5, Some(2)));
        assert!(repro(&Scripted { figure: 1, seeds: 9 }, 5, Some(1)));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([grouped(7), grouped(1234), grouped(1_000_000)], ["7", "1,234", "1,000,000"]);
    }
}
