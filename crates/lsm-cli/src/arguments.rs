//! What can be asked for on the command line, and the help that says so.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failure (damage, a directory in use, unreadable input, a missing key), 2 wrong usage.";

/// A key-value store on RocksDB's own files, from the shell.
///
/// Commands that only read (get, scan, stats, verify, dump) open the store read-only: they take no lock, change
/// nothing and never create a directory. load and put create the store if it is missing.
#[derive(Debug, Parser)]
#[command(name = "lsm", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Column family to work on; put and load create it if it is missing
    #[arg(long, global = true, value_name = "NAME", default_value = "default")]
    pub(crate) column_family: String,
    /// Refuse commands that would write
    #[arg(long, global = true)]
    pub(crate) read_only: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the lines KEY, separator, VALUE of a file
    Load(Load),
    /// Write one value
    Put {
        /// Directory of the store; created if missing
        dir: PathBuf,
        key: OsString,
        value: OsString,
    },
    /// Print the value of a key
    #[command(
        after_help = "Exit codes: 0 the key's value is on stdout, 1 the key is missing or the store unreadable, 2 wrong usage."
    )]
    Get {
        /// Directory of the store
        dir: PathBuf,
        key: OsString,
    },
    /// Delete a key, whether it exists or not
    Delete {
        /// Directory of the store
        dir: PathBuf,
        key: OsString,
    },
    /// Print keys and values in key order
    Scan(Scan),
    /// Print how large the store is, level by level
    Stats {
        /// Directory of the store
        dir: PathBuf,
    },
    /// Read everything and check every checksum and invariant
    Verify {
        /// Directory of the store
        dir: PathBuf,
    },
    /// Bring back what is left of a damaged store, and say what is lost; damaged files are kept in lost/
    Repair {
        /// Directory of the store
        dir: PathBuf,
    },
    /// Merge all tables down to one level, dropping what is deleted or overwritten
    Compact {
        /// Directory of the store
        dir: PathBuf,
    },
    /// Make a copy that shares table files by hard links and opens as a store
    Checkpoint {
        /// Directory of the store
        dir: PathBuf,
        /// Directory of the copy; must not exist
        dest: PathBuf,
    },
    /// Print one file of a store in readable form, damaged or not
    Dump {
        /// What the file is
        kind: FileKind,
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Directory of the store; created if missing
    pub(crate) dir: PathBuf,
    /// File with the lines, - for stdin
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// What stands between key and value: the first occurrence in a line counts; \t is a tab
    #[arg(long, value_name = "TEXT", default_value = "\\t", allow_hyphen_values = true)]
    pub(crate) separator: OsString,
    /// Acknowledge lines only when they are on stable storage, not when the system has them
    #[arg(long)]
    pub(crate) sync: bool,
    /// Size of a memtable
    #[arg(long, value_name = "BYTES")]
    pub(crate) write_buffer_size: Option<usize>,
    /// Compression of new tables
    #[arg(long)]
    pub(crate) compression: Option<CompressionName>,
    /// Version of new tables: 6, or 5 for RocksDB before 8.6; without this option that of the tables that are there
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(5..=6))]
    pub(crate) format_version: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Directory of the store
    pub(crate) dir: PathBuf,
    /// First key
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) from: Option<OsString>,
    /// First key behind the last one
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) to: Option<OsString>,
    /// Only keys that start so
    #[arg(long, conflicts_with_all = ["from", "to"], allow_hyphen_values = true)]
    pub(crate) prefix: Option<OsString>,
    /// From the last key to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Print no values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// What to print between key and value; \t is a tab
    #[arg(long, value_name = "TEXT", default_value = "\\t", allow_hyphen_values = true)]
    pub(crate) separator: OsString,
    /// Print keys and values in hexadecimal, with 0x in front
    #[arg(long)]
    pub(crate) hex: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompressionName {
    None,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FileKind {
    /// NNNNNN.sst
    Table,
    /// NNNNNN.log
    Wal,
    /// MANIFEST-NNNNNN
    Manifest,
}

impl Arguments {
    /// Refuses combinations that make no sense, which the derived parser cannot.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let writes = match self.command {
            Command::Load(_) => Some("load"),
            Command::Put { .. } => Some("put"),
            Command::Delete { .. } => Some("delete"),
            Command::Repair { .. } => Some("repair"),
            Command::Compact { .. } => Some("compact"),
            Command::Checkpoint { .. } => Some("checkpoint"),
            Command::Get { .. } | Command::Scan(_) | Command::Stats { .. } | Command::Verify { .. } => None,
            Command::Dump { .. } => None,
        };
        match writes.filter(|_| self.common.read_only) {
            Some(name) => {
                let what = format!("`lsm {name}` writes, so it cannot be --read-only");
                Err(Arguments::command().error(ErrorKind::ArgumentConflict, what))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}
