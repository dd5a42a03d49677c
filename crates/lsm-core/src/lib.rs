//! Keys, batches, cursors, coding and errors shared by every crate of the store.
//!
//! This crate is the bottom of the workspace: it does no I/O, starts no thread, and its only `unsafe` is a hint to the
//! processor, in [`memory`].
//! What stands here is what two or more of the other crates must agree on:
//!
//! | module | what it fixes |
//! |---|---|
//! | [`key`] | sequence numbers, kinds and the order of internal keys |
//! | [`batch`] | RocksDB's `WriteBatch` bytes, the payload of a log record |
//! | [`cursor`] | how sorted entries are walked, in numbered invariants |
//! | [`rows`] | entries that a cursor gives away several at a time |
//! | [`words`] | a search among keys by the bytes that tell them apart |
//! | [`memory`] | asking for memory before it is needed |
//! | [`merge`] | many cursors seen as one |
//! | [`visible`] | what a reader at one sequence number sees |
//! | [`dead`] | stretches of keys that a walk found dead |
//! | [`range_tombstone`] | deleted ranges as fragments that do not overlap |
//! | [`operator`] | a user's merge operator |
//! | [`coding`], [`checksum`] | integers, lengths and masked crc32c |
//! | [`filename`] | names of the files in a store's directory |
//! | [`mod@slice`] | bytes handed to a user without a copy where possible |
//! | [`read_at`] | anything that reads at an offset |
//! | [`error`] | the errors every layer can return |

// Bytes from disk never panic; each place that may, for a defect of ours, says why.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), deny(clippy::unreachable))]

pub mod batch;
pub mod checksum;
pub mod coding;
pub mod cursor;
pub mod dead;
pub mod error;
pub mod filename;
pub mod key;
pub mod memory;
pub mod merge;
pub mod operator;
pub mod range_tombstone;
pub mod read_at;
pub mod rows;
pub mod slice;
pub mod visible;
pub mod words;

pub use batch::WriteBatch;
pub use cursor::Cursor;
pub use error::{Corruption, Error, InvalidArgument, IoFailure, Result, Unsupported};
pub use key::{ColumnFamilyId, Kind, SeqNo};
pub use operator::MergeOperator;
pub use read_at::ReadAt;
pub use slice::Slice;
