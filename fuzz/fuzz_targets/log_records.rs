//! Records of logs and manifests: any bytes have an end, and no record is longer than the file.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lsm_core::filename::FileNumber;
use lsm_wal::{HeaderStyle, Outcome, RecordReader};

fuzz_target!(|bytes: &[u8]| {
    for style in [HeaderStyle::Legacy, HeaderStyle::Log(FileNumber(1))] {
        let source = Arc::new(bytes.to_vec());
        let mut reader = RecordReader::new(source, style, Path::new("input")).expect("memory has a size");
        loop {
            match reader.next().expect("memory can be read") {
                Outcome::Record { payload, .. } => assert!(payload.len() < bytes.len()),
                Outcome::Damaged { offset, .. } => assert!(offset <= bytes.len() as u64),
                Outcome::End { .. } | Outcome::Torn { .. } => break,
            }
        }
    }
});
