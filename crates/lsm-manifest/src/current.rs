//! The file `CURRENT`, which names the manifest in force.
//!
//! It is replaced by renaming a finished file over it, so it names either the old manifest or the new one,
//! whenever the machine stops.
//!
//! # Invariants
//! C1. `CURRENT` is exactly `MANIFEST-` and 6 to 20 digits and a line feed, and the name is the one that the number
//!     has; nothing else is followed.
//! C2. The manifest and its directory entry are durable before `CURRENT` names it.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::io;
use std::path::{Path, PathBuf};

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result};
use lsm_fs::{FileWriter, Fs};

/// `MANIFEST-`, 20 digits and a line feed.
const CURRENT_BYTES_MAX: usize = 30;

/// Whether `directory` holds a store.
///
/// # Errors
/// `Corruption` when `CURRENT` is missing but tables, logs or blobs are there: a store that lost its `CURRENT` must not
/// be taken for an empty directory.
pub fn exists(fs: &dyn Fs, directory: &Path) -> Result<bool> {
    let path = FileKind::Current.path(directory);
    match fs.metadata(&path) {
        Ok(_) => return Ok(true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::io("stat", path, source)),
    }
    let names = match fs.read_dir(directory) {
        Ok(names) => names,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::io("list", directory, source)),
    };
    let is_live = |name: &&String| {
        matches!(FileKind::parse(name), Some(FileKind::Table(_) | FileKind::Log(_) | FileKind::Blob(_)))
    };
    match names.iter().find(is_live) {
        Some(name) => Err(Error::corruption(format!("the file is missing, but {name} is there")).in_file(&path)),
        None => Ok(false),
    }
}

/// The manifest that `CURRENT` names.
///
/// # Errors
/// `Corruption` for a file that names none; `Io`.
pub fn read(fs: &dyn Fs, directory: &Path) -> Result<FileNumber> {
    let path = FileKind::Current.path(directory);
    let content = read_small(fs, &path, CURRENT_BYTES_MAX)?;
    parse(&content).ok_or_else(|| {
        let content = content.escape_ascii();
        Error::corruption(format!("\"{content}\" does not name a manifest")).in_file(&path)
    })
}

/// The whole of a file that has to be short.
pub(crate) fn read_small(fs: &dyn Fs, path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let source = fs.open(path).map_err(|source| Error::io("open", path, source))?;
    let bytes = source.size().map_err(|source| Error::io("stat", path, source))?;
    let Some(bytes) = usize::try_from(bytes).ok().filter(|&bytes| bytes <= bytes_max) else {
        return Err(Error::corruption(format!("{bytes} bytes, at most {bytes_max} are expected")).in_file(path));
    };
    let mut content = vec![0; bytes];
    source.read_exact_at(0, &mut content).map_err(|source| Error::io("read", path, source))?;
    Ok(content)
}

/// C1.
fn parse(content: &[u8]) -> Option<FileNumber> {
    let name = std::str::from_utf8(content.strip_suffix(b"\n")?).ok()?;
    match FileKind::parse(name)? {
        kind @ FileKind::Manifest(number) if kind.to_string() == name => Some(number),
        _ => None,
    }
}

/// A small file that is to take the place of another one as a whole: so far it has a temporary name.
pub(crate) struct Replacement {
    temporary: PathBuf,
    file: Box<dyn FileWriter>,
}

impl Replacement {
    /// Writes `content` under the temporary name that has `number`. After an error nothing has changed.
    pub(crate) fn write(fs: &dyn Fs, directory: &Path, number: FileNumber, content: &[u8]) -> Result<Replacement> {
        let path = FileKind::Temporary(number).path(directory);
        // One from an attempt that a crash or an error cut short. Nobody reads it.
        match fs.remove(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", path, source)),
            _ => {}
        }
        let mut file = fs.create(&path).map_err(|source| Error::io("create", &path, source))?;
        if let Err(source) = file.write_all(content) {
            let _ = fs.remove(&path);
            return Err(Error::io("write", path, source));
        }
        Ok(Replacement { temporary: path, file })
    }

    /// Writes a `CURRENT` that names `manifest`.
    pub(crate) fn of_current(fs: &dyn Fs, directory: &Path, manifest: FileNumber) -> Result<Replacement> {
        let content = format!("{}\n", FileKind::Manifest(manifest));
        Replacement::write(fs, directory, manifest, content.as_bytes())
    }

    /// Gives the file the name of `target`. The name is not durable yet; after an error it is unknown which file has it.
    pub(crate) fn put(mut self, fs: &dyn Fs, directory: &Path, target: FileKind) -> Result<()> {
        let target = target.path(directory);
        self.file.sync().map_err(|source| Error::io("sync", &self.temporary, source))?;
        fs.rename(&self.temporary, &target).map_err(|source| Error::io("rename", target, source))
    }
}

/// Makes names in `directory` durable.
pub(crate) fn sync_directory(fs: &dyn Fs, directory: &Path) -> Result<()> {
    fs.sync_dir(directory).map_err(|source| Error::io("sync", directory, source))
}
