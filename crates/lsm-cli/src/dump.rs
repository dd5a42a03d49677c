//! `lsm dump`: one file in readable form, read by the crate that owns its format.
//!
//! Reaches past the engine on purpose: it must show files that no store would open. What is readable is
//! printed even if damage follows; the damage is the error.

mod manifest;
mod table;
mod wal;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use lsm_core::filename::FileKind as Name;
use lsm_core::{Error, ReadAt};
use lsm_fs::{Fs, OsFs};

use crate::Answer;
use crate::arguments::FileKind;

pub(crate) fn run(kind: FileKind, file: &Path) -> anyhow::Result<Answer> {
    let source: Arc<dyn ReadAt> = OsFs.open(file).map_err(|error| Error::io("open", file, error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match kind {
        FileKind::Table => table::dump(source, file, &mut out),
        FileKind::Wal => wal::dump(source, file, &mut out),
        FileKind::Manifest => manifest::dump(source, file, &mut out),
    };
    out.flush()?;
    outcome
}

/// What the file's name says it is, if it is one of a store's names.
fn name(file: &Path) -> Option<Name> {
    Name::parse(file.file_name()?.to_str()?)
}
