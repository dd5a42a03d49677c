//! The inputs in `fuzz/`.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// What a directory of `fuzz/` holds, sorted.
pub(crate) fn names(directory: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root().join(directory)) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The seeds and findings of a target, with their paths.
pub(crate) fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs = Vec::new();
    for kind in ["seeds", "findings"] {
        let directory = format!("{kind}/{target}");
        for name in names(&directory) {
            let path = root().join(&directory).join(name);
            let bytes = std::fs::read(&path).unwrap();
            inputs.push((path, bytes));
        }
    }
    inputs
}
