//! The command as a user runs it: every test starts the binary and looks at what comes out.

mod dump;
mod errors;
mod harness;
mod kill;
mod load;
mod readme;
mod repair;
mod rocksdb;
mod scan;
