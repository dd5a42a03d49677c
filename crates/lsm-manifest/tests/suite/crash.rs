//! Power cuts and process crashes between any two calls, and every call failing once.

use std::path::Path;
use std::sync::{Arc, Mutex};

use lsm_core::Error;
use lsm_core::filename::FileNumber;
use lsm_fs::{Crash, MemFs};
use lsm_manifest::{Manifest, State, VersionEdit};

use crate::faulty::{Fault, Faulty};
use crate::written::{STORE, add, add_family, content, empty, in_family, read, table, wal};

/// How far a run has come.
#[derive(Default)]
struct Run {
    /// States that were acknowledged.
    states: Vec<State>,
    manifest: Option<Manifest>,
    error: Option<Error>,
}

impl Run {
    /// Creates a store, changes it, and opens it again. Calls `done` after each acknowledged state.
    fn on(fs: &Faulty, done: impl FnMut(&State)) -> Run {
        let mut run = Run::default();
        run.error = run.go(fs, done).err();
        run
    }

    fn go(&mut self, fs: &Faulty, mut done: impl FnMut(&State)) -> lsm_core::Result<()> {
        let mut state = State::new("id");
        state.mark_used(FileNumber(199));
        let mut acknowledge = |manifest: &Manifest, states: &mut Vec<State>| {
            done(manifest.state());
            states.push(manifest.state().clone());
        };
        let manifest = self.manifest.insert(Manifest::create(Arc::new(fs.clone()), Path::new(STORE), state)?);
        acknowledge(manifest, &mut self.states);
        for group in 0..4 {
            manifest.apply(edits(group))?;
            acknowledge(manifest, &mut self.states);
        }
        self.manifest = None;
        let state = lsm_manifest::read(fs, Path::new(STORE))?;
        let manifest = self.manifest.insert(Manifest::create(Arc::new(fs.clone()), Path::new(STORE), state)?);
        acknowledge(manifest, &mut self.states);
        Ok(())
    }
}

fn edits(group: u64) -> Vec<VersionEdit> {
    let number = |index| FileNumber(100 + 10 * group + index);
    let end = "y".repeat(700);
    match group {
        0 => vec![wal(number(0), None), wal(number(1), None)],
        1 => vec![add_family(1, "cities")],
        2 => {
            vec![add(0, table(number(0), "a", &end, 5)), in_family(1, add(0, table(number(1), "b", &end, 6)))]
        }
        _ => vec![add(0, table(number(0), "a", "f", 7))],
    }
}

/// All subsets of a few unsynced changes, and random ones of many.
fn crashes(fs: &MemFs) -> Vec<Crash> {
    let mut crashes = vec![Crash::DropUnsynced, Crash::KeepAll];
    match fs.unsynced() {
        few @ 0..=6 => crashes.extend((0..1 << few).map(Crash::Subset)),
        _ => crashes.extend((0..64).map(|subset: u64| Crash::Subset(subset.wrapping_mul(0x9e37_79b9_7f4a_7c15)))),
    }
    crashes.extend((0..40).map(Crash::Random));
    crashes
}

#[test]
fn a_crash_at_any_moment_leaves_the_last_acknowledged_state_or_the_next() {
    // What every crash image says, with the number of states that were acknowledged before it.
    type Images = Vec<(usize, Crash, Option<State>)>;
    let images: Arc<Mutex<Images>> = Arc::default();
    let acknowledged: Arc<Mutex<Vec<State>>> = Arc::default();
    let watch = {
        let (images, acknowledged) = (images.clone(), acknowledged.clone());
        move |fs: &MemFs| {
            let count = acknowledged.lock().unwrap().len();
            for crash in crashes(fs) {
                let image = fs.crash(crash);
                let exists = lsm_manifest::exists(&image, Path::new(STORE)).unwrap();
                let state = exists
                    .then(|| read(&image).unwrap_or_else(|error| panic!("{crash:?} after {count} states: {error}")));
                images.lock().unwrap().push((count, crash, state));
            }
        }
    };
    let fs = Faulty::new(empty(), Fault::Never, watch);
    let run = Run::on(&fs, |state| acknowledged.lock().unwrap().push(state.clone()));
    assert!(run.error.is_none(), "{:?}", run.error);

    let acknowledged = acknowledged.lock().unwrap();
    let images = images.lock().unwrap();
    assert!(images.len() > 1000, "{} images", images.len());
    for (count, crash, state) in images.iter() {
        let before = count.checked_sub(1).map(|index| content(&acknowledged[index]));
        let after = acknowledged.get(*count).map(content);
        let state = state.as_ref().map(content);
        assert!(state == before || state == after, "{crash:?} after {count} states: {state:?}");
    }
}

#[test]
fn every_failing_call_is_reported_and_leaves_one_state_or_the_other() {
    // Covers W1, W2.
    let counting = Faulty::new(empty(), Fault::Never, |_| {});
    let states: Vec<_> = Run::on(&counting, |_| {}).states.iter().map(content).collect();
    assert_eq!(states.len(), 6);
    for call in 0..counting.calls() {
        for fault in [Fault::Instead(call), Fault::Behind(call)] {
            check_fault(fault, &states);
        }
    }
}

fn check_fault(fault: Fault, states: &[State]) {
    let disk = empty();
    let fs = Faulty::new(disk.clone(), fault, |_| {});
    let Run { states: acknowledged, manifest, error } = Run::on(&fs, |_| {});
    assert!(error.is_some(), "{fault:?}: nobody noticed");
    let before = acknowledged.len().checked_sub(1).map(|index| &states[index]);
    let after = states.get(acknowledged.len());
    let is_unknown = manifest.as_ref().is_none_or(|manifest| manifest.failure().is_some());
    for crash in [Crash::DropUnsynced, Crash::KeepAll].into_iter().chain((0..20).map(Crash::Random)) {
        let image = disk.crash(crash);
        let exists = lsm_manifest::exists(&image, Path::new(STORE)).unwrap();
        let found =
            exists.then(|| content(&read(&image).unwrap_or_else(|error| panic!("{fault:?} {crash:?}: {error}"))));
        let is_before = found.as_ref() == before;
        assert!(is_before || is_unknown && found.as_ref() == after, "{fault:?} {crash:?}: {found:?}");
    }
    let Some(mut manifest) = manifest else { return };
    assert_eq!(Some(&content(manifest.state())), before, "{fault:?}: the state in memory is the acknowledged one");
    // Either nothing goes any more, or the next edit does.
    let next = manifest.apply(edits(3));
    assert_eq!(next.is_err(), is_unknown, "{fault:?}: {next:?}");
    if next.is_ok() {
        assert_eq!(content(&read(&disk.crash(Crash::DropUnsynced)).unwrap()), content(manifest.state()), "{fault:?}");
    }
}
