//! A store that this version wrote is read by it and by all later ones, entry by entry.

use std::path::Path;
use std::sync::Arc;

use lsm_fs::{Fs, MemFs};
use lsm_inputs::golden::{self, DIRECTORY, FAMILY};

fn check(fs: MemFs) {
    let db = golden::options(Arc::new(fs)).open(DIRECTORY).unwrap();
    db.verify().unwrap();
    let (rows, other) = golden::rows();
    assert_eq!(golden::read(&db, "default").unwrap(), rows);
    assert_eq!(golden::read(&db, FAMILY).unwrap(), other);
}

#[test]
fn the_golden_store_is_read_whole() {
    check(golden::store());
}

#[test]
fn it_can_be_compacted_and_written_to() {
    let fs = golden::store();
    let db = golden::options(Arc::new(fs.clone())).open(DIRECTORY).unwrap();
    db.put("in the log", "1").unwrap();
    db.compact_range(..).unwrap();
    db.close().unwrap();
    check(fs);
}

#[test]
fn it_holds_what_it_is_for() {
    let fs = golden::store();
    let db = golden::options(Arc::new(fs)).read_only(true).open(DIRECTORY).unwrap();
    let stats = db.stats();
    let levels = &stats.families.iter().find(|family| family.name == "default").unwrap().levels;
    assert!(levels.iter().filter(|level| level.tables > 0).count() >= 2, "tables on one level only");
    let bytes: usize = golden::FILES.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= 60 << 10, "{bytes} bytes");
}

/// What is written today holds the same; `LSM_GOLDEN=DIRECTORY` keeps its files there.
#[test]
fn writing_it_anew_gives_the_same_rows() {
    let fs = MemFs::new();
    golden::write(Arc::new(fs.clone())).unwrap();
    // Opening it changes it, so its files are kept first.
    let target = std::env::var_os("LSM_GOLDEN");
    for name in fs.read_dir(Path::new(DIRECTORY)).unwrap() {
        let Some(target) = &target else { break };
        let file = fs.open(&Path::new(DIRECTORY).join(&name)).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_exact_at(0, &mut bytes).unwrap();
        std::fs::write(Path::new(target).join(name), bytes).unwrap();
    }
    check(fs);
}
