//! RocksDB's version-edit log and the immutable versions it describes.
//!
//! | module | what it answers |
//! |---|---|
//! | `meta` | what is known of one table without opening it |
//! | `edit`, `fields`, `table_field` | the bytes of one change |
//! | `version`, `draft` | which tables a column family has, and what a change makes of them |

mod draft;
mod edit;
mod fields;
mod meta;
mod table_field;
mod version;

pub use edit::{COMPARATOR, FamilyChange, LogAddition, VersionEdit};
pub use meta::{TABLE_NUMBER_MAX, TableMeta, TableStats};
pub use version::{LEVELS, Version};
