//! Drives tests, checks, fuzzing and benches of the workspace.

fn main() {}
