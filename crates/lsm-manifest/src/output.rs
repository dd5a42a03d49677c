//! The manifest file while it is written.
//!
//! Records are framed into memory first and go to the file together, so that a group is one write and one sync.
//! After an error the file is not used any more, so what is framed but not synced is never written twice.

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

impl Output {
    pub(crate) fn new(file: Box<dyn FileWriter>, path: PathBuf) -> Output {
        Output { file, path, pending: Vec::new(), synced_bytes: 0, synced_crc: 0 }
    }

    /// Hands everything that was framed to the file.
    pub(crate) fn deliver(&mut self) -> Result<()> {
        self.file.write_all(&self.pending).map_err(|source| Error::io("write", &self.path, source))
    }

    /// Makes what was delivered durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|source| Error::io("sync", &self.path, source))?;
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
