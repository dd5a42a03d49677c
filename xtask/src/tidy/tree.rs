//! The workspace's text files, read once for all rules.

use std::path::Path;

use anyhow::Context;

use super::mask;

/// A directory with one of these names is not part of the source tree.
const NOT_SOURCE: [&str; 5] = ["target", ".git", "corpus", "artifacts", "demo.db"];

/// The files that rules look at.
pub(super) struct Tree {
    /// Rust sources, sorted by path.
    pub(super) rust: Vec<RustFile>,
    /// Markdown files, sorted by path.
    pub(super) markdown: Vec<TextFile>,
}

/// A text file.
pub(super) struct TextFile {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// A Rust source.
pub(super) struct RustFile {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// The text with comments and literals blanked out: same lines, same columns.
    pub(super) code: String,
    /// Lines (from 1) of modules that exist in test builds only.
    pub(super) test_lines: Vec<std::ops::RangeInclusive<usize>>,
}

impl Tree {
    /// Reads every Rust and Markdown file under `root`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Tree> {
        let mut tree = Tree { rust: Vec::new(), markdown: Vec::new() };
        let mut paths = Vec::new();
        list(root, root, &mut paths)?;
        paths.sort();
        for path in paths.into_iter().filter(|path| path.ends_with(".rs") || path.ends_with(".md")) {
            let text = std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
            match path.ends_with(".rs") {
                true => tree.rust.push(RustFile::new(path, text)),
                false => tree.markdown.push(TextFile { path, text }),
            }
        }
        Ok(tree)
    }

    /// The Markdown file at `path`, if it exists.
    pub(super) fn page(&self, path: &str) -> Option<&TextFile> {
        self.markdown.iter().find(|file| file.path == path)
    }
}

impl RustFile {
    /// Looks at `text` as the file at `path`.
    pub(super) fn new(path: String, text: String) -> RustFile {
        let code = mask::mask(&text);
        let test_lines = mask::test_modules(&code);
        RustFile { path, text, code, test_lines }
    }

    /// Whether only tests, benches, examples or fuzzing ever build this file or line.
    pub(super) fn is_test(&self, line: usize) -> bool {
        let outside_of_sources = !self.path.contains("/src/");
        let test_file = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        outside_of_sources || test_file || self.test_lines.iter().any(|lines| lines.contains(&line))
    }
}

/// Adds the paths (from `root`, with `/`) of all files under `directory`.
pub(super) fn list(root: &Path, directory: &Path, paths: &mut Vec<String>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            let relative = path.strip_prefix(root).expect("a listed path lies under the root");
            paths.extend(relative.to_str().map(str::to_owned));
        } else if !NOT_SOURCE.iter().any(|name| entry.file_name() == *name) {
            list(root, &path, paths)?;
        }
    }
    Ok(())
}
