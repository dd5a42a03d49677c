//! Options that change how the store works but never what it answers.

use std::sync::Arc;

use lsm_compaction::StepExecutor;
use lsm_engine::{Compression, Fs, Options, SegmentAccess};
use lsm_fs::ManualClock;
use lsm_testkit::AppendOperator;

/// A choice of options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) access: SegmentAccess,
    pub(crate) compression: Compression,
    pub(crate) block_size: usize,
    pub(crate) format_version: u32,
    pub(crate) bloom_bits: f64,
    pub(crate) write_buffer: usize,
    pub(crate) level_base: u64,
    pub(crate) table: u64,
    pub(crate) level0_trigger: usize,
    pub(crate) subcompactions: usize,
    pub(crate) block_cache: usize,
    /// Whether writes that ask for a sync get one: without, a power cut finds much to take.
    pub(crate) syncs: bool,
}

/// Small everything: each path is met within a few dozen calls.
pub(crate) const SMALL: Setting = Setting {
    name: "small",
    access: SegmentAccess::Mapped,
    compression: Compression::Lz4,
    block_size: 512,
    format_version: 6,
    bloom_bits: 10.0,
    write_buffer: 16 << 10,
    level_base: 32 << 10,
    table: 8 << 10,
    level0_trigger: 2,
    subcompactions: 1,
    block_cache: 1 << 20,
    syncs: true,
};

/// The settings under which every history must give the same answers.
pub(crate) const ALL: [Setting; 10] = [
    SMALL,
    Setting { name: "positioned log", access: SegmentAccess::Positioned, ..SMALL },
    Setting { name: "no filter, no compression", bloom_bits: 0.0, compression: Compression::None, ..SMALL },
    Setting { name: "format 5, zstd", format_version: 5, compression: Compression::Zstd { level: 1 }, ..SMALL },
    Setting { name: "tiny blocks, few filter bits", block_size: 256, bloom_bits: 2.0, ..SMALL },
    Setting { name: "large buffers and blocks", write_buffer: 256 << 10, block_size: 8192, table: 256 << 10, ..SMALL },
    Setting { name: "subcompactions, many levels", subcompactions: 3, level_base: 16 << 10, table: 2 << 10, ..SMALL },
    Setting { name: "late compaction, no syncs", level0_trigger: 6, syncs: false, ..SMALL },
    Setting {
        name: "positioned, no syncs, no cache",
        access: SegmentAccess::Positioned,
        syncs: false,
        block_cache: 0,
        ..SMALL
    },
    Setting { name: "eager compaction, one level", level0_trigger: 1, level_base: 8 << 20, table: 4 << 20, ..SMALL },
];

impl Setting {
    /// The options, with background work in `executor`'s hands and a clock that stands still.
    pub(crate) fn options(&self, fs: Arc<dyn Fs>, executor: Arc<StepExecutor>) -> Options {
        self.base()
            .merge_operator(Arc::new(AppendOperator))
            .clock(Arc::new(ManualClock::default()))
            .executor(executor)
            .fs(fs)
    }

    /// What the setting itself says.
    pub(crate) fn base(&self) -> Options {
        Options::new()
            .log_access(self.access)
            .compression(self.compression)
            .block_size(self.block_size)
            .format_version(self.format_version)
            .bloom_bits_per_key(self.bloom_bits)
            .write_buffer_size(self.write_buffer)
            .max_bytes_for_level_base(self.level_base)
            .target_file_size(self.table)
            .level0_file_num_compaction_trigger(self.level0_trigger)
            .max_subcompactions(self.subcompactions)
            .block_cache_size(self.block_cache)
    }
}
