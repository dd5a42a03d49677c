//! `cargo xtask tidy`: rules about the source tree that the compiler does not know.
//!
//! Each rule is a function from the tree, read as text, to a list of findings; `mask.rs` takes care that a
//! rule about code never looks into a comment or a string. Rules are about this workspace's design, so each
//! names the page that explains it.

mod data;
mod edges;
mod links;
mod longest;
mod mask;
mod plants;
mod rules;
mod tree;

use std::path::Path;

use crate::{Outcome, no_arguments, root};
use tree::Tree;

pub(crate) const HELP: &str = "\
Checks rules about the source tree that the compiler does not know.

Usage: cargo xtask tidy

Rules:
  edges    each crate depends on exactly what the table in docs/architecture.md allows
  headers  every Rust file starts with a `//!` header
  unsafe   only files that docs/unsafe.md lists have unsafe code, and it lists no others
  words    no dbg!, todo!, unimplemented! and no notes that promise to fix something later
  system   among the libraries only lsm-fs opens files or maps them (tests may)
  data     every file in testdata/ and tests/{golden,data}/ is named by some source
  links    relative links in Markdown files lead somewhere
  plants   the text that each planted bug replaces occurs once, see `cargo xtask sabotage --help`

Prints the two longest files and functions, so that growth is noticed; they fail nothing.";

/// One violation of a rule: where it is and what was expected.
#[derive(Debug, PartialEq, Eq)]
struct Finding(String);

impl Finding {
    fn at_line(path: &str, line: usize, what: impl AsRef<str>) -> Finding {
        Finding(format!("{path}:{line}: {}", what.as_ref()))
    }

    fn in_file(path: &str, what: impl AsRef<str>) -> Finding {
        Finding(format!("{path}: {}", what.as_ref()))
    }
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    if let Some(usage) = no_arguments("tidy", arguments) {
        return Ok(usage);
    }
    match check(&root()) {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) => {
            println!("tidy: {error:#}");
            Ok(Outcome::Failed)
        }
    }
}

/// Applies every rule to the tree under `root`, prints all findings and the longest files and functions.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let findings: Vec<(&str, Vec<Finding>)> = vec![
        ("edges", edges::check(root, &tree)?),
        ("headers", rules::headers(&tree)),
        ("unsafe", rules::unsafe_code(&tree)),
        ("words", rules::words(&tree)),
        ("system", rules::system(&tree)),
        ("data", data::check(root, &tree)?),
        ("links", links::check(root, &tree)),
        ("plants", plants::check(root)),
    ];
    for (rule, findings) in &findings {
        match findings.len() {
            0 => println!("tidy: {rule}: fine"),
            count => println!("tidy: {rule}: {count} findings"),
        }
        findings.iter().for_each(|Finding(text)| println!("  {text}"));
    }
    longest::print(&tree);
    let count: usize = findings.iter().map(|(_, findings)| findings.len()).sum();
    anyhow::ensure!(count == 0, "{count} findings");
    Ok(())
}
