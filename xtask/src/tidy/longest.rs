//! The longest files and functions: no limit, but nobody should be surprised by them.

use super::mask::{block_end, line_of, word_offsets};
use super::tree::{RustFile, Tree};

/// Prints the two longest files and the two longest functions, tests left out.
pub(super) fn print(tree: &Tree) {
    let mut files: Vec<(usize, &str)> =
        tree.rust.iter().filter(|file| !file.is_test(0)).map(|file| (own_lines(file), file.path.as_str())).collect();
    files.sort_by_key(|&(lines, path)| (std::cmp::Reverse(lines), path));
    for (lines, path) in files.iter().take(2) {
        println!("tidy: longest file: {path}, {lines} lines without its tests");
    }
    let mut functions: Vec<Function> = tree.rust.iter().flat_map(functions).collect();
    functions.sort_by_key(|function| std::cmp::Reverse(function.lines));
    for Function { path, line, name, lines } in functions.iter().take(2) {
        println!("tidy: longest function: {name} at {path}:{line}, {lines} lines");
    }
}

fn own_lines(file: &RustFile) -> usize {
    let tests: usize = file.test_lines.iter().map(|lines| lines.clone().count()).sum();
    file.text.lines().count() - tests
}

struct Function<'t> {
    path: &'t str,
    line: usize,
    name: &'t str,
    lines: usize,
}

/// The functions with a body that are not tests.
fn functions(file: &RustFile) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for start in word_offsets(&file.code, "fn") {
        let rest = file.code[start + 2..].trim_start();
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let line = line_of(&file.code, start);
        // A type such as `fn(u8)` has no name, a trait's method may have no body.
        let body = rest.find('{').unwrap_or(usize::MAX) < rest.find(';').unwrap_or(usize::MAX);
        if name.is_empty() || !body || file.is_test(line) {
            continue;
        }
        if let Some(end) = block_end(&file.code, start) {
            found.push(Function { path: &file.path, line, name, lines: 1 + line_of(&file.code, end) - line });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_signature_to_closing_brace() {
        let source = "trait T { fn a(&self);\n fn b() {\n  {}\n }\n}\nstatic F: fn(u8) = x;\n#[cfg(test)]\nmod t { fn c() {\n\n\n\n\n} }\n";
        let file = RustFile::new("crates/x/src/lib.rs".to_owned(), source.to_owned());
        let found: Vec<(&str, usize, usize)> =
            functions(&file).iter().map(|function| (function.name, function.line, function.lines)).collect();
        assert_eq!(found, [("b", 2, 3)]);
    }
}
