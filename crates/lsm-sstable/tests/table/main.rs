//! Whole tables: written and read back, damaged, and exchanged with RocksDB.

mod damage;
mod documented;
mod naive;
mod rocksdb;
mod round_trip;
mod salvage;
