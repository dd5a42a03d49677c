//! `cargo xtask sanitize`: tests of the concurrent and of the unsafe parts under the compiler's sanitizers.
//!
//! The toolchain of the workspace carries their runtimes; the flag that chooses one is let through by
//! `RUSTC_BOOTSTRAP`. The standard library is not instrumented. That suffices for threads that meet in parking_lot's
//! locks and in atomics of our own crates; Tokio's threads meet in the standard library's, and would be reported.

use crate::checks::{cargo, target_directory};
use crate::steps::Steps;
use crate::{Outcome, no_arguments};

pub(crate) const HELP: &str = "\
Runs tests under ThreadSanitizer (the memtable, the log, the file systems, locks) and under AddressSanitizer (these,
tables, the manifest, keys and batches). Skipped, with a message, where the toolchain has no sanitizers.

Usage: cargo xtask sanitize";

/// The only platform whose toolchain is known to carry both.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What threads share without Tokio.
const THREADS: &str = "-p lsm-sync -p lsm-memtable -p lsm-fs -p lsm-wal --lib --tests";

/// What reads bytes through pointers, and what decodes.
const ADDRESSES: &str = "-p lsm-memtable -p lsm-fs -p lsm-wal -p lsm-core -p lsm-manifest -p lsm-sstable --lib --tests";

/// Reports that are none, with their reasons.
const SUPPRESSIONS: &str = "crates/lsm-memtable/tests/tsan.supp";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    if let Some(usage) = no_arguments("sanitize", arguments) {
        return Ok(usage);
    }
    let mut steps = Steps::default();
    sanitize(&mut steps);
    Ok(steps.finish())
}

pub(crate) fn sanitize(steps: &mut Steps) {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        steps.skip("sanitizers", format!("only on {TARGET}"));
        return;
    }
    for (name, sanitizer, packages) in [("threads", "thread", THREADS), ("addresses", "address", ADDRESSES)] {
        let mut tests = cargo(&format!("test --target {TARGET} {packages}"));
        tests.env("RUSTC_BOOTSTRAP", "1");
        tests.env("RUSTFLAGS", format!("-Zsanitizer={sanitizer} -Cunsafe-allow-abi-mismatch=sanitizer"));
        tests.env("CARGO_TARGET_DIR", target_directory().join(format!("sanitize-{sanitizer}")));
        let suppressions = crate::root().join(SUPPRESSIONS);
        tests.env("TSAN_OPTIONS", format!("halt_on_error=1 suppressions={}", suppressions.display()));
        // A test asks for more memory than there is and expects an error, no end of the process.
        tests.env("ASAN_OPTIONS", "allocator_may_return_null=1");
        steps.command(name, &mut tests);
    }
}
