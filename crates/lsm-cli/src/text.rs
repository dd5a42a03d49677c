//! Bytes from and for the shell: separators, escapes, notes on stderr.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A separator as it was typed, with `\t` for a tab.
pub(crate) fn separator(typed: &OsStr) -> Vec<u8> {
    let bytes = typed.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let tab = bytes[at..].starts_with(b"\\t");
        out.push(if tab { b'\t' } else { bytes[at] });
        at += if tab { 2 } else { 1 };
    }
    out
}

/// Splits a line at the first separator.
pub(crate) fn split<'l>(line: &'l [u8], separator: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

/// Shows bytes between quotes, those that are no printable ASCII as escapes.
pub(crate) struct Quoted<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

/// Shows bytes in upper-case hexadecimal, as RocksDB's tools do.
pub(crate) struct Hex<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A path or key as it must be typed in a shell.
pub(crate) fn shell(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/+:@=,".contains(byte);
    let text = String::from_utf8_lossy(word);
    if !word.is_empty() && word.iter().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// How this program was started, for lines that a person may copy.
pub(crate) fn program() -> &'static str {
    // Cargo sets it for what it runs; then `lsm` is probably not in the path.
    if std::env::var_os("CARGO_MANIFEST_DIR").is_some() { "cargo run --release -p lsm-cli --" } else { "lsm" }
}

/// The command line `PROGRAM COMMAND DIR REST`.
pub(crate) fn invocation(command: &str, dir: &Path, rest: &str) -> String {
    let line = format!("{} {command} {} {rest}", program(), shell(dir.as_os_str().as_bytes()));
    line.trim_end().to_owned()
}

/// A line for stderr. Nobody may be listening, and that must not stop the work.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_can_be_typed() {
        assert_eq!(separator(OsStr::new(r"\t")), b"\t");
        assert_eq!(separator(OsStr::new(r" ==> ")), b" ==> ");
        assert_eq!(separator(OsStr::new(r"a\tb\")), b"a\tb\\");
    }

    #[test]
    fn the_first_separator_splits() {
        assert_eq!(split(b"a => b => c", b" => "), Some((b"a".as_slice(), b"b => c".as_slice())));
        assert_eq!(split(b" => ", b" => "), Some((b"".as_slice(), b"".as_slice())));
        assert_eq!(split(b"a = b", b" => "), None);
        assert_eq!(split(b"", b"\t"), None);
    }

    #[test]
    fn bytes_are_shown_without_control_characters() {
        assert_eq!(Quoted(b"a\x00'\n\xff").to_string(), r"'a\x00\'\n\xff'");
        assert_eq!(Hex(b"\x0aZ").to_string(), "0x0A5A");
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell(b"demo.db"), "demo.db");
        assert_eq!(shell(b"my db"), "'my db'");
        assert_eq!(shell(b"it's"), r"'it'\''s'");
        assert_eq!(shell(b""), "''");
    }
}
