//! Starting the binary and RocksDB's tools, and copies of the test data.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What stands between key and value in `testdata/packages.kv`.
pub(crate) const ARROW: &str = " ==> ";

/// The separator that RocksDB 7's `ldb scan` prints.
pub(crate) const COLON: &str = " : ";

/// How one run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    fn new(output: Output) -> Run {
        let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
        Run { code: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Stdout of a run that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// As [`Run::ok`], as text.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.ok()).expect("the test's data are UTF-8")
    }
}

/// `lsm`, ready to be given arguments.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsm"));
    // Set while tests run; it would change the hints that the command prints.
    command.env_remove("CARGO_MANIFEST_DIR").stdin(Stdio::null());
    command
}

/// Runs `lsm` with these arguments.
pub(crate) fn lsm<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    Run::new(command().args(arguments).output().expect("lsm starts"))
}

/// Runs `lsm COMMAND DIR REST`.
pub(crate) fn on(dir: &Path, command: &str, rest: &[&str]) -> Run {
    lsm([OsStr::new(command), dir.as_os_str()].into_iter().chain(rest.iter().map(OsStr::new)))
}

/// Loads `lines` from stdin.
pub(crate) fn load(dir: &Path, lines: &[u8], rest: &[&str]) -> Run {
    let mut command = command();
    command.arg("load").arg(dir).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("lsm starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::thread::scope(|scope| {
        // Beside reading its messages, or both sides could wait for each other. An early end closes the pipe.
        scope.spawn(move || {
            let _ = stdin.write_all(lines);
        });
        Run::new(child.wait_with_output().expect("lsm ends"))
    })
}

/// The real data that everyone has.
pub(crate) fn packages() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/packages.kv");
    std::fs::read(path).expect("testdata/packages.kv is there")
}

/// A writable copy of a database that RocksDB wrote.
pub(crate) fn rocksdb_database(name: &str) -> (TempDir, PathBuf) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let temp = temp();
    let dir = temp.path().join(name);
    copy(&source, &dir);
    (temp, dir)
}

/// Copies the files of `source` into the new directory `target`.
pub(crate) fn copy(source: &Path, target: &Path) {
    std::fs::create_dir(target).expect("the target is new");
    for entry in std::fs::read_dir(source).expect("the source is a directory") {
        let entry = entry.expect("the source can be listed");
        std::fs::copy(entry.path(), target.join(entry.file_name())).expect("a file can be copied");
    }
}

pub(crate) fn temp() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Names of the files in `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// How many files of `dir` end in `.sst`.
pub(crate) fn tables(dir: &Path) -> usize {
    files(dir).iter().filter(|name| name.ends_with(".sst")).count()
}

/// Runs one of RocksDB's tools; `None` if it is not installed and need not be.
pub(crate) fn rocksdb(tool: &str, arguments: &[&str]) -> Option<Run> {
    match Command::new(tool).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => Some(Run::new(output)),
        Err(error) if std::env::var_os("LSM_REQUIRE_ROCKSDB").is_some() => {
            panic!("LSM_REQUIRE_ROCKSDB is set and {tool} does not start: {error}")
        }
        Err(_) => {
            eprintln!("SKIPPED: {tool} is not installed (Debian: rocksdb-tools)");
            None
        }
    }
}

/// What `ldb scan` prints for `dir`.
pub(crate) fn ldb_scan(dir: &Path, rest: &[&str]) -> Option<Vec<u8>> {
    let db = format!("--db={}", dir.display());
    Some(rocksdb("ldb", &[&[db.as_str(), "scan"], rest].concat())?.ok())
}
