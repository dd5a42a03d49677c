//! The manifest through its public interface: files that RocksDB wrote, RocksDB on our files, damage, crashes
//! and failing storage.

mod crash;
mod damage;
mod directory;
mod example;
mod faulty;
mod growth;
mod rocksdb;
mod written;
