//! A little fuzzing that needs no fuzzer: every kept input with random changes, the same in each run.
//!
//! `LSM_MUTATIONS=N` makes N of each target; LSM_SEED chooses other ones.

mod kept;

use lsm_testkit::Choices;

const MUTATIONS: usize = 300;

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

#[test]
fn changed_inputs_are_harmless() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (number("LSM_MUTATIONS", MUTATIONS as u64), number("LSM_SEED", 1));
    let only = std::env::var("LSM_TARGET").ok();
    for target in lsm_inputs::TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)) {
        let inputs = kept::inputs(target.name);
        for round in 0..count {
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
        }
    }
}
