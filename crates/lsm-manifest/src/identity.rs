//! The file `IDENTITY` and the ids in it.
//!
//! RocksDB tells stores apart by it. The manifest holds the id too; where both have one, the manifest's counts, for
//! its records have checksums and `IDENTITY` has none.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::io;
use std::path::Path;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result};
use lsm_fs::Fs;

use crate::current::{self, Replacement};

/// RocksDB's ids have 36; an application may have set its own.
const ID_BYTES_MAX: usize = 4096;

/// A new id in the form that RocksDB gives them, a version-4 UUID, of what [`Fs::random`] gives.
pub fn new_db_id(fs: &dyn Fs) -> String {
    let (high, low) = (fs.random() & !0xf000 | 0x4000, fs.random() & !(0b11 << 62) | 0b10 << 62);
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    let (d, e) = (low >> 48, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

/// The id in `IDENTITY`, or `None` without the file.
pub(crate) fn read(fs: &dyn Fs, directory: &Path) -> Result<Option<String>> {
    let path = FileKind::Identity.path(directory);
    let content = match current::read_small(fs, &path, ID_BYTES_MAX) {
        Err(Error::Io(failure)) if failure.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        content => content?,
    };
    match std::str::from_utf8(content.trim_ascii()) {
        Ok(id) if !id.is_empty() && !id.contains(char::is_control) => Ok(Some(id.to_owned())),
        _ => Err(Error::corruption(format!("\"{}\" is not an id", content.escape_ascii())).in_file(&path)),
    }
}

/// Writes `IDENTITY` unless it is there. The caller syncs the directory.
pub(crate) fn write_if_missing(fs: &dyn Fs, directory: &Path, id: &str, temporary: FileNumber) -> Result<()> {
    let path = FileKind::Identity.path(directory);
    match fs.metadata(&path) {
        Ok(_) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let file = Replacement::write(fs, directory, temporary, id.as_bytes())?;
            file.put(fs, directory, FileKind::Identity)
        }
        Err(source) => Err(Error::io("stat", path, source)),
    }
}
