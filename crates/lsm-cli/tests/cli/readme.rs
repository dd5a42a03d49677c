//! The README's program is the example that is compiled here, and it does what it says.

use std::process::Command;

use crate::harness::temp;

#[test]
fn the_readme_shows_the_example() {
    let example = include_str!("../../examples/readme.rs");
    let (_header, program) = example.split_once("\n\n").expect("a header, then the program");
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(&format!("```rust\n{program}```\n")), "README.md and examples/readme.rs differ");
}

#[test]
fn the_example_runs() {
    let temp = temp();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--manifest-path", manifest, "--example", "readme"]).current_dir(temp.path());
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lion is tawny\n");
}
