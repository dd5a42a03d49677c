//! The only door to the operating system: files, directories, locks, mapped segments and memory, clocks.
//!
//! The store talks to an [`Fs`]. [`OsFs`] is the machine's file system; [`MemFs`] lives in memory, keeps
//! a durable half beside the visible one, and can show what a crash may leave. The crate knows nothing
//! of keys and file formats.
//!
//! | module | story |
//! |---|---|
//! | [`fs`] | the calls, and what survives a crash after each |
//! | [`segment`] | a log file while it is written: reserve, fill, commit; deliver, sync |
//! | `latch` | a failed sync is never tried again |
//! | `latched` | nor is that of a store's directory, whoever asks |
//! | `positioned`, `map` | the two ways to write a segment; `map` is unsafe |
//! | `os` | the real file system |
//! | `writeback` | files that grow go to the disk early; unsafe, for one system call |
//! | [`mem`] | the one in memory, with `crash()` |
//! | `pages` | memory in large pages |
//! | [`clock`] | time |
//!
//! ```
//! use std::io::Write;
//! use std::path::Path;
//! use lsm_fs::{Crash, Fs, MemFs};
//!
//! # fn main() -> std::io::Result<()> {
//! let fs = MemFs::new();
//! let mut file = fs.create(Path::new("greeting"))?;
//! file.write_all(b"hello")?;
//! file.sync()?;
//! fs.sync_dir(Path::new("/"))?;
//! file.write_all(b", world")?; // not synced
//!
//! let after = fs.crash(Crash::DropUnsynced);
//! assert_eq!(after.open(Path::new("greeting"))?.size()?, 5);
//! assert_eq!(fs.open(Path::new("greeting"))?.size()?, 12);
//! # Ok(())
//! # }
//! ```

pub mod clock;
pub mod fs;
mod latch;
mod latched;
mod map;
pub mod mem;
mod os;
mod pages;
mod positioned;
mod priority;
pub mod segment;
mod writeback;

pub use clock::{Clock, ManualClock, SystemClock};
pub use fs::{FileType, FileWriter, Fs, Lock, Metadata};
pub use latched::LatchedFs;
pub use mem::{Crash, MemFs};
pub use os::OsFs;
pub use pages::Pages;
pub use priority::stand_back;
pub use segment::{Chore, Segment, SegmentAccess, SegmentHandle};
