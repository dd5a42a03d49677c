//! A store in a process of its own, on a real file system, that may be killed at any moment.
//!
//! | module | what it does |
//! |---|---|
//! | [`script`] | what each batch holds, from seed, thread and number alone |
//! | [`writer`] | the process that writes, and says over a pipe what was acknowledged |
//! | [`child`] | starts such a process, hears it, kills it |
//! | [`ledger`] | what was acknowledged, and whether a store still has it |
//! | [`ground`] | file systems of their own, which are gone when this process is |
//! | [`tools`] | other programs: `lsm`, RocksDB's `ldb`, `mount` |
//!
//! What a round does depends on its seed and step; when the kill hits does not.

pub(crate) mod child;
pub(crate) mod ground;
pub(crate) mod ledger;
pub(crate) mod script;
pub(crate) mod tools;
pub(crate) mod writer;
