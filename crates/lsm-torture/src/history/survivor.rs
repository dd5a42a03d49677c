//! What a crash left: opened, and found to be a state that it may be.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use lsm_core::SeqNo;
use lsm_engine::{ColumnFamily, Db};
use lsm_fs::Fs;

use super::STORE;
use super::answers::{Entries, check_family, entries};
use super::op::SLOTS;
use super::record::{Checkpoint, Record, family_name};
use super::setting::Setting;
use super::world::family;

/// What an opened store holds.
pub(crate) struct Survivor {
    /// A state of the record with the same content.
    pub(crate) state: SeqNo,
    /// The content, by slot.
    families: Vec<(usize, Entries)>,
}

impl Survivor {
    /// Whether it is the content of the record at `at`, in the families that are there.
    pub(crate) fn is_at(&self, record: &Record, at: SeqNo) -> bool {
        self.families.iter().all(|(slot, entries)| *entries == record.all(*slot, at))
    }

    /// Whether two stores hold the same. States may differ where the writes between them are of a family that was dropped.
    pub(crate) fn holds_the_same(&self, other: &Survivor) -> bool {
        self.families == other.families
    }
}

/// Which state of the record an opened store holds, from `floor` on: the same one over all families, whole
/// batches, no hole; both scans and all gets agree.
pub(crate) fn state_of(db: &Db, record: &Record, floor: SeqNo) -> Result<Survivor> {
    let families = families_of(db, record)?;
    let snapshot = db.snapshot();
    let mut found = Survivor { state: SeqNo::ZERO, families: Vec::new() };
    for (slot, family) in &families {
        found.families.push((*slot, entries(&snapshot, family.as_ref())?));
    }
    let holds = |at: SeqNo| found.is_at(record, at);
    // The store's own number says where to look first; it is no promise.
    let told = SeqNo::new(snapshot.sequence());
    let told = record.ends.binary_search(&told).is_ok().then_some(told).filter(|told| *told >= floor);
    let legal = || record.ends.iter().rev().copied().take_while(|end| *end >= floor);
    let Some(state) = told.into_iter().chain(legal()).find(|at| holds(*at)) else {
        let older = record.ends.iter().rev().copied().find(|at| holds(*at));
        bail!(
            "promised was {floor}, written {}, and what is left is {}",
            record.last(),
            older.map_or("no state that ever was".to_owned(), |older| format!("the state at {older}"))
        );
    };
    for (slot, family) in &families {
        check_family(&snapshot, family.as_ref(), &record.all(*slot, state)).with_context(|| family_name(*slot))?;
    }
    Ok(Survivor { state, ..found })
}

/// The families of `db`, which are those that the record asks for or allows.
fn families_of(db: &Db, record: &Record) -> Result<Vec<(usize, Option<ColumnFamily>)>> {
    let names = db.column_families();
    let mut families = vec![(0, None)];
    for slot in 1..SLOTS {
        let (name, of) = (family_name(slot), record.slots[slot]);
        match names.iter().any(|found| found == name) {
            true => {
                ensure!(of.may_exist, "the family `{name}` is back");
                families.push((slot, Some(family(db, slot)?)));
            }
            false => ensure!(!of.must_exist, "the family `{name}` is lost"),
        }
    }
    ensure!(names.len() == families.len(), "families that nobody made: {names:?}");
    Ok(families)
}

/// After a crash the record knows which families there are.
pub(crate) fn settle_slots(db: &Db, record: &mut Record) {
    let names = db.column_families();
    for slot in 1..SLOTS {
        let exists = names.iter().any(|name| name == family_name(slot));
        (record.slots[slot].may_exist, record.slots[slot].must_exist) = (exists, exists);
    }
}

/// A copy holds the state that it was made of.
pub(crate) fn check_checkpoint(copy: &Checkpoint, record: &Record, setting: &Setting, fs: Arc<dyn Fs>) -> Result<()> {
    let opened = setting.options(fs, Arc::default()).read_only(true).open(&copy.path);
    let mut of_then = record.clone();
    of_then.slots = copy.slots;
    let found =
        state_of(&opened.context("open a checkpoint")?, &of_then, copy.at).with_context(|| copy.path.clone())?;
    let state = found.state;
    ensure!(found.is_at(&of_then, copy.at), "{} holds the state at {state}, not that at {}", copy.path, copy.at);
    Ok(())
}

/// A store that was just opened leaves no file that nothing refers to.
pub(crate) fn check_files(db: &Db, fs: &dyn Fs) -> Result<()> {
    let mut names = fs.read_dir(Path::new(STORE))?;
    names.sort();
    let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
    let tables: usize = db.stats().families.iter().flat_map(|family| &family.levels).map(|level| level.tables).sum();
    let manifests = names.iter().filter(|name| name.starts_with("MANIFEST-")).count();
    let counts = (count(".sst"), count(".log"), manifests, count("CURRENT"));
    let others = names.len() - counts.0 - counts.1 - counts.2 - counts.3;
    ensure!(
        counts == (tables, 1, 1, 1) && others <= 2,
        "files that nothing refers to: {tables} tables are live, and there are {names:?}"
    );
    Ok(())
}
