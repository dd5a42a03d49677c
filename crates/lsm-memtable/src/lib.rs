//! A sorted list in an arena that is read without locks while it is written.
//!
//! A [`Memtable`] holds the newest writes of a column family until they are flushed to a table. Any
//! number of threads insert, each into room that it reserved before ([`Memtable::reserve`]), and any
//! number read. Readers wait for nobody; a writer may wait for another one that inserts among the same few
//! entries. Entries lie in one piece of memory of fixed size, at addresses that never change, without an
//! allocation of their own.
//!
//! | module | what it does |
//! |---|---|
//! | `memtable` | the public face: reserve, get, cursor, tombstones, freeze |
//! | `reservation` | room for a batch, of exact size |
//! | `cursor` | the entries in order, both ways |
//! | `filter` | which keys are certainly absent |
//! | `list` | order and search: a skiplist that leads to leaves of a few entries each |
//! | `insert` | how an entry comes into a leaf, and what happens to a full one |
//! | `place` | where one stands in the list, and the steps from there |
//! | `index`, `perm`, `link`, `height` | nodes and leaves, word by word |
//! | `shape` | how a few bytes tell keys apart |
//! | `entry`, `at` | how an entry lies in the arena, and where |
//! | `arena` | the memory and who owns which part of it |
//! | `sync` | the atomics, so that loom can replace them |
//!
//! Every write of a key is an entry of its own, told apart by sequence number:
//!
//! ```
//! use std::sync::Arc;
//! use lsm_core::Cursor;
//! use lsm_core::key::{self, Kind, SeqNo};
//! use lsm_memtable::{EntrySize, Memtable};
//!
//! let memtable = Arc::new(Memtable::new(1 << 20));
//! let writes: [(&[u8], u64, Kind, &[u8]); 3] = [
//!     (b"apple", 1, Kind::Value, b"green"),
//!     (b"apple", 2, Kind::Value, b"red"),
//!     (b"pear", 3, Kind::Deletion, b""),
//! ];
//! let sizes = writes.iter().map(|(key, _, kind, value)| EntrySize { kind: *kind, key_bytes: key.len(), value_bytes: value.len() });
//! let mut room = memtable.reserve(sizes)?;
//! for (key, seq, kind, value) in writes {
//!     room.insert(key, SeqNo::new(seq), kind, value);
//! }
//!
//! let mut cursor = memtable.cursor();
//! let mut seen = Vec::new();
//! cursor.seek_to_first().unwrap();
//! while cursor.valid() {
//!     seen.push((key::user_key(cursor.key()).to_vec(), key::seq(cursor.key()).get()));
//!     cursor.next().unwrap();
//! }
//! // Of two writes to one key the newer one comes first.
//! assert_eq!(seen, [(b"apple".to_vec(), 2), (b"apple".to_vec(), 1), (b"pear".to_vec(), 3)]);
//! # Ok::<(), lsm_memtable::ArenaFull>(())
//! ```

mod arena;
mod at;
mod cursor;
mod entry;
mod filter;
mod height;
mod index;
mod insert;
mod link;
mod list;
mod memtable;
mod perm;
mod place;
mod reservation;
mod shape;
mod sync;

pub use arena::ArenaFull;
pub use cursor::MemtableCursor;
pub use memtable::{Found, Memtable};
pub use reservation::{EntrySize, Reservation};
pub use shape::KeyShape;
#[cfg(loom)]
pub use sync::mutant;
