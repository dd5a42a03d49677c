//! Short ways to write tables, edits and directories down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::key::{InternalKey, Kind, SeqNo};
use lsm_core::{ColumnFamilyId, ReadAt};
use lsm_fs::{Fs, MemFs};
use lsm_manifest::{FamilyChange, State, TableMeta, VersionEdit, WalAddition};

/// The directory that stores in memory lie in.
pub(crate) const STORE: &str = "/store";

/// A file system with an empty directory for a store.
pub(crate) fn empty() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(STORE)).unwrap();
    fs
}

/// A table of 1000 bytes over `from..=to`, written at `seq`.
pub(crate) fn table(number: FileNumber, from: &str, to: &str, seq: u64) -> TableMeta {
    let seq = SeqNo::new(seq);
    let bound = |key: &str| InternalKey::new(key.as_bytes(), seq, Kind::Value);
    let mut table = TableMeta::new(number, 1000, bound(from), bound(to), (seq, seq));
    table.epoch = number.0;
    table
}

pub(crate) fn add(level: usize, table: TableMeta) -> VersionEdit {
    VersionEdit { added: vec![(level, Arc::new(table))], ..VersionEdit::default() }
}

pub(crate) fn in_family(id: u32, edit: VersionEdit) -> VersionEdit {
    VersionEdit { family: ColumnFamilyId(id), ..edit }
}

pub(crate) fn add_family(id: u32, name: &str) -> VersionEdit {
    in_family(id, VersionEdit { family_change: Some(FamilyChange::Add(name.to_owned())), ..VersionEdit::default() })
}

pub(crate) fn wal(number: FileNumber, synced_bytes: Option<u64>) -> VersionEdit {
    let wal_additions = vec![WalAddition { number, synced_bytes }];
    VersionEdit { wal_additions, ..VersionEdit::default() }
}

/// The bytes of a file in [`STORE`].
pub(crate) fn bytes_of(fs: &MemFs, file: FileKind) -> Vec<u8> {
    let source = fs.open(&file.path(Path::new(STORE))).unwrap();
    let mut bytes = vec![0; source.size().unwrap() as usize];
    source.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

/// A store in memory with these files.
pub(crate) fn store_of(files: &[(FileKind, &[u8])]) -> MemFs {
    let fs = empty();
    for (file, bytes) in files {
        let mut writer = fs.create(&file.path(Path::new(STORE))).unwrap();
        writer.write_all(bytes).unwrap();
        writer.sync().unwrap();
    }
    fs.sync_dir(Path::new(STORE)).unwrap();
    fs
}

/// A store with nothing but this manifest in force.
pub(crate) fn store_with_manifest(number: FileNumber, manifest: &[u8]) -> MemFs {
    let current = format!("{}\n", FileKind::Manifest(number));
    store_of(&[(FileKind::Manifest(number), manifest), (FileKind::Current, current.as_bytes())])
}

pub(crate) fn read(fs: &MemFs) -> lsm_core::Result<State> {
    lsm_manifest::read(fs, Path::new(STORE))
}

/// `state` without what depends on the file it was read from.
pub(crate) fn content(state: &State) -> State {
    let (manifest, manifest_bytes, manifest_crc) = (FileNumber(0), 0, 0);
    State { manifest, manifest_bytes, manifest_crc, next_file: 0, torn_tail: None, ..state.clone() }
}

/// A file of the crate's test data.
pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}
