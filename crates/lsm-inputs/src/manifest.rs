//! Edits, whole manifests, names of files.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_fs::{Fs, MemFs};
use lsm_manifest::{Manifest, State, VersionEdit, read};
use lsm_wal::RecordWriter;

use crate::feed::Feed;

const DIRECTORY: &str = "/store";

/// Any bytes are refused, or are an edit that can be written and read back.
pub(crate) fn edit(bytes: &[u8]) {
    if let Ok(edit) = VersionEdit::decode(bytes) {
        let again = VersionEdit::decode(&edit.encode()).expect("what was read can be written");
        assert_eq!(again, edit);
    }
}

/// A manifest, raw or with sound checksums around the pieces of the input: refused with its name, or a state that
/// keeps its rules and that comes back from a fresh manifest.
pub(crate) fn whole(bytes: &[u8]) {
    let (raw, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let content = if raw & 1 == 1 { rest.to_vec() } else { framed(rest) };
    let fs = store(b"MANIFEST-000001\n", &[(FileNumber(1), &content)]);
    let state = match read(&fs, Path::new(DIRECTORY)) {
        Ok(state) => state,
        Err(error) => {
            assert!(error.path().is_some_and(|path| path.starts_with(DIRECTORY)), "names no file: {error}");
            return;
        }
    };
    for family in state.families.values() {
        family.version.check().expect("a state that was read keeps its rules");
    }
    rewrite(&fs, state);
}

/// A state that was read can be written, if there are numbers left for a fresh manifest, and reads the same.
fn rewrite(fs: &MemFs, state: State) {
    if state.next_file > u64::MAX >> 2 {
        return;
    }
    let fs = Arc::new(fs.clone());
    let Ok(manifest) = Manifest::create(fs.clone(), Path::new(DIRECTORY), state) else { return };
    let again = read(&*fs, Path::new(DIRECTORY)).expect("a manifest that was written can be read");
    let written = manifest.state();
    assert_eq!(again.families, written.families);
    assert_eq!((again.next_file, again.last_seq), (written.next_file, written.last_seq));
    assert_eq!((again.manifest_bytes, again.manifest_crc), (written.manifest_bytes, written.manifest_crc));
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut feed = Feed::new(bytes);
    let mut writer = RecordWriter::new(Vec::new());
    while !feed.is_empty() {
        writer.append(feed.piece()).expect("memory has room");
    }
    writer.into_inner()
}

fn store(current: &[u8], manifests: &[(FileNumber, &[u8])]) -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIRECTORY)).expect("memory has room");
    let write = |kind: FileKind, bytes: &[u8]| {
        let mut file = fs.create(&kind.path(Path::new(DIRECTORY))).expect("memory has room");
        file.write_all(bytes).expect("memory has room");
    };
    write(FileKind::Current, current);
    manifests.iter().for_each(|(number, bytes)| write(FileKind::Manifest(*number), bytes));
    fs
}

/// A name is that of a stranger or leads to a file right in the directory; `CURRENT` leads nowhere else.
pub(crate) fn names(bytes: &[u8]) {
    let fs = store(bytes, &[]);
    let error = read(&fs, Path::new(DIRECTORY)).expect_err("there is no manifest");
    let path = error.path().expect("the error names a file");
    assert_eq!(path.parent(), Some(Path::new(DIRECTORY)), "{error}");
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    let Some(kind) = FileKind::parse(name) else { return };
    let path = kind.path(Path::new(DIRECTORY));
    assert_eq!(path.parent(), Some(Path::new(DIRECTORY)));
    let written = kind.to_string();
    assert_eq!(FileKind::parse(&written), Some(kind), "{name} is written as {written}");
    assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(written.as_str()));
}
