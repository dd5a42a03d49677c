//! What is fed with bytes of anyone's making.
//!
//! Each target is a function that takes any bytes and panics if the store does something with them that it must
//! never do. libFuzzer makes bytes up (`fuzz/`, `cargo xtask fuzz`); the inputs that it found worth keeping, and all
//! that ever made a target panic, are replayed on stable Rust by `tests/replay.rs`.
//!
//! Bytes that decode are asked for more than that they do not crash: what was decoded can be written and read back,
//! a scan forward is a scan backward reversed, a lookup finds what a scan shows, keys ascend, an error names the file.
//!
//! | module | story |
//! |---|---|
//! | `feed` | numbers and pieces out of an input |
//! | `log` | records, whole logs, batches |
//! | `manifest` | edits, whole manifests, names of files |
//! | `table` | whole tables; every way to read one must tell the same |
//! | `block` | each kind of block, behind a checksum that is right |
//! | `script` | the whole store, driven by a script with crashes and failing calls |
//! | `directory` | a store whose files were changed by somebody else |
//! | `golden` | a store of this version, as it was written once |

mod block;
mod directory;
mod feed;
pub mod golden;
mod log;
mod manifest;
mod script;
mod table;

/// Something that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Panics if the bytes have an effect that they must not have.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: [Target; 16] = [
    Target { name: "compression", run: block::compression },
    Target { name: "data_block", run: block::data },
    Target { name: "dir_mutate", run: directory::mutate },
    Target { name: "engine_ops", run: script::run },
    Target { name: "filter", run: block::filter },
    Target { name: "index_block", run: block::index },
    Target { name: "log_records", run: log::records },
    Target { name: "log_replay", run: log::replay },
    Target { name: "manifest", run: manifest::whole },
    Target { name: "manifest_edit", run: manifest::edit },
    Target { name: "names", run: manifest::names },
    Target { name: "properties", run: block::properties },
    Target { name: "range_deletions", run: block::range_deletions },
    Target { name: "salvage", run: table::salvage },
    Target { name: "table", run: table::whole },
    Target { name: "write_batch", run: log::batch },
];

/// Runs the target called `name`.
///
/// # Panics
/// When the target does, or when there is none of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(bytes);
}
