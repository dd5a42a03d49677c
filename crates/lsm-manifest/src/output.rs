//! The manifest file while it is written: appends that are all there or count as failed.
//!
//! Records are framed into memory and go to the file in one write and one sync, so records of one group stand or
//! fall together.

use std::io::{self, Write};
use std::path::PathBuf;

use lsm_core::checksum::crc32c_append;
use lsm_core::{Error, Result};
use lsm_fs::FileWriter;

/// Where the framed records go.
pub(crate) struct Output {
    file: Box<dyn FileWriter>,
    path: PathBuf,
    pending: Vec<u8>,
    synced_bytes: u64,
    synced_crc: u32,
}

/// How far a failed step has got.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing that recovery would take for an edit has been written.
    Undone(Error),
    /// Recovery may find the step done or undone.
    Unknown(Error),
}

impl Output {
    pub(crate) fn new(file: Box<dyn FileWriter>, path: PathBuf) -> Output {
        Output { file, path, pending: Vec::new(), synced_bytes: 0, synced_crc: 0 }
    }

    /// Makes everything that was written since the last commit durable.
    pub(crate) fn commit(&mut self) -> Result<(), Failure> {
        // The record that a failed write cut short is a torn tail: not even a whole write counts before its sync.
        let written = self.file.write_all(&self.pending);
        written.map_err(|source| Failure::Undone(Error::io("write", &self.path, source)))?;
        self.file.sync().map_err(|source| Failure::Unknown(Error::io("sync", &self.path, source)))?;
        self.synced_bytes += self.pending.len() as u64;
        self.synced_crc = crc32c_append(self.synced_crc, &self.pending);
        self.pending.clear();
        Ok(())
    }

    pub(crate) fn synced_bytes(&self) -> u64 {
        self.synced_bytes
    }

    pub(crate) fn synced_crc(&self) -> u32 {
        self.synced_crc
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
