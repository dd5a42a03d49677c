//! `lsm put`, `lsm get`, `lsm delete`: one key.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lsm_engine::Options;

use crate::Answer;
use crate::store::{create, family, family_or_new, open_to_read, open_to_write};
use crate::text::{Quoted, note};

pub(crate) fn put(dir: &Path, name: &str, key: &OsStr, value: &OsStr) -> anyhow::Result<Answer> {
    let db = create(dir, Options::new())?;
    family_or_new(&db, name)?.put(key.as_bytes(), value.as_bytes())?;
    db.close()?;
    Ok(Answer::Yes)
}

pub(crate) fn get(dir: &Path, name: &str, key: &OsStr) -> anyhow::Result<Answer> {
    let db = open_to_read(dir)?;
    let Some(value) = family(&db, name)?.get(key.as_bytes())? else {
        note(&format!("lsm: no key {} in {}", Quoted(key.as_bytes()), dir.display()));
        return Ok(Answer::No);
    };
    let mut out = io::stdout().lock();
    out.write_all(&value)?;
    out.write_all(b"\n")?;
    Ok(Answer::Yes)
}

pub(crate) fn delete(dir: &Path, name: &str, key: &OsStr) -> anyhow::Result<Answer> {
    let db = open_to_write(dir)?;
    family(&db, name)?.delete(key.as_bytes())?;
    db.close()?;
    Ok(Answer::Yes)
}
