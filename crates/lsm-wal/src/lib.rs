//! RocksDB's write-ahead log: records, segments, replay.
