//! `cargo xtask test` and `cargo xtask ci`: what must pass before a change lands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::bench;
use crate::steps::Steps;
use crate::{Outcome, advisories, no_arguments, root, sanitize, tidy, torture};

pub(crate) const TEST_HELP: &str = "\
Everything that must pass before a change lands. All steps run, even behind one that failed.

Usage: cargo xtask test

Steps:
  format     cargo fmt --all --check
  lints      cargo clippy on all targets of all crates, warnings are errors
  benches    the same for the package in benches/, without its peers, and its tests
  tests      unit and integration tests of all crates, examples built
  doc tests  the examples in the documentation
  tidy       rules about the source tree, see `cargo xtask tidy --help`
  advisories no package of Cargo.lock has a known vulnerability; with cargo-deny installed, deny.toml too
  loom       the memtable's concurrency models, optimised, in a target directory of their own
  shuttle    the store's concurrency models under random schedules, likewise
  changed inputs  each fuzz target for half a minute on kept inputs with random changes
  lanes      every lane that tries to break the store, each up to its figure, see `cargo xtask soak --help`

Tests against RocksDB's own tools skip themselves when `ldb` is not installed (Debian: rocksdb-tools);
with LSM_REQUIRE_ROCKSDB=1 they fail instead. The summary names whatever was skipped.";

pub(crate) const CI_HELP: &str = "\
The steps of `cargo xtask test`, those of `cargo xtask sanitize`, and the documentation of all crates with warnings
as errors.

Usage: cargo xtask ci";

/// Time for each target of `crates/lsm-inputs`, of which there run as many at once as there are cores.
const CHANGED_INPUTS_SECONDS: &str = "30";

/// Where the memtable's loom models are, from the root.
const LOOM_MODELS: &str = "crates/lsm-memtable/tests/loom.rs";

pub(crate) fn test(arguments: &[String]) -> anyhow::Result<Outcome> {
    if let Some(usage) = no_arguments("test", arguments) {
        return Ok(usage);
    }
    let mut steps = Steps::default();
    test_steps(&mut steps);
    steps.skip("sanitizers and documentation", "part of `cargo xtask ci`");
    Ok(finish(steps))
}

pub(crate) fn ci(arguments: &[String]) -> anyhow::Result<Outcome> {
    if let Some(usage) = no_arguments("ci", arguments) {
        return Ok(usage);
    }
    let mut steps = Steps::default();
    test_steps(&mut steps);
    sanitize::sanitize(&mut steps);
    let mut doc = cargo("doc --workspace --no-deps --document-private-items");
    steps.command("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"));
    Ok(finish(steps))
}

fn test_steps(steps: &mut Steps) {
    steps.command("format", &mut cargo("fmt --all --check"));
    steps.command("lints", &mut cargo("clippy --workspace --all-targets -- -D warnings"));
    benches(steps);
    steps.command("tests", &mut cargo("test --workspace --lib --bins --tests --examples --no-fail-fast"));
    steps.command("doc tests", &mut cargo("test --workspace --doc --no-fail-fast"));
    steps.step("tidy", "rules about the source tree", || tidy::check(&root()));
    dependencies(steps);
    loom(steps);
    shuttle(steps);
    changed_inputs(steps);
    // Last, so that what they found ends the output.
    steps.command("lanes", &mut torture::lanes("run"));
}

/// The package of the benches, without the peers: a workspace of its own.
fn benches(steps: &mut Steps) {
    steps.command("format of the benches", bench("fmt", "").args(["--all", "--check"]));
    steps.command("lints of the benches", bench("clippy", "").args(["--all-targets", "--", "-D", "warnings"]));
    steps.command("tests of the benches", &mut bench("test", ""));
}

fn dependencies(steps: &mut Steps) {
    steps.step("advisories", "packages with known flaws", || advisories::check(&root()));
    if is_there(Command::new("cargo-deny").arg("--version")) {
        steps.command("deny", &mut cargo("deny --offline check bans licenses sources"));
    } else {
        steps.skip("deny", "cargo-deny is not installed (`cargo install cargo-deny`)");
    }
}

/// What a fuzzer would do without knowing which way an input takes, where there is none.
fn changed_inputs(steps: &mut Steps) {
    let mut inputs = cargo("test -p lsm-inputs --test mutated --profile torture -- --show-output");
    steps.command("changed inputs", inputs.env("LSM_SECONDS", CHANGED_INPUTS_SECONDS));
}

fn loom(steps: &mut Steps) {
    if !root().join(LOOM_MODELS).exists() {
        steps.skip("loom", format!("{LOOM_MODELS} does not exist"));
        return;
    }
    let mut models = cargo("test -p lsm-memtable --test loom --release");
    // Other flags make other artefacts: in the same directory the two builds would throw each other away.
    models.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target_directory().join("loom"));
    // Models that must fail do so by panics, whose stacks nobody wants to read.
    steps.command("loom", models.env("RUST_BACKTRACE", "0"));
}

fn shuttle(steps: &mut Steps) {
    let mut models =
        cargo("test -p lsm-engine -p lsm-sstable -p lsm-wal --lib --release shuttle_models -- --show-output");
    models.env("RUSTFLAGS", "--cfg shuttle").env("CARGO_TARGET_DIR", target_directory().join("shuttle"));
    // Linking with all crates at once takes longer than all models together.
    models.env("CARGO_PROFILE_RELEASE_LTO", "off");
    steps.command("shuttle", models.env("RUST_BACKTRACE", "0"));
}

/// Names what this run could not show, then ends it.
fn finish(mut steps: Steps) -> Outcome {
    if !rocksdb_tools_are_there() && std::env::var_os("LSM_REQUIRE_ROCKSDB").is_none() {
        steps.skip("RocksDB's tools", "`ldb` is not installed, so tests against RocksDB have skipped themselves");
    }
    steps.skip("fuzzing with libFuzzer, and benches", "commands of their own: `cargo xtask fuzz`, `cargo xtask bench`");
    steps.finish()
}

fn rocksdb_tools_are_there() -> bool {
    is_there(Command::new("ldb").arg("--version"))
}

/// Whether a program can be started at all.
fn is_there(program: &mut Command) -> bool {
    program.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Cargo, in the workspace's root, with these words as arguments.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root()).args(words.split_whitespace());
    command
}

pub(crate) fn target_directory() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(chosen.as_deref().unwrap_or(Path::new("target")))
}
