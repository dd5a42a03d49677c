//! `lsm scan`: keys and values on stdout, and nothing else.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;

use lsm_engine::{ColumnFamily, Iter, Result, Slice};

use crate::Answer;
use crate::arguments::Scan;
use crate::store::{family, open_to_read};
use crate::text::{Hex, separator};

/// Enough for a few hundred lines per call of the system.
const BUFFER_BYTES: usize = 64 << 10;

pub(crate) fn run(scan: &Scan, name: &str) -> anyhow::Result<Answer> {
    let db = open_to_read(&scan.dir)?;
    let items = items(scan, &family(&db, name)?);
    let separator = separator(&scan.separator);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    for item in items.take(scan.limit.unwrap_or(usize::MAX)) {
        let (key, value) = item?;
        print(&mut out, scan.hex, &key)?;
        if !scan.keys_only {
            out.write_all(&separator)?;
            print(&mut out, scan.hex, &value)?;
        }
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Answer::Yes)
}

/// What is asked for, in the order asked for.
fn items(scan: &Scan, family: &ColumnFamily) -> Box<dyn Iterator<Item = Result<(Slice, Slice)>>> {
    let iter: Iter = match &scan.prefix {
        Some(prefix) => family.prefix(prefix.as_bytes()),
        None => {
            let from = scan.from.as_ref().map_or(Bound::Unbounded, |key| Bound::Included(bytes(key)));
            let to = scan.to.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(bytes(key)));
            family.range((from, to))
        }
    };
    if scan.reverse { Box::new(iter.rev()) } else { Box::new(iter) }
}

fn bytes(key: &OsString) -> &[u8] {
    key.as_bytes()
}

fn print(out: &mut impl Write, hex: bool, bytes: &[u8]) -> io::Result<()> {
    if hex { write!(out, "{}", Hex(bytes)) } else { out.write_all(bytes) }
}
