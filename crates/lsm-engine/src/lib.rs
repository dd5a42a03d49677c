//! An LSM-tree key-value store on RocksDB's own files.
