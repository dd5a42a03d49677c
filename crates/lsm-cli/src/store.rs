//! Opening a store, with errors for people: what was found, and what was expected instead.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use lsm_engine::{ColumnFamily, Db, Error, ErrorKind, Options, RepairReport};

/// Opens the store in `dir` for reading: takes no lock and creates nothing.
pub(crate) fn open_to_read(dir: &Path) -> anyhow::Result<Db> {
    must_be_directory(dir)?;
    Options::new().read_only(true).create_if_missing(false).open(dir).map_err(|error| explain(dir, error))
}

/// Opens the store in `dir` for writing; it must exist.
pub(crate) fn open_to_write(dir: &Path) -> anyhow::Result<Db> {
    must_be_directory(dir)?;
    Options::new().create_if_missing(false).open(dir).map_err(|error| explain(dir, error))
}

/// Repairs the store in `dir`.
pub(crate) fn repair(dir: &Path) -> anyhow::Result<RepairReport> {
    must_be_directory(dir)?;
    Options::new().repair(dir).map_err(|error| explain(dir, error))
}

/// Opens the store in `dir` for writing, with these options; creates it if it is missing.
pub(crate) fn create(dir: &Path, options: Options) -> anyhow::Result<Db> {
    if dir.exists() {
        must_be_directory(dir)?;
    }
    options.open(dir).map_err(|error| explain(dir, error))
}

/// The family with this name, which must exist.
pub(crate) fn family(db: &Db, name: &str) -> anyhow::Result<ColumnFamily> {
    let names = db.column_families();
    if !names.iter().any(|existing| existing == name) {
        bail!("no column family `{name}`, there are: {}", names.join(", "));
    }
    db.column_family(name).with_context(|| format!("column family `{name}`"))
}

/// The family with this name, created if it is missing.
pub(crate) fn family_or_new(db: &Db, name: &str) -> anyhow::Result<ColumnFamily> {
    db.column_family(name).with_context(|| format!("column family `{name}`"))
}

fn must_be_directory(dir: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => bail!("{} is a file, expected the directory of a store", dir.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "{} does not exist, expected the directory of a store (`lsm load` and `lsm put` create one)",
                dir.display()
            )
        }
        Err(error) => Err(error).with_context(|| dir.display().to_string()),
    }
}

fn explain(dir: &Path, error: Error) -> anyhow::Error {
    let in_use = error.kind() == ErrorKind::Locked;
    let error = anyhow::Error::new(error);
    match in_use {
        true => {
            error.context(format!("{} is in use by another process; commands that only read still work", dir.display()))
        }
        false => error.context(format!("cannot open the store in {}", dir.display())),
    }
}
