//! Leveled compaction: what to merge, how to merge it, and in parallel.
