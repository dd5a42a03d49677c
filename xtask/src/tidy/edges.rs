//! The crate graph: every edge is a row's entry in docs/architecture.md, and every entry is an edge.
//!
//! The table is the design; cargo's own account of the manifests is what is compared with it. Watched are
//! edges to crates of the workspace and to the packages whose spread the design limits ([`WATCHED`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;

use super::Finding;
use super::tree::Tree;
use crate::checks::cargo;

/// The page with the table.
const PAGE: &str = "docs/architecture.md";

/// The table's first columns; rows follow until the first line that is none.
const HEADING: &str = "| crate | depends on | and in tests on |";

/// Packages from outside that only some crates may have: a runtime, and errors without types.
const WATCHED: [&str; 2] = ["anyhow", "tokio"];

/// A crate's watched edges.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edges {
    normal: BTreeSet<String>,
    tests: BTreeSet<String>,
}

type Graph = BTreeMap<String, Edges>;

pub(super) fn check(root: &Path, tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let Some(page) = tree.page(PAGE) else {
        return Ok(vec![Finding::in_file(PAGE, "does not exist")]);
    };
    let Some(designed) = table(&page.text) else {
        return Ok(vec![Finding::in_file(PAGE, format!("has no table that starts with `{HEADING}`"))]);
    };
    let output = cargo("metadata --format-version 1 --no-deps").current_dir(root).output();
    let output = output.context("cannot start cargo metadata")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let built = graph(&output.stdout)?;
    Ok(compare(&designed, &built))
}

/// The edges that the table allows, or `None` if there is no table.
fn table(page: &str) -> Option<Graph> {
    let rows = page.lines().skip_while(|line| !line.starts_with(HEADING)).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    let row = |line: &&str| {
        let cells: Vec<BTreeSet<String>> = line.trim_matches('|').split('|').map(names).collect();
        let [name, normal, tests, ..] = cells.as_slice() else { return None };
        let edges = Edges { normal: normal.clone(), tests: tests.clone() };
        Some((name.first()?.clone(), edges))
    };
    let graph: Graph = rows.iter().filter_map(row).collect();
    (!graph.is_empty()).then_some(graph)
}

/// The names in a cell, `–` for none; backticks do not matter.
fn names(cell: &str) -> BTreeSet<String> {
    let names = cell.split(',').map(|name| name.trim().trim_matches('`').to_owned());
    names.filter(|name| !name.is_empty() && name != "–").collect()
}

/// The watched edges in cargo's account of the workspace.
fn graph(metadata: &[u8]) -> anyhow::Result<Graph> {
    let metadata: serde_json::Value = serde_json::from_slice(metadata).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut graph: Graph = packages.iter().map(|package| (text(&package["name"]), Edges::default())).collect();
    for package in packages {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = text(&dependency["name"]);
            if !graph.contains_key(&name) && !WATCHED.contains(&name.as_str()) {
                continue;
            }
            let edges = graph.get_mut(&text(&package["name"])).expect("every package is a node");
            match dependency["kind"].as_str() {
                Some("dev") => edges.tests.insert(name),
                _ => edges.normal.insert(name),
            };
        }
    }
    Ok(graph)
}

fn compare(designed: &Graph, built: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let none = Edges::default();
    for name in designed.keys().chain(built.keys()).collect::<BTreeSet<_>>() {
        if !built.contains_key(name) {
            findings.push(Finding::in_file(PAGE, format!("{name} is in the table, but no crate of the workspace")));
            continue;
        }
        if !designed.contains_key(name) {
            findings.push(Finding::in_file(PAGE, format!("{name} is missing in the table of crates")));
        }
        let (design, build) = (designed.get(name).unwrap_or(&none), &built[name]);
        for (design, build, place) in
            [(&design.normal, &build.normal, "depends on"), (&design.tests, &build.tests, "in tests depends on")]
        {
            for extra in build.difference(design) {
                findings.push(Finding::in_file(PAGE, format!("{name} {place} {extra}, the table does not say so")));
            }
            for missing in design.difference(build) {
                findings.push(Finding::in_file(PAGE, format!("the table says {name} {place} {missing}, it does not")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_TEXT: &str = "\
text
| crate | depends on | and in tests on | knows nothing of |
|---|---|---|---|
| `low` | – | – | files |
| `high` | `low`, `tokio` | `kit` | bytes |
| `kit` | `low` | – | |

more text
";

    fn built(high: &str) -> Graph {
        let metadata = format!(
            r#"{{"packages": [
                {{"name": "low", "dependencies": [{{"name": "crc32c", "kind": null}}]}},
                {{"name": "kit", "dependencies": [{{"name": "low", "kind": null}}]}},
                {{"name": "high", "dependencies": [{high}]}}]}}"#
        );
        graph(metadata.as_bytes()).unwrap()
    }

    fn check(high: &str, expected: &[&str]) {
        let found = compare(&table(PAGE_TEXT).unwrap(), &built(high));
        let expected: Vec<Finding> = expected.iter().map(|text| Finding::in_file(PAGE, text)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_graph_like_the_table_is_fine() {
        check(r#"{"name": "low", "kind": null}, {"name": "tokio", "kind": null}, {"name": "kit", "kind": "dev"}"#, &[]);
    }

    #[test]
    fn an_edge_more_or_less_is_found() {
        check(
            r#"{"name": "low", "kind": null}, {"name": "kit", "kind": null}, {"name": "anyhow", "kind": "dev"}"#,
            &[
                "high depends on kit, the table does not say so",
                "the table says high depends on tokio, it does not",
                "high in tests depends on anyhow, the table does not say so",
                "the table says high in tests depends on kit, it does not",
            ],
        );
    }

    #[test]
    fn a_crate_on_one_side_only_is_found() {
        let designed = table("| crate | depends on | and in tests on |\n|---|---|---|\n| gone | – | – |\n").unwrap();
        let built = Graph::from([("new".to_owned(), Edges::default())]);
        let expected = ["gone is in the table, but no crate of the workspace", "new is missing in the table of crates"];
        assert_eq!(compare(&designed, &built), expected.map(|text| Finding::in_file(PAGE, text)));
    }

    #[test]
    fn a_page_without_the_table_is_found() {
        assert_eq!(table("| crate | colour |\n|---|---|\n| low | red |\n"), None);
    }
}
