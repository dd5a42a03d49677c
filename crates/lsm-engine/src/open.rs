//! Opening and closing a store.
//!
//! ```text
//!   lock ─▶ CURRENT, manifest ─▶ one stat per live file ─▶ replay logs ─▶ tables of what they held
//!        ─▶ fresh log ─▶ fresh manifest that names all this ─▶ remove what nothing names
//! ```
//!
//! # Invariants
//! O1. Nothing in the directory changes before the manifest and all logs were read and found sound.
//! O2. What the logs held is in synced tables before the manifest that makes the logs obsolete; all of it
//!     becomes valid in one step, the swap of `CURRENT`, so an interrupted open starts over from the same state.
//! O3. No table is opened, save by a store that only reads: its owner may remove them. Files that nothing names are removed only if the manifest had no torn tail.

use crate::arenas::Arenas;
use crate::background::Background;
use crate::commit::Writer;
use crate::db::Db;
use crate::family::Family;
use crate::gate::Gate;
use crate::health::Health;
use crate::logs::Logs;
use crate::options::MEMTABLES_MAX;
use crate::pace::Pacer;
use crate::publish::Publisher;
use crate::rate::RateLimiter;
use crate::recover::Recovery;
use crate::store::{Families, Store};
use crate::sync::{Mutex, Ordering};
use crate::tables::Tables;
use crate::view::View;
use crate::{Error, Options, Result};
use arc_swap::ArcSwap;
use lsm_compaction::{Executor, TokioExecutor};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error as CoreError, SeqNo};
use lsm_fs::{FileType, Fs, LatchedFs, Lock};
use lsm_manifest::{FileNumbers, Manifest, State, Version, VersionEdit};
use lsm_memtable::KeyShape;
use lsm_wal::{Facts, ManifestFact, Origin, Predecessor, Wal, WalHandle, WalOptions};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Runtime;

/// First size of a log's file; it grows by doubling, so a single small write costs little.
const LOG_BYTES_INITIAL: u64 = 64 << 10;

/// How often a store that only reads looks again when its owner was changing it. An attempt takes a few milliseconds; an
/// owner that compacts tiny tables changes it more often than that for a while.
const READ_ONLY_ATTEMPTS_MAX: usize = 100;

/// How often it fails on a store that nobody has changed: a record of the log may be half written when it is read.
const READ_ONLY_FAILURES_MAX: usize = 3;

/// Memtable of a family that is only read.
const READ_ONLY_MEMTABLE_BYTES: usize = 1 << 20;

/// Numbers stores. Always the real thing: models run side by side in one process, and shuttle's atomics are cells that
/// only one of them may touch.
static STORES: atomic::AtomicU64 = atomic::AtomicU64::new(1);

pub(crate) fn open(directory: &Path, options: Options) -> Result<Db> {
    check_options(&options)?;
    if options.read_only { open_moving(directory, &options) } else { open_once(directory, options) }
}

/// Opens a store that its owner may be changing meanwhile. Manifest, logs and tables are read one after the other, without
/// the lock: what they say together holds only if the manifest has not moved, since no file goes before the edit that
/// gives it up. Else the store is read again.
fn open_moving(directory: &Path, options: &Options) -> Result<Db> {
    let mut last = Error::stalled("the store's owner has changed it again each time that it was read");
    let mut failures = 0;
    for _ in 0..READ_ONLY_ATTEMPTS_MAX {
        let before = manifest_on_disk(&*options.fs, directory);
        let opened = open_once(directory, options.clone());
        let moved = before != manifest_on_disk(&*options.fs, directory);
        match opened {
            Ok(db) if !moved => return Ok(db),
            Ok(_) => {}
            Err(error) => {
                failures += usize::from(!moved);
                last = error;
            }
        }
        if failures == READ_ONLY_FAILURES_MAX {
            break;
        }
    }
    Err(last)
}

/// Number and length of the manifest that `CURRENT` names.
fn manifest_on_disk(fs: &dyn Fs, directory: &Path) -> Option<(FileNumber, u64)> {
    let number = lsm_manifest::in_force(fs, directory).ok()?;
    Some((number, fs.metadata(&FileKind::Manifest(number).path(directory)).ok()?.bytes))
}

/// `options` for one handle: log, manifest and tables all sync the directory, and none may after another has failed to.
pub(crate) fn latched(options: Options, directory: &Path) -> Options {
    Options { fs: Arc::new(LatchedFs::new(options.fs, directory)), ..options }
}

fn open_once(directory: &Path, options: Options) -> Result<Db> {
    let options = latched(options, directory);
    let fs = Arc::clone(&options.fs);
    prepare_directory(&*fs, directory, &options)?;
    let lock = if options.read_only { None } else { Some(take_lock(&*fs, directory)?) };
    let mut state = read_state(&*fs, directory, &options)?;
    state.db_id.get_or_insert_with(|| lsm_manifest::new_db_id(&*fs));
    let names = fs.read_dir(directory).map_err(|error| CoreError::io("list", directory, error))?;
    check_live_files(&*fs, directory, &state)?;
    for number in names.iter().filter_map(|name| FileKind::parse(name)?.number()) {
        state.mark_used(number);
    }
    let store = Arc::new(assemble(directory, options, &state, lock)?);
    let (recovery, _) = Recovery::replay(&store, &state, &names)?;
    if store.health.is_read_only() {
        // Without the lock nobody keeps the files: what is open now stays readable.
        store.families.load().values().try_for_each(|family| family.view.load().open_tables())?;
    } else {
        begin_writing(&store, state, recovery)?;
        remove_orphans(&store, &names);
        store.families.load().values().for_each(|family| store.set_toll(family));
        store.refresh_pressure();
        store.schedule();
    }
    Db::new(store)
}

fn check_options(options: &Options) -> Result<()> {
    match options.format_version {
        None | Some(5 | 6) => {}
        Some(other) => {
            return Err(Error::invalid_argument(format!(
                "format_version {other}: tables are written in format 5 or 6"
            )));
        }
    }
    let bits = options.bloom_bits_per_key;
    if !(0.0..=100.0).contains(&bits) {
        return Err(Error::invalid_argument(format!("bloom_bits_per_key {bits}: 0 to 100 are allowed")));
    }
    if options.block_size < 256 || options.block_size > 16 << 20 {
        let size = options.block_size;
        return Err(Error::invalid_argument(format!("block_size {size}: 256 bytes to 16 MiB are allowed")));
    }
    if options.level0_file_num_compaction_trigger == 0 {
        return Err(Error::invalid_argument("level0_file_num_compaction_trigger 0: at least 1 is needed"));
    }
    Ok(())
}

/// Makes sure that `directory` is one, creating it if that was asked for.
pub(crate) fn prepare_directory(fs: &dyn Fs, directory: &Path, options: &Options) -> Result<()> {
    let may_create = options.create_if_missing && !options.read_only;
    match fs.metadata(directory) {
        Ok(metadata) if metadata.kind == FileType::Directory => Ok(()),
        // A link may lead to a directory; what it leads to is looked at when its files are.
        Ok(metadata) if metadata.kind == FileType::Other && fs.read_dir(directory).is_ok() => Ok(()),
        Ok(_) => Err(Error::invalid_argument(format!("{}: expected a directory, found a file", directory.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound && may_create => {
            fs.create_dir(directory).map_err(|error| CoreError::io("create", directory, error).into())
        }
        Err(error) => Err(CoreError::io("open", directory, error).into()),
    }
}

pub(crate) fn take_lock(fs: &dyn Fs, directory: &Path) -> Result<Box<dyn Lock>> {
    let path = FileKind::Lock.path(directory);
    fs.lock(&path).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => Error::locked(directory),
        _ => CoreError::io("lock", path, error).into(),
    })
}

/// What the manifest says, or the state of a new store.
fn read_state(fs: &dyn Fs, directory: &Path, options: &Options) -> Result<State> {
    if lsm_manifest::exists(fs, directory)? {
        if options.error_if_exists {
            return Err(Error::invalid_argument(format!("{}: a store exists here", directory.display())));
        }
        return Ok(lsm_manifest::read(fs, directory)?);
    }
    if options.read_only || !options.create_if_missing {
        return Err(Error::invalid_argument(format!("{}: no store here, CURRENT is missing", directory.display())));
    }
    Ok(State::new(lsm_manifest::new_db_id(fs)))
}

/// Every table that the manifest names must be there, with the size that it says.
fn check_live_files(fs: &dyn Fs, directory: &Path, state: &State) -> Result<()> {
    for (_, table) in state.families.values().flat_map(|family| family.version.tables()) {
        let path = FileKind::Table(table.number).path(directory);
        let detail = match fs.metadata(&path) {
            Ok(metadata) if metadata.kind != FileType::File => "expected a regular file".to_owned(),
            Ok(metadata) if metadata.bytes != table.bytes => {
                format!("table of {} bytes, the manifest says {}", metadata.bytes, table.bytes)
            }
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                "the manifest names this table, but it is missing".into()
            }
            Err(error) => return Err(CoreError::io("stat", path, error).into()),
        };
        return Err(CoreError::corruption(detail).in_file(&path).into());
    }
    Ok(())
}

/// What the keys of a version look like, going by where its tables begin and end.
fn key_shape(version: &Version) -> KeyShape {
    KeyShape::of(version.tables().flat_map(|(_, table)| [table.smallest.user_key(), table.largest.user_key()]))
}

/// A store that holds what the manifest says, and takes no writes yet.
pub(crate) fn assemble(
    directory: &Path,
    options: Options,
    state: &State,
    lock: Option<Box<dyn Lock>>,
) -> Result<Store> {
    let fs = Arc::clone(&options.fs);
    let tables = Tables::new(Arc::clone(&fs), directory, options.block_cache_bytes(), options.read_only);
    let buffer_bytes = options.write_buffer_bytes();
    let memtable_bytes = if options.read_only { READ_ONLY_MEMTABLE_BYTES } else { buffer_bytes };
    let arenas = Arenas::new((MEMTABLES_MAX - 1) * buffer_bytes);
    let mut families = Families::new();
    for (id, family) in &state.families {
        let memtable = arenas.memtable(memtable_bytes, &key_shape(&family.version));
        let view = View::new(Arc::clone(&family.version), &tables, memtable, family.log_number);
        let opened = Family::new(*id, family.name.clone(), view, memtable_bytes);
        if let Some(operator) = options.merge_operator.clone().filter(|_| id.0 == 0) {
            opened.set_merge_operator(operator);
        }
        families.insert(*id, Arc::new(opened));
    }
    let (executor, runtime) = background_executor(&options, directory)?;
    let numbers = Arc::new(FileNumbers::new(state.next_file));
    Ok(Store {
        id: STORES.fetch_add(1, Ordering::Relaxed),
        directory: directory.to_owned(),
        db_id: state.db_id.clone().unwrap_or_default(),
        session_id: lsm_manifest::new_db_id(&*fs),
        families: ArcSwap::from_pointee(families),
        gate: Gate::new(options.concurrent_writers),
        publisher: Publisher::new(state.last_seq),
        snapshots: Default::default(),
        tables,
        health: Health::new(options.read_only),
        arenas,
        pacer: Pacer::new(Arc::clone(&options.clock)),
        rate: RateLimiter::new(Arc::clone(&options.clock), options.rate_limit),
        logs: Logs::new(fs, directory.to_owned()),
        background: Background::new(executor, runtime, numbers, options.background_threads),
        counters: Default::default(),
        submissions: Default::default(),
        closing: Default::default(),
        format_version: OnceLock::new(),
        recovery: OnceLock::new(),
        writer: Mutex::new(None),
        manifest: Mutex::new(None),
        manifest_fact: Mutex::new(None),
        lock: Mutex::new(lock),
        never: AtomicBool::new(false),
        options,
    })
}

fn background_executor(options: &Options, directory: &Path) -> Result<(Arc<dyn Executor>, Option<Runtime>)> {
    if let Some(executor) = &options.executor {
        return Ok((Arc::clone(executor), None));
    }
    if let Some(handle) = &options.runtime {
        return Ok((Arc::new(TokioExecutor::new(handle.clone())), None));
    }
    // No more than it takes for flushes and compactions at the same time, or for the parts of one: an allocator keeps
    // memory for each thread.
    let jobs = options.background_threads.max(1);
    let threads = jobs + jobs.max(options.max_subcompactions);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(threads)
        .thread_name("lsm-background")
        .on_thread_start(lsm_fs::stand_back)
        .build()
        .map_err(|error| CoreError::io("start threads for", directory, error))?;
    Ok((Arc::new(TokioExecutor::new(runtime.handle().clone())), Some(runtime)))
}

/// From a recovered store to one that takes writes (O2).
pub(crate) fn begin_writing(store: &Arc<Store>, mut state: State, recovery: Recovery) -> Result<()> {
    let recovered = recovery.into_tables(store)?;
    let numbers = store.background.shared_numbers();
    let log = numbers.allocate();
    let next_seq = SeqNo::checked(recovered.last_seq.get() + 1)
        .ok_or_else(|| CoreError::corruption("all sequence numbers are used up").in_file(&store.directory))?;
    let edits: Vec<VersionEdit> = state
        .families
        .keys()
        .map(|&family| VersionEdit {
            family,
            added: recovered.tables_of(family),
            log_number: Some(log),
            last_seq: Some(recovered.last_seq),
            ..VersionEdit::default()
        })
        .collect();
    let old = state.manifest;
    state.next_file = numbers.next();
    state = state.apply(&edits)?;
    state.wals.clear();
    let manifest = Manifest::create_sharing(Arc::clone(&store.options.fs), &store.directory, state, numbers)
        .inspect_err(|_| recovered.discard_unnamed(store, old))?;
    store.note_manifest(manifest.state());
    let wal = store.create_log(log, None, None, next_seq)?;
    for (id, family) in store.families.load().iter() {
        let version = Arc::clone(&manifest.state().families[id].version);
        let memtable = store.arenas.memtable(store.options.write_buffer_bytes(), &key_shape(&version));
        family.set_write_buffer_bytes(store.options.write_buffer_bytes());
        family.update(|_| View::new(version, &store.tables, memtable, log));
    }
    store.publisher.advance(recovered.last_seq);
    *store.manifest.lock() = Some(manifest);
    *store.writer.lock() = Some(Writer::new(next_seq, wal));
    Ok(())
}

/// Removes files of our patterns that neither the manifest nor the open store names (O3).
pub(crate) fn remove_orphans(store: &Store, names: &[String]) {
    let guard = store.manifest.lock();
    let Some(state) = guard.as_ref().map(Manifest::state).filter(|state| state.torn_tail.is_none()) else { return };
    let live: BTreeSet<FileNumber> =
        state.families.values().flat_map(|family| family.version.tables()).map(|(_, table)| table.number).collect();
    let first_log = state.first_log();
    for name in names {
        let orphan = match FileKind::parse(name) {
            Some(FileKind::Table(number)) => !live.contains(&number),
            Some(FileKind::Log(number)) => number < first_log,
            Some(FileKind::Manifest(number)) => number != state.manifest,
            Some(FileKind::Temporary(_)) => true,
            _ => false,
        };
        if orphan {
            // What cannot be removed now is met again by the next open.
            let _ = store.options.fs.remove(&store.directory.join(name));
        }
    }
}

impl Store {
    /// A new log whose first record says what came before it.
    pub(crate) fn create_log(
        &self,
        number: FileNumber,
        recycled: Option<FileNumber>,
        predecessor: Option<(Predecessor, Arc<WalHandle>)>,
        next_seq: SeqNo,
    ) -> Result<Wal> {
        let options = WalOptions { access: self.options.log_access, segment_bytes_initial: LOG_BYTES_INITIAL };
        let (predecessor_fact, predecessor) = predecessor.unzip();
        let manifest = *self.manifest_fact.lock();
        let facts = Facts { predecessor: predecessor_fact, manifest, identity: Some(self.db_id.clone()) };
        let origin = Origin { facts, next_seq, predecessor, recycled };
        Ok(Wal::create(Arc::clone(&self.options.fs), &self.directory, number, &options, origin)?)
    }

    /// Puts down in the log how much of the manifest is on disk: a manifest that has lost its end is then told
    /// from one that never had it. The next log's first record says it too.
    pub(crate) fn note_manifest(&self, state: &State) {
        let (number, synced_bytes, crc) = (state.manifest, state.manifest_bytes, state.manifest_crc);
        let fact = ManifestFact { number, synced_bytes, crc };
        *self.manifest_fact.lock() = Some(fact);
        if let Some(writer) = self.writer.lock().as_mut().filter(|writer| !writer.wal.is_abandoned()) {
            let facts = Facts { manifest: Some(fact), ..Facts::default() };
            // The edit took effect, whether or not the log has room to say so: the next log's first record does.
            let _ = self.fenced(|| writer.wal.append(facts.to_batch(writer.next_seq).as_bytes()));
        }
    }
}
