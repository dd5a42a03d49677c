//! Benches of the store.

fn main() {}
