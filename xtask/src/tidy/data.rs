//! Test data: a file that no source names is dead weight, and nobody would see it go stale.

use std::path::Path;

use super::Finding;
use super::tree::{Tree, list};

/// Directories with test data, as ends of their path from the root.
const HOMES: [&str; 3] = ["testdata", "tests/golden", "tests/data"];

pub(super) fn check(root: &Path, tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut paths = Vec::new();
    list(root, root, &mut paths)?;
    paths.sort();
    let unused = paths.iter().filter(|path| home(path).is_some_and(|(home, below)| !is_used(tree, home, below)));
    Ok(unused.map(|path| Finding::in_file(path, "no Rust source names it or the directory it is in")).collect())
}

/// Splits the path of a piece of test data into its home and what follows.
fn home(path: &str) -> Option<(&str, &str)> {
    HOMES.iter().find_map(|home| {
        let (before, below) = path.split_once(&format!("{home}/"))?;
        let whole = before.is_empty() || before.ends_with('/');
        whole.then(|| (&path[..before.len() + home.len()], below))
    })
}

/// Whether a source names the file, a directory between it and its home, or walks the home as a whole.
fn is_used(tree: &Tree, home: &str, below: &str) -> bool {
    // The page that explains the data is found by its place.
    if below == "README.md" {
        return true;
    }
    // Data of one crate must be used by that crate; `testdata` is everyone's.
    let owner = home.strip_suffix("/tests/golden").or(home.strip_suffix("/tests/data")).unwrap_or_default();
    let mut sources = tree.rust.iter().filter(|file| file.path.starts_with(owner) && !file.path.starts_with("xtask/"));
    sources.any(|file| {
        let names = |part: &str| {
            file.text.match_indices(part).any(|(start, _)| {
                let (before, after) = (&file.text[..start], &file.text[start + part.len()..]);
                before.ends_with(['"', '/']) && after.starts_with(['"', '/'])
            })
        };
        let last = home.rsplit('/').next().unwrap_or(home);
        below.split('/').any(&names) || (file.code.contains("read_dir") && names(last))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::RustFile;
    use super::*;

    #[test]
    fn data_knows_its_home() {
        assert_eq!(home("testdata/a.kv"), Some(("testdata", "a.kv")));
        assert_eq!(home("crates/x/tests/data/lz4/1.sst"), Some(("crates/x/tests/data", "lz4/1.sst")));
        assert_eq!(home("crates/x/src/testdata.rs"), None);
        assert_eq!(home("crates/x/mytests/data/a"), None);
    }

    #[test]
    fn data_is_used_if_a_source_of_its_owner_names_it() {
        let used = |source: &str, path: &str, data: &str| {
            let rust = vec![RustFile::new(path.to_owned(), source.to_owned())];
            let (home, below) = home(data).unwrap();
            is_used(&Tree { rust, markdown: Vec::new() }, home, below)
        };
        let data = "crates/x/tests/data/lz4/1.sst";
        assert!(used(r#"copy("tests/data/lz4")"#, "crates/x/tests/a.rs", data));
        assert!(used(r#"copy("1.sst")"#, "crates/x/tests/a.rs", data));
        assert!(used(r#"read_dir("tests/data")"#, "crates/x/tests/a.rs", data));
        assert!(!used(r#"copy("lz4")"#, "crates/y/tests/a.rs", data));
        assert!(!used(r#"copy("lz4hc")"#, "crates/x/tests/a.rs", data));
        assert!(!used("// lz4", "crates/x/tests/a.rs", data));
        assert!(used(r#"open("../../testdata/a.kv")"#, "crates/y/tests/a.rs", "testdata/a.kv"));
    }
}
