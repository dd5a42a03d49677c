//! `cargo xtask sabotage`: plants bugs in a copy of the source and shows which check catches each.
//!
//! A plant is an edit of one file: a sync left out, a checksum ignored. Its catcher is the lane, test or model
//! that must fail because of it. The workspace itself is never touched: plants are made in a copy below the
//! target directory, one at a time, each taken back before the next.
//!
//! # Invariants
//! P1. A plant that does not compile is caught by nobody: the build comes first, and its failure is a failure.
//! P2. A catcher that fails without any plant catches nothing: each runs once on the clean copy first.
//! P3. The text that a plant replaces occurs once in its file; `cargo xtask tidy` says so on every change.

mod copy;
mod plants;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::checks::{cargo, target_directory};
use crate::{Outcome, root};
use copy::Copy;
pub(crate) use plants::PLANTS;

pub(crate) const HELP: &str = "\
Plants bugs in a copy of the source, one after another, and shows that each is caught, by whom and how soon.

Usage: cargo xtask sabotage [NAME]...   these plants, or all (takes about a minute each)
       cargo xtask sabotage --list

Before the first plant every catcher runs on the clean copy, where it must pass.";

/// A bug, and who must find it.
pub(crate) struct Plant {
    /// One or a few words, unique.
    pub(crate) name: &'static str,
    /// From the root.
    pub(crate) file: &'static str,
    /// What stands there, once.
    pub(crate) find: &'static str,
    /// What stands there instead.
    pub(crate) plant: &'static str,
    pub(crate) caught_by: Catcher,
}

/// What must fail because of a plant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Catcher {
    /// A lane of `lsm-torture`.
    Lane(&'static str),
    /// Tests: cargo's arguments behind `cargo test`.
    Test(&'static str),
    /// Models of the memtable under loom: a filter of their names.
    Loom(&'static str),
    /// Models of the store's threads under shuttle: a filter of their names.
    Shuttle(&'static str),
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    if arguments == ["--list"] {
        PLANTS.iter().for_each(|plant| println!("{:<34} {:<44} {}", plant.name, plant.caught_by.shown(), plant.file));
        return Ok(Outcome::Passed);
    }
    if let Some(unknown) = arguments.iter().find(|name| PLANTS.iter().all(|plant| plant.name != **name)) {
        return Ok(Outcome::Usage(format!("no plant `{unknown}`; see `cargo xtask sabotage --list`")));
    }
    let chosen: Vec<&Plant> =
        PLANTS.iter().filter(|plant| arguments.is_empty() || arguments.iter().any(|name| name == plant.name)).collect();
    let copy = Copy::new(&root(), &target_directory().join("sabotage"))?;
    let clean = catchers_on_clean_copy(&copy, &chosen)?;
    let mut lines = Vec::new();
    for (index, plant) in chosen.iter().enumerate() {
        println!("── {} of {}: {} in {}", index + 1, chosen.len(), plant.name, plant.file);
        let start = Instant::now();
        let outcome = match clean.get(&plant.caught_by) {
            Some(Err(why)) => Err(format!("its catcher fails on the clean copy: {why}")),
            _ => caught(&copy, plant),
        };
        let (verdict, how) = match &outcome {
            Ok(how) => ("caught", how),
            Err(why) => ("MISSED", why),
        };
        let took = start.elapsed().as_secs();
        lines.push((
            outcome.is_ok(),
            format!("  {verdict}  {:<34} by {}, {how} ({took} s)", plant.name, plant.caught_by.shown()),
        ));
        println!("{}", lines.last().expect("pushed above").1);
    }
    println!("\nplanted bugs");
    lines.iter().for_each(|(_, line)| println!("{line}"));
    let missed = lines.iter().filter(|(caught, _)| !caught).count();
    println!("{} planted, {missed} missed", lines.len());
    Ok(if missed == 0 { Outcome::Passed } else { Outcome::Failed })
}

/// Whether each catcher passes where nothing is planted (P2).
fn catchers_on_clean_copy(copy: &Copy, plants: &[&Plant]) -> anyhow::Result<BTreeMap<Catcher, Result<(), String>>> {
    let mut clean = BTreeMap::new();
    for plant in plants {
        let catcher = plant.caught_by;
        if clean.contains_key(&catcher) {
            continue;
        }
        println!("── clean copy: {}", catcher.shown());
        catcher.build(copy.root())?;
        let verdict = match catcher.run(copy.root())? {
            Verdict::Passed => Ok(()),
            Verdict::Failed(how) => Err(how),
        };
        clean.insert(catcher, verdict);
    }
    Ok(clean)
}

/// Plants a bug, looks whether its catcher fails, and takes it back. Says how it was caught.
fn caught(copy: &Copy, plant: &Plant) -> Result<String, String> {
    let attempt = || -> anyhow::Result<Verdict> {
        let _planted = copy.plant(plant)?;
        plant.caught_by.build(copy.root()).context("with the plant")?;
        plant.caught_by.run(copy.root())
    };
    match attempt() {
        Ok(Verdict::Failed(how)) => Ok(how),
        Ok(Verdict::Passed) => Err("the catcher passed".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

enum Verdict {
    Passed,
    /// With the line that tells why.
    Failed(String),
}

impl Catcher {
    fn shown(self) -> String {
        match self {
            Catcher::Lane(name) => format!("lane {name}"),
            Catcher::Test(arguments) => format!("cargo test {arguments}"),
            Catcher::Loom(model) => format!("loom {model}"),
            Catcher::Shuttle(model) => format!("shuttle {model}"),
        }
    }

    fn command(self, build_only: bool) -> Command {
        let no_run = if build_only { "--no-run" } else { "" };
        let mut command = match self {
            Catcher::Lane(_) if build_only => cargo("build --quiet --profile torture -p lsm-torture"),
            Catcher::Lane(name) => cargo(&format!("run --quiet --profile torture -p lsm-torture -- run {name}")),
            Catcher::Test(arguments) => cargo(&format!("test --quiet {arguments} {no_run}")),
            Catcher::Loom(model) => cargo(&format!("test -p lsm-memtable --test loom --release {no_run} {model}")),
            Catcher::Shuttle(model) => {
                cargo(&format!("test -p lsm-engine -p lsm-sstable -p lsm-wal --lib --release {no_run} {model}"))
            }
        };
        let target = target_directory().join("sabotage/target");
        match self {
            Catcher::Lane(_) | Catcher::Test(_) => command.env("CARGO_TARGET_DIR", target),
            Catcher::Loom(_) => command.env("CARGO_TARGET_DIR", target.join("loom")).env("RUSTFLAGS", "--cfg loom"),
            Catcher::Shuttle(_) => {
                command.env("CARGO_TARGET_DIR", target.join("shuttle")).env("RUSTFLAGS", "--cfg shuttle");
                command.env("CARGO_PROFILE_RELEASE_LTO", "off")
            }
        };
        command
    }

    fn build(self, root: &Path) -> anyhow::Result<()> {
        let output = self.command(true).current_dir(root).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error")).collect();
        ensure!(output.status.success(), "the build failed: {}", errors.join("; "));
        Ok(())
    }

    fn run(self, root: &Path) -> anyhow::Result<Verdict> {
        let output = self.command(false).current_dir(root).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(Verdict::Passed);
        }
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok(Verdict::Failed(telling_line(&text).unwrap_or_else(|| output.status.to_string())))
    }
}

/// The line of a failed run that says most: a lane's finding, or where a test panicked.
fn telling_line(text: &str) -> Option<String> {
    let tells = |line: &&str| line.contains("FOUND after") || line.contains("panicked at");
    let line = text.lines().find(tells).or_else(|| text.lines().find(|line| line.contains("FAILED")))?;
    Some(line.trim().chars().take(160).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn plants_have_names_of_their_own_and_change_something() {
        let names: BTreeSet<_> = PLANTS.iter().map(|plant| plant.name).collect();
        assert_eq!(names.len(), PLANTS.len());
        assert!(PLANTS.iter().all(|plant| plant.find != plant.plant));
    }

    #[test]
    fn the_telling_line_is_the_finding() {
        let text = "── C crash: x\nFOUND after 12 recoveries: lost\n  cargo xtask repro\nFAILED";
        assert_eq!(telling_line(text).unwrap(), "FOUND after 12 recoveries: lost");
        assert_eq!(telling_line("test a ... FAILED").unwrap(), "test a ... FAILED");
        assert_eq!(telling_line("all well"), None);
    }
}
