//! `cargo xtask bench`: the benches, always optimised.
//!
//! The package in `benches/` is a workspace of its own, and its peers are features: what is asked for here decides
//! what is compiled.

use std::process::Command;

use crate::checks::{cargo, target_directory};
use crate::steps::Steps;
use crate::{Outcome, root};

pub(crate) const HELP: &str = "\
Measures the store beside others and writes a report. Figures mean something only with the machine and the command
beside them.

Usage: cargo xtask bench [--quick | --full] [--peers A,B] [--scenario A,B] [ARGS]...
       cargo xtask bench list                     scenarios, and the engines that are compiled in
       cargo xtask bench report DIRECTORY         makes the report of earlier results again
       cargo xtask bench --micro [ARGS]           the criterion benches of all crates, ARGS go to criterion

Without --peers: fjall, lmdb and redb, which build in a minute or two. There are sled, surrealkv, tidesdb, rocksdb and
rocksdb-tuned, too. TidesDB's C wants cmake and liblz4; RocksDB's C++ builds for about half an hour, once, and wants
clang and libclang.
All other arguments: cargo xtask bench run --help";

/// The feature with the peers of a run that names none.
const QUICK: &str = "quick";

/// All engines are compiled for the same processor, C and C++ as well as Rust: RocksDB finds out at compile time whether it has
/// instructions for checksums and filters, others when they run. What somebody has set stays.
const FLAGS: [(&str, &str); 3] = [
    ("RUSTFLAGS", "-Ctarget-cpu=x86-64-v3 -Ctarget-feature=+pclmulqdq"),
    ("CFLAGS", "-march=x86-64-v3 -mpclmul"),
    ("CXXFLAGS", "-march=x86-64-v3 -mpclmul"),
];

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    let (micro, rest): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| *argument == "--micro");
    let rest: Vec<&String> = rest.into_iter().skip_while(|argument| *argument == "--").collect();
    let mut steps = Steps::default();
    if micro.is_empty() {
        let (features, words) = compiled_and_told(&rest);
        steps.command("bench", bench("run --release", &features).arg("--").args(words));
    } else {
        steps.command("criterion benches", cargo("bench --workspace --bench * --").args(rest));
    }
    Ok(steps.finish())
}

/// A cargo command on the package of the benches, with these peers.
pub(crate) fn bench(command: &str, features: &str) -> Command {
    let mut command = cargo(command);
    command.arg("--manifest-path").arg(root().join("benches/Cargo.toml"));
    command.env("CARGO_TARGET_DIR", target_directory().join("bench"));
    if !features.is_empty() {
        command.args(["--features", features]);
    }
    if cfg!(target_arch = "x86_64") {
        command.envs(FLAGS.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied());
    }
    command
}

/// Which features to compile, and what to tell the program.
fn compiled_and_told(arguments: &[&String]) -> (String, Vec<String>) {
    let mut words: Vec<String> = arguments.iter().map(|word| (*word).clone()).collect();
    if words.first().is_none_or(|first| first.starts_with('-')) {
        words.insert(0, "run".to_owned());
    }
    let given = words.iter().position(|word| word == "--peers").and_then(|at| words.get(at + 1));
    let given = given.cloned();
    let joined = words.iter().find_map(|word| word.strip_prefix("--peers=")).map(str::to_owned);
    let peers = given.or(joined).unwrap_or_else(|| QUICK.to_owned());
    // Two columns of RocksDB, one feature.
    let peers: Vec<&str> =
        peers.split(',').map(|peer| if peer == "rocksdb-tuned" { "rocksdb" } else { peer }).collect();
    (peers.join(","), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[&str]) -> (String, Vec<String>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        compiled_and_told(&words.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_asked_for_is_compiled() {
        assert_eq!(told(&[]), (QUICK.to_owned(), vec!["run".to_owned()]));
        assert_eq!(told(&["--peers", "rocksdb-tuned,sled"]).0, "rocksdb,sled");
        assert_eq!(told(&["--peers=", "--quick"]).0, "");
        assert_eq!(told(&["list"]).1, ["list"]);
    }
}
