//! Rules that look at Rust sources one by one: headers, unsafe code, unwanted words, doors to the system.

use super::Finding;
use super::mask::{line_of, word_offsets};
use super::tree::{RustFile, Tree};

/// The page that lists every file with unsafe code.
const UNSAFE_PAGE: &str = "docs/unsafe.md";

/// Programs and tools may use the system directly; every other crate in `crates/` is a library.
const PROGRAMS: [&str; 2] = ["crates/lsm-cli/", "crates/lsm-torture/"];

/// The one library that may touch the system.
const DOOR: &str = "crates/lsm-fs/";

/// Names that open a file or a mapping.
const SYSTEM: [&str; 5] = ["std::fs", "memmap2", "OpenOptions", "libc", "nix"];

/// Every Rust file starts with a header that says what it is for.
pub(super) fn headers(tree: &Tree) -> Vec<Finding> {
    let without = tree.rust.iter().filter(|file| !file.text.starts_with("//!"));
    without.map(|file| Finding::at_line(&file.path, 1, "starts without a `//!` header")).collect()
}

/// Unsafe code is only in files that the page lists, and every listed file has some.
pub(super) fn unsafe_code(tree: &Tree) -> Vec<Finding> {
    let page = tree.page(UNSAFE_PAGE).map(|page| page.text.as_str()).unwrap_or_default();
    let mut findings = Vec::new();
    for file in &tree.rust {
        let lines: Vec<usize> =
            word_offsets(&file.code, "unsafe").iter().map(|&offset| line_of(&file.code, offset)).collect();
        let listed = page.contains(&format!("`{}`", file.path));
        match lines.first() {
            Some(&line) if !listed => findings.push(Finding::at_line(
                &file.path,
                line,
                format!("unsafe code ({} places), but {UNSAFE_PAGE} does not list this file", lines.len()),
            )),
            None if listed => {
                findings.push(Finding::in_file(UNSAFE_PAGE, format!("lists {}, which has no unsafe code", file.path)));
            }
            _ => {}
        }
    }
    findings
}

/// No debugging leftovers and no promises.
pub(super) fn words(tree: &Tree) -> Vec<Finding> {
    // Spelled in two parts, or this file would be the first finding.
    let promises = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];
    let macros = ["dbg", "todo", "unimplemented"];
    let mut findings = Vec::new();
    for file in &tree.rust {
        for name in macros {
            let uses = word_offsets(&file.code, name).into_iter();
            let uses = uses.filter(|offset| file.code[offset + name.len()..].starts_with('!'));
            findings.extend(uses.map(|offset| {
                Finding::at_line(&file.path, line_of(&file.code, offset), format!("`{name}!` is for unfinished code"))
            }));
        }
        for word in promises {
            findings.extend(word_offsets(&file.text, word).into_iter().map(|offset| {
                Finding::at_line(&file.path, line_of(&file.text, offset), format!("`{word}`: do it or file it"))
            }));
        }
    }
    findings
}

/// Among the libraries only lsm-fs names files or mappings; tests may.
pub(super) fn system(tree: &Tree) -> Vec<Finding> {
    let is_library = |file: &&RustFile| {
        file.path.starts_with("crates/")
            && !file.path.starts_with(DOOR)
            && !PROGRAMS.iter().any(|program| file.path.starts_with(program))
    };
    let mut findings = Vec::new();
    for file in tree.rust.iter().filter(is_library) {
        for name in SYSTEM {
            let lines = word_offsets(&file.code, name).into_iter().map(|offset| line_of(&file.code, offset));
            findings.extend(lines.filter(|&line| !file.is_test(line)).map(|line| {
                Finding::at_line(&file.path, line, format!("`{name}`: among the libraries only lsm-fs may use it"))
            }));
        }
        findings.extend(grouped_fs_imports(file));
    }
    findings
}

/// `use std::{…, fs, …}`, which does not spell `std::fs`.
fn grouped_fs_imports(file: &RustFile) -> Vec<Finding> {
    let groups = file.code.match_indices("std::{");
    let with_fs = groups.filter(|(start, _)| {
        let group = &file.code[*start..];
        !word_offsets(&group[..group.find(';').unwrap_or(group.len())], "fs").is_empty()
    });
    let lines = with_fs.map(|(start, _)| line_of(&file.code, start)).filter(|&line| !file.is_test(line));
    lines
        .map(|line| Finding::at_line(&file.path, line, "`std::fs`: among the libraries only lsm-fs may use it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::TextFile;
    use super::*;

    fn check(rule: fn(&Tree) -> Vec<Finding>, path: &str, source: &str, expected: &[&str]) {
        let page = TextFile { path: UNSAFE_PAGE.to_owned(), text: "- `crates/a/src/arena.rs`: why".to_owned() };
        let rust = vec![RustFile::new(path.to_owned(), source.to_owned())];
        let found = rule(&Tree { rust, markdown: vec![page] });
        assert_eq!(found, expected.iter().map(|text| Finding((*text).to_owned())).collect::<Vec<_>>(), "{source}");
    }

    #[test]
    fn a_file_needs_a_header() {
        check(headers, "a.rs", "//! What it is.\n", &[]);
        check(headers, "a.rs", "\nfn f() {}", &["a.rs:1: starts without a `//!` header"]);
    }

    #[test]
    fn unsafe_code_and_its_page_agree() {
        let arena = "crates/a/src/arena.rs";
        check(unsafe_code, arena, "unsafe { f() }", &[]);
        check(
            unsafe_code,
            arena,
            "// unsafe",
            &["docs/unsafe.md: lists crates/a/src/arena.rs, which has no unsafe code"],
        );
        check(unsafe_code, "b.rs", "#![allow(unsafe_code)] // unsafe {}", &[]);
        let found = "b.rs:2: unsafe code (2 places), but docs/unsafe.md does not list this file";
        check(unsafe_code, "b.rs", "\nunsafe fn f() { unsafe {} }", &[found]);
    }

    #[test]
    fn leftovers_are_found_in_code_and_promises_anywhere() {
        check(words, "a.rs", "fn dbg() {} // dbg!(x)", &[]);
        check(words, "a.rs", "dbg!(x)", &["a.rs:1: `dbg!` is for unfinished code"]);
        let note = concat!("// FIX", "ME later");
        check(words, "a.rs", note, &[concat!("a.rs:1: `FIX", "ME`: do it or file it")]);
    }

    #[test]
    fn only_the_door_opens_files() {
        let found = "crates/a/src/b.rs:1: `std::fs`: among the libraries only lsm-fs may use it";
        for source in
            ["use std::fs::File;", "let x = std::fs::read(p);", "use std::{fs, io};", "use std::{io, fs::File};"]
        {
            check(system, "crates/a/src/b.rs", source, &[found]);
            check(system, "crates/lsm-fs/src/os.rs", source, &[]);
            check(system, "crates/lsm-cli/src/load.rs", source, &[]);
            check(system, "crates/a/tests/b.rs", source, &[]);
            check(system, "crates/a/src/b.rs", &format!("#[cfg(test)]\nmod tests {{ {source} }}"), &[]);
        }
        check(system, "crates/a/src/b.rs", "use lsm_fs::Fs; // std::fs", &[]);
    }
}
