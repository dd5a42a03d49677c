//! How large a run is.

use std::time::Duration;

use crate::engines::{Config, Durability};

/// Sizes and times of a run.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Scale {
    pub(crate) name: String,
    /// Rows in the store that reads begin with.
    pub(crate) rows: u64,
    pub(crate) value_bytes: usize,
    /// Seconds of a phase that is measured by time.
    pub(crate) seconds: f64,
    /// Seconds after which a phase that is measured by count ends early.
    pub(crate) seconds_max: f64,
    /// Threads of the scenarios that have several, in the place of their own number.
    pub(crate) threads: Option<u64>,
    pub(crate) rounds: u32,
    pub(crate) cache_bytes: usize,
    pub(crate) write_buffer_bytes: usize,
    pub(crate) level_base_bytes: u64,
    pub(crate) table_bytes: u64,
    pub(crate) compression: bool,
    /// Bytes that the scenarios with large values write.
    pub(crate) large_bytes: u64,
}

impl Scale {
    /// Everything in ten minutes beside three peers.
    pub(crate) fn quick() -> Scale {
        Scale {
            name: "quick".to_owned(),
            rows: 500_000,
            value_bytes: 100,
            seconds: 0.6,
            seconds_max: 4.0,
            threads: None,
            rounds: 2,
            cache_bytes: 256 << 20,
            write_buffer_bytes: 8 << 20,
            level_base_bytes: 32 << 20,
            table_bytes: 8 << 20,
            compression: true,
            large_bytes: 64 << 20,
        }
    }

    /// Hours.
    pub(crate) fn full() -> Scale {
        Scale {
            name: "full".to_owned(),
            rows: 20_000_000,
            seconds: 30.0,
            seconds_max: 600.0,
            rounds: 5,
            cache_bytes: 1 << 30,
            write_buffer_bytes: 64 << 20,
            level_base_bytes: 256 << 20,
            table_bytes: 64 << 20,
            large_bytes: 4 << 30,
            ..Scale::quick()
        }
    }

    pub(crate) fn phase(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How an engine is opened, unless a scenario says otherwise.
    pub(crate) fn config(&self) -> Config {
        Config {
            durability: Durability::Process,
            cache_bytes: self.cache_bytes,
            write_buffer_bytes: self.write_buffer_bytes,
            level_base_bytes: self.level_base_bytes,
            table_bytes: self.table_bytes,
            compression: self.compression,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            level0_tables: 4,
        }
    }
}
