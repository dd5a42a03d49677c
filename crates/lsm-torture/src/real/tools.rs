//! Other programs: the `lsm` command of this workspace, and RocksDB's `ldb`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The `lsm` command, built as this program was if its source is there, else the one beside this program.
pub(crate) fn lsm() -> Result<&'static Path> {
    static LSM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LSM.get_or_init(|| find_lsm().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|why| anyhow::anyhow!("{why}"))
}

fn find_lsm() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let beside = program.with_file_name("lsm");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = program.ancestors().nth(2).filter(|_| source.is_dir());
    let Some(target) = target else {
        ensure!(beside.is_file(), "no `lsm` beside {}", program.display());
        return Ok(beside);
    };
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(source)
        .args(["build", "--quiet", "--profile", "torture", "-p", "lsm-cli", "--target-dir"])
        .arg(target);
    let status = build.status().context("cannot start cargo to build `lsm`")?;
    ensure!(status.success(), "`lsm` does not build");
    Ok(target.join("torture").join("lsm"))
}

/// Whether a program can be started.
pub(crate) fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Why no image of ext4 can be made and mounted.
pub(crate) fn why_no_ext4() -> Option<String> {
    let missing = ["mkfs.ext4", "losetup"].into_iter().find(|tool| !is_there(tool));
    missing.map(|tool| format!("{tool} is not installed"))
}

/// Whether RocksDB's tools are installed.
pub(crate) fn ldb_is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| is_there("ldb"))
}

/// `ldb` on the store in `dir`, ready to be given a command.
pub(crate) fn ldb(dir: &Path) -> Command {
    let mut command = Command::new("ldb");
    command.arg(format!("--db={}", dir.display())).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its output, or an error with what it said.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{name}: {}: {stdout} {stderr}", output.status);
    Ok(stdout)
}

/// As [`run`], with the program and its arguments.
pub(crate) fn call<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    run(Command::new(program).args(arguments))
}
