//! RocksDB's version-edit log and the immutable versions it describes.
