//! A little fuzzing that needs no fuzzer: every kept input with random changes, the same in each run.
//!
//! `LSM_MUTATIONS=N` makes N of each target, `LSM_SECONDS=S` as many as S seconds allow, as `cargo xtask test` does;
//! `LSM_SEED` chooses other ones, `LSM_TARGET` one target.

mod kept;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lsm_inputs::Target;
use lsm_testkit::Choices;

const MUTATIONS: u64 = 300;

/// One change, of the kinds that find the most: bits, bytes that are edges, pieces moved, ends cut.
fn change(choices: &mut Choices, input: &mut Vec<u8>) {
    let at = choices.below(input.len() + 1);
    match (choices.below(6), input.get_mut(at)) {
        (0, Some(byte)) => *byte ^= 1 << choices.below(8),
        (1, Some(byte)) => *byte = *choices.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        (2, Some(byte)) => *byte = choices.number() as u8,
        (3, _) => input.truncate(at),
        (4, _) => {
            let from = choices.below(input.len() + 1);
            let to = choices.within(from..=input.len().min(from + 16));
            let piece = input[from..to].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let bytes = choices.bytes(1..=8);
            input.splice(at..at, bytes);
        }
    }
}

/// How far to go with each target.
#[derive(Clone, Copy)]
enum Until {
    Rounds(u64),
    Passed(Duration),
}

/// Runs `target` on changed inputs; returns how many.
fn run(target: &Target, until: Until, seed: u64) -> u64 {
    let (inputs, begun, mut round) = (kept::inputs(target.name), Instant::now(), 0);
    while match until {
        Until::Rounds(rounds) => round < rounds,
        Until::Passed(time) => begun.elapsed() < time,
    } {
        let mut choices = Choices::from_seed(seed << 32 | round);
        let (_, mut input) = choices.pick(&inputs).clone();
        for _ in 0..choices.within(1..=4) {
            change(&mut choices, &mut input);
        }
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        if outcome.is_err() {
            let path = std::env::temp_dir().join(format!("lsm-finding-{}", target.name));
            std::fs::write(&path, &input).unwrap();
            panic!("{} fails with the input now in {}", target.name, path.display());
        }
        round += 1;
    }
    round
}

#[test]
fn changed_inputs_are_harmless() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = Until::Rounds(number("LSM_MUTATIONS").unwrap_or(MUTATIONS));
    let until = number("LSM_SECONDS").map_or(rounds, |seconds| Until::Passed(Duration::from_secs(seconds)));
    let seed = number("LSM_SEED").unwrap_or(1);
    let only = std::env::var("LSM_TARGET").ok();
    let wanted = |target: &&Target| only.as_ref().is_none_or(|only| only == target.name);
    let targets: Vec<&Target> = lsm_inputs::TARGETS.iter().filter(wanted).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    println!("{}: {} inputs", target.name, run(target, until, seed));
                }
            });
        }
    });
}
