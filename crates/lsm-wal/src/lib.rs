//! RocksDB's write-ahead log: records, segments, replay.
//!
//! A commit is one record in the active log before it is anything else. After a crash the logs say what
//! was committed. The files are RocksDB's; what this store knows on top travels in records that RocksDB
//! reads past, and lets replay tell a write that a crash cut short from damage to what was synced.
//!
//! | module | what it does |
//! |---|---|
//! | `format` | blocks, fragments and their headers |
//! | `writer` | cuts records into fragments: [`RecordWriter`] |
//! | `reader`, `window` | joins them again and tells how they end: [`RecordReader`] |
//! | `facts` | what a log says about itself and its predecessor: [`Facts`] |
//! | `handle`, `turns` | delivers and syncs, shared by all committers: [`WalHandle`] |
//! | `wal` | the active log: [`Wal`] |
//! | `chain`, `proof` | which logs follow each other; what proves that a place was synced |
//! | `replay` | reads the logs of a store: [`replay()`] |
//!
//! Framing is of use alone, as manifests do:
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use lsm_wal::{HeaderStyle, Outcome, RecordReader, RecordWriter};
//!
//! let mut writer = RecordWriter::new(Vec::new());
//! writer.append(b"first")?;
//! writer.append(&[7; 100_000])?;
//!
//! let bytes = Arc::new(writer.into_inner());
//! let mut reader = RecordReader::new(bytes, HeaderStyle::Legacy, Path::new("MANIFEST-000001"))?;
//! let mut sizes = Vec::new();
//! while let Outcome::Record { payload, .. } = reader.next()? {
//!     sizes.push(payload.len());
//! }
//! assert_eq!(sizes, [5, 100_000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The active log and its replay are shown at [`Wal`].

// Bytes from disk never panic; each place that may, for a defect of ours, says why.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), deny(clippy::unreachable))]

mod chain;
mod facts;
mod format;
mod handle;
mod proof;
mod reader;
mod replay;
mod turns;
mod wal;
mod window;
mod writer;

pub use facts::{Facts, ManifestFact, Predecessor};
pub use format::{BLOCK_BYTES, LEGACY_HEADER_BYTES, RECYCLABLE_HEADER_BYTES};
pub use handle::{Position, WalHandle};
pub use reader::{Found, HeaderStyle, Outcome, RecordReader};
pub use replay::{Dropped, LogToReplay, RecoveryMode, ReplayReport, Visit, replay};
pub use wal::{Origin, Wal, WalOptions};
pub use writer::RecordWriter;
