//! RocksDB's block-based table: builder, reader, cursor, verification.
//!
//! A table is an immutable file of sorted entries. What this crate writes, RocksDB reads, and the other way
//! round (docs/format/sstable.md has the bytes). It does no I/O of its own: it writes to any
//! [`std::io::Write`] and reads from any [`lsm_core::ReadAt`].
//!
//! ```
//! use std::sync::Arc;
//! use lsm_core::key::InternalKey;
//! use lsm_core::{Cursor, Kind, SeqNo};
//! use lsm_sstable::{BuilderOptions, Table, TableBuilder, TableOptions};
//!
//! let mut builder = TableBuilder::new(Vec::new(), BuilderOptions::default());
//! for (number, city) in ["Bern", "Lima", "Oslo"].iter().enumerate() {
//!     let key = InternalKey::new(city.as_bytes(), SeqNo::new(number as u64 + 1), Kind::Value);
//!     builder.add(key.as_bytes(), b"capital")?;
//! }
//! let (bytes, summary) = builder.finish()?;
//! assert_eq!(summary.properties.entries, 3);
//!
//! let table = Arc::new(Table::open(Arc::new(bytes), TableOptions::default())?);
//! let found = table.get(b"Lima", SeqNo::MAX)?.expect("it was added");
//! assert_eq!((found.value, found.seq), (b"capital".as_slice().into(), SeqNo::new(2)));
//! assert_eq!(table.get(b"Lima", SeqNo::new(1))?, None);
//!
//! let mut cursor = table.cursor();
//! cursor.seek(InternalKey::for_seek(b"M", SeqNo::MAX).as_bytes())?;
//! assert!(cursor.valid() && cursor.key().starts_with(b"Oslo"));
//! table.verify()?;
//! # Ok::<(), lsm_core::Error>(())
//! ```
//!
//! Written: format versions 6 and 5, one binary-search index, one filter, LZ4 or ZSTD or neither. Read as
//! well: versions 2 to 7, partitioned indexes and filters, every built-in checksum, Snappy, zlib, LZ4HC,
//! dictionaries, ingested files.
//!
//! | module | story |
//! |---|---|
//! | `handle`, `checksum`, `footer` | where blocks lie and how they are checked |
//! | `compression` | codecs |
//! | `block`, `block_builder`, `block_search`, `block_cursor` | sorted entries in one block |
//! | `directory`, `cache`, `fresh` | blocks that stay in memory |
//! | `index`, `index_builder` | from a key to its block |
//! | `xxph3`, `bloom`, `filter` | which keys are surely not there |
//! | `properties` | what a table says about itself |
//! | `output`, `builder` | writing a table |
//! | `source`, `open`, `table`, `lookup`, `table_cursor`, `verify` | reading one |
//! | `salvage` | what is left of a damaged one |
//! | `raw` | tables that no builder writes, for tests |

// Bytes from disk never panic; each place that may, for a defect of ours, says why.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), deny(clippy::unreachable))]

mod block;
mod block_builder;
mod block_cursor;
mod block_search;
mod bloom;
mod builder;
mod cache;
mod checksum;
mod compression;
mod directory;
mod filter;
mod footer;
mod fresh;
mod handle;
mod index;
mod index_builder;
mod lookup;
mod open;
mod output;
mod properties;
#[doc(hidden)]
pub mod raw;
mod salvage;
mod source;
mod table;
mod table_cursor;
mod verify;
mod xxph3;

pub use builder::{BuilderOptions, TableBuilder, TableSummary};
pub use cache::BlockCache;
pub use compression::Compression;
pub use footer::read_footer_version;
pub use fresh::FreshBlocks;
pub use lookup::{Entry, Probe};
pub use properties::Properties;
pub use salvage::{LostPart, SalvageReport, Visit, salvage};
pub use table::{Anchor, Table, TableOptions};
pub use table_cursor::{ReadOptions, TableCursor};
pub use verify::VerifySummary;
pub use xxph3::filter_hash;
