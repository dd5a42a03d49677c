//! `cargo xtask advisories`: no package of `Cargo.lock` has a known vulnerability.
//!
//! Known is what stands in `xtask/advisories.json`, a snapshot of the RustSec database: of every advisory the
//! package, its id, its title and the versions without the flaw, so that a new dependency is looked up as well
//! as an old one. The snapshot is data of its day; `--refresh CHECKOUT` makes a new one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use semver::{Version, VersionReq};
use serde_json::{Value, json};

use crate::checks::cargo;
use crate::steps::Steps;
use crate::{Outcome, root};

pub(crate) const HELP: &str = "\
Looks up every package of Cargo.lock among the known vulnerabilities.

Usage: cargo xtask advisories                      against the snapshot in xtask/advisories.json
       cargo xtask advisories --refresh CHECKOUT   makes the snapshot anew from a checkout of
                                                   https://github.com/rustsec/advisory-db

Advisories that name no flaw (a package without maintainer, say) are not in the snapshot.";

const SNAPSHOT: &str = "xtask/advisories.json";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    let mut steps = Steps::default();
    match arguments {
        [] => steps.step("advisories", "packages with known flaws", || check(&root())),
        [option, checkout] if option == "--refresh" => {
            steps.step("refresh", checkout, || refresh(Path::new(checkout), &root()));
        }
        _ => return Ok(Outcome::Usage("see `cargo xtask advisories --help`".to_owned())),
    }
    Ok(steps.finish())
}

/// Fails if a package that this workspace was resolved to is known to have a flaw.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root.join(SNAPSHOT)).with_context(|| format!("cannot read {SNAPSHOT}"))?;
    let snapshot: Value = serde_json::from_str(&text).with_context(|| format!("{SNAPSHOT} is not JSON"))?;
    let output = cargo("metadata --format-version 1 --locked").current_dir(root).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let packages: Vec<_> = packages.iter().filter_map(named_version).collect();
    let flaws = flaws(&snapshot, &packages)?;
    let known = snapshot["advisories"].as_array().map_or(0, Vec::len);
    println!("{} packages looked up in {known} advisories of {}", packages.len(), snapshot["date"]);
    ensure!(flaws.is_empty(), "known flaws:\n  {}", flaws.join("\n  "));
    Ok(())
}

fn named_version(package: &Value) -> Option<(String, Version)> {
    let version = Version::parse(package["version"].as_str()?).ok()?;
    Some((package["name"].as_str()?.to_owned(), version))
}

fn flaws(snapshot: &Value, packages: &[(String, Version)]) -> anyhow::Result<Vec<String>> {
    let mut flaws = Vec::new();
    for advisory in snapshot["advisories"].as_array().context("the snapshot lists no advisories")? {
        for (name, version) in packages.iter().filter(|(name, _)| advisory["package"] == **name) {
            if !is_without_flaw(advisory, version)? {
                flaws.push(format!("{name} {version}: {} {}", advisory["id"], advisory["title"]));
            }
        }
    }
    Ok(flaws)
}

fn is_without_flaw(advisory: &Value, version: &Version) -> anyhow::Result<bool> {
    for range in advisory["sound"].as_array().into_iter().flatten() {
        let range = range.as_str().context("a range is no text")?;
        let range = VersionReq::parse(range).with_context(|| format!("{}: `{range}`", advisory["id"]))?;
        if range.matches(version) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn refresh(checkout: &Path, root: &Path) -> anyhow::Result<()> {
    let git = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new("git").arg("-C").arg(checkout).args(arguments).output()?;
        ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let mut advisories = Vec::new();
    for path in git(&["ls-files", "crates/*/RUSTSEC-*.md"])?.lines() {
        let text = std::fs::read_to_string(checkout.join(path)).with_context(|| path.to_owned())?;
        advisories.extend(advisory(&text).with_context(|| path.to_owned())?);
    }
    ensure!(!advisories.is_empty(), "{} holds no advisories", checkout.display());
    let lines: Vec<String> = advisories.iter().map(Value::to_string).collect();
    let text = format!(
        "{{\n\"source\": \"https://github.com/rustsec/advisory-db (CC0-1.0; entries from GHSA CC-BY-4.0)\",\n\
         \"commit\": {},\n\"date\": {},\n\"advisories\": [\n{}\n]\n}}\n",
        json!(git(&["rev-parse", "HEAD"])?),
        json!(git(&["log", "-1", "--format=%cs"])?),
        lines.join(",\n"),
    );
    std::fs::write(root.join(SNAPSHOT), text).with_context(|| format!("cannot write {SNAPSHOT}"))
}

/// What the snapshot keeps of an advisory, `None` if that is withdrawn or names no flaw.
fn advisory(page: &str) -> anyhow::Result<Option<Value>> {
    let front = page.strip_prefix("```toml").and_then(|rest| rest.split_once("\n```"));
    let (front, body) = front.context("the page has no front matter")?;
    let front: toml::Table = front.parse()?;
    let about = front.get("advisory").context("no table `advisory`")?;
    let is_notice = about.get("informational").is_some_and(|kind| kind.as_str() != Some("unsound"));
    if about.get("withdrawn").is_some() || is_notice {
        return Ok(None);
    }
    let ranges = |kind: &str| {
        let found = front.get("versions").and_then(|versions| versions.get(kind)).and_then(toml::Value::as_array);
        found.cloned().unwrap_or_default()
    };
    let sound: Vec<_> = ["patched", "unaffected"].into_iter().flat_map(ranges).collect();
    let sound: Vec<&str> = sound.iter().filter_map(toml::Value::as_str).collect();
    let title = body.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    let text = |name: &str| about.get(name).and_then(toml::Value::as_str).with_context(|| format!("no `{name}`"));
    Ok(Some(json!({ "package": text("package")?, "id": text("id")?, "title": title, "sound": sound })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "```toml\n[advisory]\nid = \"RUSTSEC-1\"\npackage = \"pressed\"\n[versions]\n\
                        patched = [\">= 1.2.3, < 2.0.0\", \">= 2.1.0\"]\nunaffected = [\"< 1.0.0\"]\n```\n\n# Reads too far\n";

    #[test]
    fn a_flaw_is_found_in_the_versions_that_have_it() {
        let snapshot = json!({ "advisories": [advisory(PAGE).unwrap()] });
        let flawed = |version: &str| {
            let packages =
                [("pressed".to_owned(), version.parse().unwrap()), ("other".to_owned(), "1.1.0".parse().unwrap())];
            flaws(&snapshot, &packages).unwrap().len()
        };
        let found = ["0.9.0", "1.1.0", "1.2.3", "2.0.5", "2.1.0"].map(flawed);
        assert_eq!(found, [0, 1, 0, 1, 0]);
    }

    #[test]
    fn notices_and_withdrawn_advisories_are_left_out() {
        for line in ["informational = \"unmaintained\"", "withdrawn = \"2026-01-01\""] {
            let page = PAGE.replace("[versions]", &format!("{line}\n[versions]"));
            assert_eq!(advisory(&page).unwrap(), None, "{line}");
        }
        let unsound = PAGE.replace("[versions]", "informational = \"unsound\"\n[versions]");
        assert!(advisory(&unsound).unwrap().is_some());
    }
}
