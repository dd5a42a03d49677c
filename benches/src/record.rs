//! One line of the results: what one process measured of one scenario and engine in one round.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use crate::measure::{Part, STEP};

/// What a process measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) scenario: String,
    pub(crate) engine: String,
    pub(crate) round: u32,
    /// The first one is the scenario's figure.
    pub(crate) parts: Vec<PartRecord>,
    pub(crate) settle_seconds: f64,
    pub(crate) user_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) space_bytes: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) written_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) pending_bytes: Option<u64>,
    pub(crate) lost: Option<u64>,
    /// Processor time that others took meanwhile, as a share of one core.
    pub(crate) foreign_cpu: f64,
}

/// What a phase measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) name: String,
    pub(crate) units: u64,
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    /// Nanoseconds, in HdrHistogram's own format, compressed, in base 64.
    pub(crate) latency: String,
    /// Units in each step of the timeline.
    pub(crate) timeline: Vec<u64>,
    pub(crate) timeline_step_seconds: f64,
    pub(crate) checksum: Option<u64>,
    /// Whether the time was over before all operations were made.
    pub(crate) is_cut: bool,
}

impl PartRecord {
    pub(crate) fn of(part: &Part) -> Result<PartRecord> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&part.latency, &mut bytes)?;
        Ok(PartRecord {
            name: part.name.to_owned(),
            units: part.units,
            operations: part.operations,
            seconds: part.time.as_secs_f64(),
            latency: STANDARD.encode(bytes),
            timeline: part.timeline.clone(),
            timeline_step_seconds: STEP.as_secs_f64(),
            checksum: part.checksum,
            is_cut: part.is_cut,
        })
    }

    pub(crate) fn histogram(&self) -> Result<Histogram<u64>> {
        let bytes = STANDARD.decode(&self.latency)?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).ok().context("a histogram that cannot be read")
    }

    pub(crate) fn rate(&self) -> f64 {
        self.units as f64 / self.seconds.max(1e-9)
    }
}

impl Record {
    /// The scenario's figure: units per second.
    pub(crate) fn rate(&self) -> f64 {
        self.parts.first().map_or(0.0, PartRecord::rate)
    }

    /// The rate if the time until no work was left counts, too.
    pub(crate) fn settled_rate(&self) -> f64 {
        let part = self.parts.first();
        part.map_or(0.0, |part| part.units as f64 / (part.seconds + self.settle_seconds).max(1e-9))
    }

    pub(crate) fn cpu_micros_per_unit(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.units()
    }

    pub(crate) fn bytes_read_per_unit(&self) -> f64 {
        self.read_bytes as f64 / self.units()
    }

    /// Of all parts, since processor time and bytes are those of all.
    fn units(&self) -> f64 {
        self.parts.iter().map(|part| part.units).sum::<u64>().max(1) as f64
    }

    pub(crate) fn write_amplification(&self) -> Option<f64> {
        (self.user_bytes > 0).then(|| self.written_bytes as f64 / self.user_bytes as f64)
    }

    pub(crate) fn space_amplification(&self) -> Option<f64> {
        (self.live_bytes > 0).then(|| self.space_bytes as f64 / self.live_bytes as f64)
    }
}

/// What the results begin with: how they came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) machine: String,
    pub(crate) system: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) scale: crate::scale::Scale,
    pub(crate) key_shape: String,
    /// What rustc was told, for all engines alike.
    pub(crate) flags: String,
    pub(crate) engines: Vec<(String, String)>,
}
