//! RocksDB's block-based table: builder, reader, cursor, verification.
