//! Models, seeded choices and a faulty file system for tests of the store.
//!
//! Nothing here runs in production: the other crates use it from their `tests/`.
//!
//! | module | what it is for |
//! |---|---|
//! | [`model`] | what a store must answer, kept in the plainest way |
//! | [`operator`] | a merge operator whose results show every mistake of order |
//! | [`choices`] | random choices that a seed brings back |
//! | [`patience`] | calls that may hang |
//! | [`faults`] | a file system whose k-th call fails, and that shows the world before each |
//!
//! A test that fails every call once looks like this:
//!
//! ```
//! use std::io::Write;
//! use std::path::Path;
//! use lsm_fs::{Crash, Fs, MemFs};
//! use lsm_testkit::{Failure, Fault, FaultFs};
//!
//! /// Replaces a file the safe way; what is to be tested.
//! fn replace(fs: &dyn Fs, bytes: &[u8]) -> std::io::Result<()> {
//!     let mut file = fs.create(Path::new("tmp"))?;
//!     file.write_all(bytes)?;
//!     file.sync()?;
//!     fs.rename(Path::new("tmp"), Path::new("current"))?;
//!     fs.sync_dir(Path::new("/"))
//! }
//!
//! let calls = {
//!     let fs = FaultFs::new(MemFs::new());
//!     replace(&fs, b"new").unwrap();
//!     fs.count(Failure::Io)
//! };
//! assert_eq!(calls, 5);
//! for at in 0..calls {
//!     let memory = MemFs::new();
//!     let fs = FaultFs::new(memory.clone());
//!     fs.inject(Fault::sticky(at, Failure::Io));
//!     assert!(replace(&fs, b"new").is_err());
//!     // No failure and no power cut leaves half a file.
//!     if let Ok(file) = memory.crash(Crash::Random(at)).open(Path::new("current")) {
//!         assert_eq!(file.size().unwrap(), 3);
//!     }
//! }
//! ```

pub mod choices;
pub mod faults;
pub mod model;
pub mod operator;
pub mod patience;

pub use choices::{Choices, for_each_seed};
pub use faults::{Failure, Fault, FaultFs};
pub use model::{Model, Write};
pub use operator::AppendOperator;
pub use patience::in_time;
