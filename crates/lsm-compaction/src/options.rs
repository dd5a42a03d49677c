//! What can be tuned about leveled compaction.

use lsm_manifest::LEVELS;

/// Shape of the levels and size of the jobs.
#[derive(Clone, PartialEq, Debug)]
pub struct LeveledOptions {
    /// Tables in level 0 that ask for a compaction. Default 4. Twice as many: half the merging into
    /// the base level, twice the sources of a read.
    pub level0_trigger: usize,
    /// Bytes that the base level may hold. Default 256 MiB. Twice as many: fewer levels for stores
    /// that just outgrew one, larger compactions out of level 0.
    pub level_base_bytes: u64,
    /// How much larger each level is than the one above. Default 10. Twice as large: fewer levels,
    /// nearly twice the bytes rewritten per level.
    pub multiplier: f64,
    /// Bytes that a table should have. Default 64 MiB; outputs above other tables have between half
    /// and twice of it. Twice as many: half the tables, longer jobs.
    pub table_bytes_target: u64,
    /// Key ranges into which one job may be split to run in parallel. Default 1.
    pub subcompactions_max: usize,
    /// Levels with equal numbers write tables in the same way (compression, filters). A table is moved
    /// down without being rewritten only between such levels. Default: all the same.
    pub table_classes: [u8; LEVELS],
}

impl Default for LeveledOptions {
    fn default() -> LeveledOptions {
        LeveledOptions {
            level0_trigger: 4,
            level_base_bytes: 256 << 20,
            multiplier: 10.0,
            table_bytes_target: 64 << 20,
            subcompactions_max: 1,
            table_classes: [0; LEVELS],
        }
    }
}

impl LeveledOptions {
    /// Bytes that one job, or one table with what it overlaps a level below, should not exceed.
    pub fn job_bytes_max(&self) -> u64 {
        self.table_bytes_target.saturating_mul(25)
    }
}
