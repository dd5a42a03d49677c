//! A second directory with the content of this moment: tables linked, logs copied.
//!
//! # Invariants
//! K1. The copy's manifest is written last, so a directory without `CURRENT` is an unfinished copy.
//! K2. State and views are taken under the manifest lock, and logs are pinned before: everything that is
//!     not in the tables of that state is in the logs that are copied.
//! K3. No log is copied further than it had come when the state was taken: behind that may lie a batch for a family that the
//!     state does not know, of which the copy would hold the other families' half.

use crate::store::Store;
use crate::{Error, Result};
use lsm_core::filename::FileKind;
use lsm_core::{Error as CoreError, ReadAt};
use lsm_fs::Fs;
use lsm_manifest::{Manifest, State};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

impl Store {
    pub(crate) fn checkpoint(self: &Arc<Self>, target: &Path) -> Result<()> {
        self.health.check_writable()?;
        let fs = &self.options.fs;
        match fs.metadata(target) {
            Ok(_) => return Err(Error::invalid_argument(format!("{}: exists already", target.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(CoreError::io("stat", target, error).into()),
        }
        // What is in no log gets into tables; and there is less log to copy.
        self.flush()?;
        let _pin = self.logs.pin();
        let (mut state, views, active, bytes, log) = {
            let guard = self.manifest.lock();
            let manifest = guard.as_ref().ok_or_else(Error::closed)?;
            let families = self.families.load();
            let views: Vec<_> = families.values().map(|family| family.view.load_full()).collect();
            // K3.
            let guard = self.writer.lock();
            let wal = &guard.as_ref().ok_or_else(Error::closed)?.wal;
            (manifest.state().clone(), views, wal.number(), wal.len(), wal.handle())
        };
        log.sync_all().map_err(|error| self.log_failed(&log, error))?;
        fs.create_dir(target).map_err(|error| CoreError::io("create", target, error))?;
        for view in &views {
            for (_, table) in view.version.tables() {
                self.link(FileKind::Table(table.number), target)?;
            }
        }
        let first = state.first_log();
        for log in self.logs.retired_numbers().into_iter().filter(|&log| first <= log && log < active) {
            copy(&**fs, FileKind::Log(log), &self.directory, target, None)?;
            state.mark_used(log);
        }
        copy(&**fs, FileKind::Log(active), &self.directory, target, Some(bytes))?;
        state.mark_used(active);
        // The copied log may tell of a manifest that is newer than the state; the copy's own must be newer still.
        state.next_file = state.next_file.max(self.background.numbers().next());
        write_manifest(fs, target, state)?;
        Ok(())
    }

    fn link(&self, file: FileKind, target: &Path) -> Result<()> {
        let fs = &self.options.fs;
        let linked = fs.hard_link(&file.path(&self.directory), &file.path(target));
        match linked {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::CrossesDevices | ErrorKind::Unsupported) => {
                Ok(copy(&**fs, file, &self.directory, target, None)?)
            }
            Err(error) => Err(CoreError::io("link", file.path(target), error).into()),
        }
    }
}

/// The manifest of the copy (K1).
fn write_manifest(fs: &Arc<dyn Fs>, target: &Path, mut state: State) -> Result<()> {
    // The copy's logs have no synced length yet that the original's manifest could know.
    state.wals.clear();
    Manifest::create(Arc::clone(fs), target, state)?;
    Ok(())
}

/// Copies a file, or its first `bytes` bytes, and syncs the copy.
fn copy(fs: &dyn Fs, file: FileKind, from: &Path, to: &Path, bytes: Option<u64>) -> lsm_core::Result<()> {
    let (from, to) = (file.path(from), file.path(to));
    let source = fs.open(&from).map_err(|error| CoreError::io("open", &from, error))?;
    let size = source.size().map_err(|error| CoreError::io("stat", &from, error))?;
    let mut copy = fs.create(&to).map_err(|error| CoreError::io("create", &to, error))?;
    let mut buffer = vec![0; COPY_BYTES];
    let end = bytes.unwrap_or(size);
    let mut offset = 0;
    while offset < end {
        let count = COPY_BYTES.min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let chunk = &mut buffer[..count];
        source.read_exact_at(offset, chunk).map_err(|error| CoreError::io("read", &from, error))?;
        copy.write_all(chunk).map_err(|error| CoreError::io("write", &to, error))?;
        offset += count as u64;
    }
    copy.flush().and_then(|()| copy.sync()).map_err(|error| CoreError::io("sync", &to, error))
}
