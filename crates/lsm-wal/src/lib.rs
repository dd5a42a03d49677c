//! RocksDB's write-ahead log: records, segments, replay.
//!
//! | module | what it does |
//! |---|---|
//! | `format` | blocks, fragments and their headers |
//! | `writer` | cuts records into fragments: [`RecordWriter`] |
//! | `reader` | joins them again and tells how they end: [`RecordReader`] |

mod format;
mod reader;
mod window;
mod writer;

pub use format::{BLOCK_BYTES, LEGACY_HEADER_BYTES, RECYCLABLE_HEADER_BYTES};
pub use reader::{Found, HeaderStyle, Outcome, RecordReader};
pub use writer::RecordWriter;
