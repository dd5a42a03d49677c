//! Opens a damaged store, reads it by every way, and compares.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use lsm_core::filename::FileKind;
use lsm_engine::{ColumnFamily, Db, Error, ErrorKind, Slice};
use lsm_fs::MemFs;

use super::cases::{Case, Damage};
use super::golden::{DIRECTORY, FAMILIES, Golden, Rows, file_system};
use super::repair;

/// How a damage was met.
pub(super) enum Outcome {
    /// The store did not open.
    Refused,
    /// A read failed.
    MetByRead,
    /// Only `verify` found it.
    MetByVerify,
    /// Nothing found it, and nothing is wrong (E2).
    Harmless,
    /// A whole block of a table of format 5 stands where another one was: its checksum does not say where it belongs.
    Moved,
    /// Nothing in RocksDB's own files could tell, and what is read may be wrong.
    Untold,
    /// It changed nothing.
    Void,
}

impl Outcome {
    fn is_noticed(&self) -> bool {
        matches!(self, Outcome::Refused | Outcome::MetByRead | Outcome::MetByVerify)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Outcome::Refused => "refused at open",
            Outcome::MetByRead => "met by a read",
            Outcome::MetByVerify => "met by verify",
            Outcome::Harmless => "harmless",
            Outcome::Moved => "moved blocks of format 5",
            Outcome::Untold => "that RocksDB's files do not tell of",
            Outcome::Void => "without effect",
        }
    }
}

/// Judges one case.
///
/// # Errors
/// What E1 to E3 forbid.
pub(super) fn judge(golden: &Golden, case: &Case) -> Result<Outcome> {
    let Some(files) = case.apply(golden) else { return Ok(Outcome::Void) };
    let fs = file_system(&files)?;
    if untold(golden, case).is_some() {
        return Ok(read_all(golden, case, &fs, true).ok().filter(Outcome::is_noticed).unwrap_or(Outcome::Untold));
    }
    if wants_repair(case) {
        repair::check(golden, case, &files, &file_system(&files)?).with_context(|| format!("repair after {case:?}"))?;
    }
    let outcome = read_all(golden, case, &fs, true);
    if outcome.is_err() && golden.blocks_may_move(case) {
        return Ok(Outcome::Moved);
    }
    let outcome = outcome.with_context(|| format!("{case:?}"))?;
    if wants_writer(case) {
        read_all(golden, case, &fs, false).with_context(|| format!("opened for writing, {case:?}"))?;
    }
    match &outcome {
        Outcome::Harmless if golden.blocks_may_move(case) => Ok(Outcome::Moved),
        Outcome::Harmless if harmless(golden, case).is_none() => bail!("{case:?} goes unnoticed"),
        _ => Ok(outcome),
    }
}

/// Why a damage to files of RocksDB's own may make wrong what is read: they lack the facts that this store writes.
fn untold(golden: &Golden, case: &Case) -> Option<&'static str> {
    match (FileKind::parse(&case.file), &case.damage) {
        _ if !golden.is_of_rocksdb() => None,
        (Some(FileKind::Manifest(_)), Damage::Truncate(_)) => {
            Some("an edit that is cut off may never have been written")
        }
        (Some(FileKind::Manifest(_) | FileKind::Log(_)), Damage::FromTwin) => Some("it does not say whose it is"),
        (Some(FileKind::Table(_)), Damage::FromTwin) => Some("its manifest names it by an id that is not read here"),
        _ => None,
    }
}

/// Why a damage that nothing finds does no harm.
fn harmless(golden: &Golden, case: &Case) -> Option<&'static str> {
    match (FileKind::parse(&case.file), &case.damage) {
        (None | Some(FileKind::Lock), _) => Some("its bytes mean nothing"),
        (_, Damage::Duplicate) => Some("no manifest names the copy"),
        (Some(FileKind::Log(_)), _) if golden.is_crashed() => Some("behind the last sync a log may end anywhere"),
        (Some(FileKind::Log(_)), Damage::Extend { .. }) => Some("what is behind the end of a log is left out"),
        (Some(FileKind::Manifest(_)), _)
            if case.begins_at(&golden.files).is_some_and(|at| at >= golden.closing_edit) =>
        {
            Some("a store whose closing was not noted is one that was not closed: all its data are there")
        }
        (Some(FileKind::Manifest(_)), Damage::Extend { .. }) if golden.is_of_rocksdb() => {
            Some("what is behind the end of a manifest is an edit that was not written whole")
        }
        (Some(FileKind::Table(_)), Damage::Flip { .. }) if golden.is_version_of_table(case) => {
            Some("a footer before format 6 has no checksum, and formats 4 and 5 are read alike")
        }
        (Some(FileKind::Identity), _) => Some("the manifest has the identity too, with a checksum"),
        _ => None,
    }
}

/// One bit of each byte, and everything that is no flip.
fn wants_writer(case: &Case) -> bool {
    !matches!(case.damage, Damage::Flip { bit: 1.., .. } | Damage::Truncate(_))
        || matches!(case.damage, Damage::Truncate(bytes) if bytes.is_multiple_of(8))
}

/// A share of the bits and lengths, and everything else.
fn wants_repair(case: &Case) -> bool {
    match case.damage {
        Damage::Flip { byte, bit } => bit == (byte % 8) as u8 && byte.is_multiple_of(5),
        Damage::Truncate(bytes) => bytes.is_multiple_of(40),
        _ => true,
    }
}

/// Opens the store and reads everything by every way (E1).
fn read_all(golden: &Golden, case: &Case, fs: &MemFs, read_only: bool) -> Result<Outcome> {
    let opened = golden.options(fs).read_only(read_only).create_if_missing(false).open(DIRECTORY);
    let db = match opened {
        Ok(db) => db,
        Err(error) => return check_error(&error).map(|()| Outcome::Refused),
    };
    let mut met = false;
    let lost_the_end = case.file.ends_with(".log") && !matches!(case.damage, Damage::Flip { .. });
    let mut differs = None;
    for state in golden.allowed(lost_the_end).iter().rev() {
        met = false;
        match agrees(&db, state, golden, &mut met) {
            Ok(()) => {
                differs = None;
                break;
            }
            Err(how) => differs = differs.or(Some(how)),
        }
    }
    if let Some(how) = differs {
        return Err(how);
    }
    match db.verify() {
        Err(error) => {
            check_error(&error)?;
            Ok(if met { Outcome::MetByRead } else { Outcome::MetByVerify })
        }
        Ok(_) => {
            ensure!(!met, "a read fails, but verify finds nothing");
            Ok(Outcome::Harmless)
        }
    }
}

/// Checks that every answer is that of `state` or an error, and notes in `met` whether there was one.
fn agrees(db: &Db, state: &Rows, golden: &Golden, met: &mut bool) -> Result<()> {
    for name in FAMILIES {
        let family = match db.column_families().iter().any(|found| found == name) {
            true => db.column_family(name)?,
            false => bail!("family {name} is gone"),
        };
        let rows = state.iter().filter(|((of, _), _)| *of == name);
        let expected: BTreeMap<&Vec<u8>, &Vec<u8>> = rows.map(|((_, key), value)| (key, value)).collect();
        for found in [scan(family.iter(), expected.iter()), scan(family.iter().rev(), expected.iter().rev())] {
            *met |= found.with_context(|| format!("family {name}"))?;
        }
        *met |= gets(&family, &expected, golden).with_context(|| format!("family {name}"))?;
    }
    Ok(())
}

/// Checks that a scan finds what it should, up to an error; returns whether there was one.
fn scan<'a>(
    found: impl Iterator<Item = lsm_engine::Result<(Slice, Slice)>>,
    mut expected: impl Iterator<Item = (&'a &'a Vec<u8>, &'a &'a Vec<u8>)>,
) -> Result<bool> {
    for row in found {
        match row {
            Err(error) => return check_error(&error).map(|()| true),
            Ok((key, value)) => {
                let wanted = expected.next().map(|(key, value)| (key.as_slice(), value.as_slice()));
                ensure!(wanted == Some((&key[..], &value[..])), "a wrong row, {}", key.escape_ascii());
            }
        }
    }
    ensure!(expected.next().is_none(), "rows are missing");
    Ok(false)
}

/// Checks that each key has the value it should or an error; returns whether there was one.
fn gets(family: &ColumnFamily, expected: &BTreeMap<&Vec<u8>, &Vec<u8>>, golden: &Golden) -> Result<bool> {
    let mut met = false;
    let expected = |key: &Vec<u8>| expected.get(key).map(|value| value.as_slice());
    let keys: Vec<&Vec<u8>> = golden.keys.iter().collect();
    for key in &keys {
        match family.get(key) {
            Ok(found) => ensure!(found.as_deref() == expected(key), "get of {} is wrong", key.escape_ascii()),
            Err(error) => {
                check_error(&error)?;
                met = true;
            }
        }
    }
    match family.multi_get(&keys) {
        Ok(found) => {
            let agree = keys.iter().zip(&found).all(|(key, found)| found.as_deref() == expected(key));
            ensure!(agree && found.len() == keys.len(), "multi_get is wrong");
        }
        Err(error) => {
            check_error(&error)?;
            met = true;
        }
    }
    Ok(met)
}

/// An error is of a kind that damage has, and names a file of the store.
fn check_error(error: &Error) -> Result<()> {
    let kinds = [ErrorKind::Corruption, ErrorKind::Io, ErrorKind::Unsupported, ErrorKind::InvalidArgument];
    ensure!(kinds.contains(&error.kind()), "an error of the wrong kind: {error:?}");
    let names_a_file = error.path().is_some_and(|path| path.starts_with(DIRECTORY));
    ensure!(names_a_file || error.to_string().contains(DIRECTORY), "an error that names no file: {error:?}");
    Ok(())
}
