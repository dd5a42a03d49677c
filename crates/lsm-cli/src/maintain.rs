//! `lsm stats`, `lsm verify`, `lsm repair`, `lsm compact`, `lsm checkpoint`: a store as a whole.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::Answer;
use crate::store::{self, family, open_to_read, open_to_write};
use crate::text::{invocation, note};

pub(crate) fn stats(dir: &Path) -> anyhow::Result<Answer> {
    let db = open_to_read(dir)?;
    writeln!(io::stdout(), "{}", db.stats())?;
    Ok(Answer::Yes)
}

pub(crate) fn verify(dir: &Path) -> anyhow::Result<Answer> {
    let db = open_to_read(dir)?;
    let report = db.verify().with_context(|| format!("{} is damaged", dir.display()))?;
    writeln!(io::stdout(), "{report}")?;
    Ok(Answer::Yes)
}

pub(crate) fn repair(dir: &Path) -> anyhow::Result<Answer> {
    let report = store::repair(dir)?;
    writeln!(io::stdout(), "{report}")?;
    note(&format!("try next: {}", invocation("verify", dir, "")));
    Ok(Answer::Yes)
}

pub(crate) fn compact(dir: &Path, name: &str) -> anyhow::Result<Answer> {
    let start = Instant::now();
    let db = open_to_write(dir)?;
    family(&db, name)?.compact_range(..)?;
    db.close()?;
    note(&format!("compacted column family `{name}` of {} in {:.2} s", dir.display(), start.elapsed().as_secs_f64()));
    Ok(Answer::Yes)
}

pub(crate) fn checkpoint(dir: &Path, dest: &Path) -> anyhow::Result<Answer> {
    let db = open_to_write(dir)?;
    db.checkpoint(dest).with_context(|| format!("cannot make a checkpoint in {}", dest.display()))?;
    db.close()?;
    note(&format!("checkpoint of {} made in {}", dir.display(), dest.display()));
    note(&format!("try next: {}", invocation("verify", dest, "")));
    Ok(Answer::Yes)
}
