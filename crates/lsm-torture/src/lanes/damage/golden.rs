//! Small stores that hold every kind of file and block.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lsm_compaction::StepExecutor;
use lsm_core::filename::FileKind;
use lsm_engine::{Compression, Db, Durability, Options, WriteBatch, WriteOptions};
use lsm_fs::{Crash, Fs, ManualClock, MemFs};
use lsm_testkit::AppendOperator;

use super::cases::{Case, Damage};
use super::pieces::{self, Piece};
use super::rocksdb;

/// Kinds of golden stores.
pub(super) const KINDS: u64 = 5;

/// The kind that RocksDB wrote.
const OF_ROCKSDB: u64 = 4;

/// Writes to the log that are synced; two more follow, and tell of it.
const SYNCED_WRITES: usize = 4;

/// The end of a table's footer.
const VERSION_AND_MAGIC_BYTES: usize = 12;

/// What the store and the lane take for files of a few KiB without any damage, with room to spare.
const MEMORY_AT_REST: u64 = 16 << 20;

pub(super) const DIRECTORY: &str = "/store";

/// The families of a golden store.
pub(super) const FAMILIES: [&str; 2] = ["default", "other"];

/// Names and contents of a directory's files.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// All rows of all families.
pub(super) type Rows = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// A store at rest.
pub(super) struct Golden {
    kind: u64,
    pub(super) files: Files,
    /// A store with other data in the same shape: its files have the same names and nearly the same sizes.
    pub(super) twin: Files,
    /// What it was, write by write of those in the log; a store that was closed must show the last one.
    states: Vec<Rows>,
    /// The state that was synced last.
    synced: usize,
    /// Every value that was ever written, and every key.
    pub(super) history: BTreeSet<(&'static str, Vec<u8>, Vec<u8>)>,
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// Where its entries lie.
    pub(super) pieces: Vec<Piece>,
    /// Where the manifest's last edit begins, which says how long the log is.
    pub(super) closing_edit: usize,
}

impl Golden {
    /// Builds a store of one of the kinds; `variant` changes its data.
    pub(super) fn build(kind: u64, variant: u64) -> Result<Golden> {
        let golden = if kind == OF_ROCKSDB { Golden::of_rocksdb(variant)? } else { Golden::ours(kind, variant)? };
        golden.check()?;
        Ok(golden)
    }

    fn ours(kind: u64, variant: u64) -> Result<Golden> {
        let (mut states, mut history) = (Vec::new(), BTreeSet::new());
        let (files, closing_edit) = write(kind, variant, &mut states, &mut history)?;
        let (twin, _) = write(kind, variant + 1, &mut Vec::new(), &mut BTreeSet::new())?;
        let keys = keys(&history);
        let pieces = pieces::of(&files)?;
        Ok(Golden { kind, pieces, files, twin, states, synced: SYNCED_WRITES, history, keys, closing_edit })
    }

    /// The one that is committed, or its twin.
    fn of_rocksdb(variant: u64) -> Result<Golden> {
        let store = |variant: u64| &rocksdb::STORES[(variant % 2) as usize];
        let mut states = store(variant).states()?;
        let history = states.iter().flatten().map(|((family, key), value)| (*family, key.clone(), value.clone()));
        let history = history.collect();
        let keys = keys(&history);
        let states = states.split_off(states.len() - store(variant).states_of_the_log());
        let (files, twin) = (store(variant).files(), store(variant + 1).files());
        let pieces = pieces::of(&files)?;
        Ok(Golden { kind: OF_ROCKSDB, pieces, files, twin, states, synced: 0, history, keys, closing_edit: usize::MAX })
    }

    /// What the store may show after a damage. If it was not closed its log may end anywhere behind the last sync,
    /// and if the end of the log is gone nobody can know that there was one.
    pub(super) fn allowed(&self, lost_the_end: bool) -> &[Rows] {
        match (self.is_crashed(), lost_the_end) {
            (false, _) => &self.states[self.states.len() - 1..],
            (true, false) => &self.states[self.synced..],
            (true, true) => &self.states,
        }
    }

    /// What a case may take, its own copies of the files and an undamaged store's caches and buffers included.
    pub(super) fn memory_limit(&self) -> u64 {
        let bytes: usize = self.files.values().chain(self.twin.values()).map(Vec::len).sum();
        4 * bytes as u64 + MEMORY_AT_REST
    }

    /// Its files have none of the facts that this store writes into its own.
    pub(super) fn is_of_rocksdb(&self) -> bool {
        self.kind == OF_ROCKSDB
    }

    /// A store that was not closed: its log may end anywhere behind what was synced.
    pub(super) fn is_crashed(&self) -> bool {
        self.kind == 3 || self.is_of_rocksdb()
    }

    /// Whether nothing tells that a log is shorter than it was.
    pub(super) fn may_end_anywhere(&self, case: &Case) -> bool {
        self.is_crashed() && case.file.ends_with(".log") && !matches!(case.damage, Damage::Flip { .. })
    }

    /// Before format 6 a block's checksum does not know its place: a block of another table, or of another place in
    /// this one, passes for the one that was there if it is as long.
    pub(super) fn blocks_may_move(&self, case: &Case) -> bool {
        (self.kind == 1 || self.is_of_rocksdb()) && case.file.ends_with(".sst") && case.moves_sectors()
    }

    /// Whether the case makes a table's format 4 of 5.
    pub(super) fn is_version_of_table(&self, case: &Case) -> bool {
        let version_at = self.files[&case.file].len() - VERSION_AND_MAGIC_BYTES;
        self.is_of_rocksdb() && matches!(case.damage, Damage::Flip { byte, bit: 0 } if byte == version_at)
    }

    pub(super) fn options(&self, fs: &MemFs) -> Options {
        options(self.kind, fs)
    }

    /// Nothing is damaged yet: everything must be there, in files of every kind.
    fn check(&self) -> Result<()> {
        let db = self.options(&file_system(&self.files)?).read_only(true).open(DIRECTORY).context("undamaged")?;
        ensure!(Some(&rows(&db)?) == self.states.last(), "the golden store does not show its rows");
        let of_pieces = pieces::shown_without(&self.pieces, |piece| piece.is_stale);
        ensure!(Some(&of_pieces) == self.states.last(), "the golden store's pieces do not make its rows");
        let kinds: std::collections::HashSet<_> =
            self.files.keys().filter_map(|name| Some(std::mem::discriminant(&FileKind::parse(name)?))).collect();
        ensure!(kinds.len() >= 5, "only {} kinds of files: {:?}", kinds.len(), self.files.keys());
        let levels = db.stats().families[0].levels.iter().filter(|level| level.tables > 0).count();
        ensure!(levels >= 2, "only {levels} levels have tables");
        Ok(())
    }
}

fn options(kind: u64, fs: &MemFs) -> Options {
    let (format_version, compression) = match kind {
        0 | 3 => (6, Compression::Lz4),
        1 => (5, Compression::None),
        _ => (6, Compression::Zstd { level: 1 }),
    };
    Options::new()
        .format_version(format_version)
        .compression(compression)
        .write_buffer_size(64 << 10)
        .max_bytes_for_level_base(16 << 10)
        .target_file_size(1 << 10)
        .block_size(256)
        .level0_file_num_compaction_trigger(8)
        .merge_operator(Arc::new(AppendOperator))
        .executor(Arc::new(StepExecutor::new()))
        .clock(Arc::new(ManualClock::new()))
        .fs(Arc::new(fs.clone()))
}

/// Writes a store and returns its files.
fn write(
    kind: u64,
    variant: u64,
    states: &mut Vec<Rows>,
    history: &mut BTreeSet<(&'static str, Vec<u8>, Vec<u8>)>,
) -> Result<(Files, usize)> {
    let fs = MemFs::seeded(kind << 32 | variant);
    let db = options(kind, &fs).open(DIRECTORY)?;
    let other = db.column_family("other")?;
    let mut note = |db: &Db| -> Result<Rows> {
        let rows = rows(db)?;
        history.extend(rows.iter().map(|((family, key), value)| (*family, key.clone(), value.clone())));
        Ok(rows)
    };
    write_tables(&db, variant, &mut note)?;
    // What only the log has. The last record follows a sync and so tells of it.
    states.push(note(&db)?);
    let durability = |number| if number < SYNCED_WRITES { Durability::Synced } else { Durability::Buffered };
    for number in 0..6 {
        let mut batch = WriteBatch::new();
        batch.put(format!("log{number}"), format!("{variant}"));
        batch.put_cf(&other, format!("log{number}"), format!("{variant}"));
        batch.merge("list", format!("{variant}log{number}"));
        db.write_with(batch, &WriteOptions::new().durability(durability(number)))?;
        states.push(note(&db)?);
    }
    let open = read_files(&fs.crash(Crash::KeepAll))?;
    let manifests = open.iter().filter(|(name, _)| name.starts_with("MANIFEST"));
    let closing_edit = manifests.map(|(_, content)| content.len()).max().unwrap_or_default();
    if kind == 3 {
        return Ok((without_room(open), closing_edit));
    }
    db.close()?;
    Ok((read_files(&fs)?, closing_edit))
}

/// Writes what is to lie in tables, on several levels.
fn write_tables(db: &Db, variant: u64, mut note: impl FnMut(&Db) -> Result<Rows>) -> Result<()> {
    let other = db.column_family("other")?;
    for round in 0..3 {
        for number in 0..12 {
            db.put(format!("key{number:02}"), format!("{variant} {round} {}", "x".repeat(20 + number)))?;
        }
        db.merge("list", format!("{variant}{round}"))?;
        db.delete(format!("key{round:02}"))?;
        db.put(format!("once{round}"), "v")?;
        db.single_delete(format!("once{round}"))?;
        other.put(format!("other{round}"), format!("{variant}"))?;
        if round == 0 {
            // Nothing but the range deletion of a later table hides these.
            (0..3).try_for_each(|number| db.put(format!("hidden{number}"), format!("{variant}")))?;
        }
        note(db)?;
        if round == 1 {
            db.delete_range("key03".."key05")?;
            db.delete_range("hidden0".."hidden2")?;
            note(db)?;
        }
        db.flush()?;
        if round == 0 {
            db.compact_range(..)?;
        }
    }
    Ok(())
}

/// Logs without most of the room that was made ahead for records to come: all of it means the same.
fn without_room(mut files: Files) -> Files {
    for (_, content) in files.iter_mut().filter(|(name, _)| name.ends_with(".log")) {
        let used = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        content.truncate(used + 40);
    }
    files
}

/// Every key that was ever written, and some that were not.
fn keys(history: &BTreeSet<(&'static str, Vec<u8>, Vec<u8>)>) -> BTreeSet<Vec<u8>> {
    let absent = ["", "absent", "key99", "zzz"].map(|key| key.as_bytes().to_vec());
    history.iter().map(|(_, key, _)| key.clone()).chain(absent).collect()
}

/// Everything that a store shows.
pub(super) fn rows(db: &Db) -> Result<Rows> {
    let mut rows = Rows::new();
    for family in FAMILIES {
        let handle = db.column_family(family)?;
        for row in handle.iter() {
            let (key, value) = row?;
            rows.insert((family, key.to_vec()), value.to_vec());
        }
    }
    Ok(rows)
}

/// A file system that holds `files`, all of it durable.
pub(super) fn file_system(files: &Files) -> Result<MemFs> {
    let fs = MemFs::new();
    let directory = Path::new(DIRECTORY);
    fs.create_dir(directory)?;
    for (name, content) in files {
        fs.create(&directory.join(name))?.write_all(content)?;
    }
    Ok(fs)
}

pub(super) fn read_files(fs: &MemFs) -> Result<Files> {
    let directory = Path::new(DIRECTORY);
    let mut files = Files::new();
    for name in fs.read_dir(directory)? {
        let file = fs.open(&directory.join(&name))?;
        let mut content = vec![0; usize::try_from(file.size()?)?];
        file.read_exact_at(0, &mut content)?;
        files.insert(name, content);
    }
    Ok(files)
}
