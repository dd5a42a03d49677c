//! Every input that is kept is run again: seeds, what the fuzzer found worth keeping, and all that ever failed.
//!
//! No test but this one is in the file: it watches how much memory the process takes.

mod kept;

use std::alloc::System;

use cap::Cap;
use kept::inputs;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The most that the process may ever hold, whatever a length in an input says. The largest input has some KiB.
const BYTES_MAX: usize = 48 << 20;

/// Kept inputs stay few and small.
const KEPT_BYTES_MAX: usize = 200 << 10;

#[test]
fn every_kept_input_is_harmless() {
    let mut bytes = 0;
    for target in lsm_inputs::TARGETS {
        let inputs = inputs(target.name);
        assert!(!inputs.is_empty(), "the target {} has no input in fuzz/seeds", target.name);
        for (path, input) in inputs {
            bytes += input.len();
            println!("{}", path.display());
            (target.run)(&input);
            let taken = ALLOCATOR.max_allocated();
            assert!(taken <= BYTES_MAX, "{}: the process took {taken} bytes", path.display());
        }
        (target.run)(&[]);
    }
    assert!(bytes <= KEPT_BYTES_MAX, "{bytes} bytes of inputs are kept");
    println!("at most {} bytes of memory", ALLOCATOR.max_allocated());
}

#[test]
fn libfuzzer_has_the_same_targets() {
    let of_fuzz: Vec<String> = kept::names("fuzz_targets").iter().map(|name| name.replace(".rs", "")).collect();
    let own: Vec<&str> = lsm_inputs::TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(of_fuzz, own);
}
