//! RocksDB's version-edit log and the immutable versions it describes.
//!
//! The manifest of a store says which tables make up each column family, which logs are alive, and which numbers
//! and sequence numbers were given out. This crate reads and writes it, and keeps what it says as plain values.
//! It opens no table and reads no log.
//!
//! | module | what it answers |
//! |---|---|
//! | `meta` | what is known of one table without opening it |
//! | `edit`, `fields`, `table_field` | the bytes of one change |
//! | `version`, `draft`, `epoch` | which tables a column family has, and what a change makes of them |
//! | `state`, `state_draft` | the same for the whole store |
//! | `group` | changes that take effect together |
//! | `current`, `identity` | the small files beside the manifest |
//! | `recover`, `tail` | reading it all back, and what a bad end means |
//! | `manifest`, `output`, `numbers` | writing it |
//!
//! Byte layouts: docs/format/manifest.md and docs/format/directory.md.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use lsm_core::filename::FileNumber;
//! use lsm_core::key::{InternalKey, Kind, SeqNo};
//! use lsm_fs::{Fs, MemFs};
//! use lsm_manifest::{Manifest, State, TableMeta, VersionEdit};
//!
//! # fn main() -> lsm_core::Result<()> {
//! let (fs, directory) = (Arc::new(MemFs::new()), Path::new("/store"));
//! fs.create_dir(directory).unwrap();
//! let mut manifest = Manifest::create(fs.clone(), directory, State::new(lsm_manifest::new_db_id(&*fs)))?;
//!
//! // A flush has written a table and synced it; now it becomes part of the store.
//! let number = manifest.numbers().allocate();
//! let bound = |key: &[u8], seq| InternalKey::new(key, SeqNo::new(seq), Kind::Value);
//! let table = TableMeta::new(number, 4096, bound(b"apple", 1), bound(b"cherry", 2), (SeqNo::new(1), SeqNo::new(2)));
//! manifest.apply(vec![VersionEdit { added: vec![(0, Arc::new(table))], ..VersionEdit::default() }])?;
//!
//! let state = lsm_manifest::read(&*fs, directory)?;
//! assert_eq!(&state, manifest.state());
//! assert_eq!(state.last_seq, SeqNo::new(2));
//! # Ok(())
//! # }
//! ```

// Bytes from disk never panic; each place that may, for a defect of ours, says why.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), deny(clippy::unreachable))]

mod current;
mod draft;
mod edit;
mod epoch;
mod fields;
mod group;
mod identity;
mod manifest;
mod meta;
mod numbers;
mod output;
mod recover;
mod state;
mod state_draft;
mod table_field;
mod tail;
#[cfg(test)]
mod testing;
mod version;

pub use current::{exists, read as in_force};
pub use edit::{COMPARATOR, FamilyChange, VersionEdit, WalAddition};
pub use identity::new_db_id;
pub use manifest::Manifest;
pub use meta::{TABLE_NUMBER_MAX, TableMeta, TableStats};
pub use numbers::FileNumbers;
pub use recover::{check_fact, read};
pub use state::{DEFAULT_FAMILY, Family, State, TornTail};
pub use version::{LEVELS, Version};
