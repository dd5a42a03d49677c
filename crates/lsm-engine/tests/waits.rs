//! Writers that wait for a memtable keep nobody else from getting on.

use lsm_engine::{ErrorKind, EventListener, Options, WriteBatch, WriteOptions};
use lsm_fs::MemFs;
use lsm_testkit::{FaultFs, in_time};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than any call may take that does not wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets the disk go on at the end of the test, however that comes: closing waits for it.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Lets no table be written until the release.
fn hold_tables_back(fs: &FaultFs) -> Release {
    let release = Release(Arc::new(AtomicBool::new(false)));
    let released = Arc::clone(&release.0);
    fs.observe(Arc::new(move |moment| {
        while moment.path.extension().is_some_and(|extension| extension == "sst") && !released.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }));
    release
}

#[test]
fn who_waits_for_a_memtable_has_left_the_gate() {
    // G2 of `gate.rs`: with one place, one writer that kept it while it waits would stop all others.
    let fs = FaultFs::new(MemFs::new());
    let options = Options::new().write_buffer_size(16 << 10).concurrent_writers(1);
    let db = options.fs(Arc::new(fs.clone())).open("/store").unwrap();
    let other = db.column_family("other").unwrap();
    let release = hold_tables_back(&fs);
    let impatient = WriteOptions::new().no_stall(true);
    let batch = |number: u32| {
        let mut batch = WriteBatch::new();
        batch.put(number.to_be_bytes(), [7; 1000]);
        batch
    };
    let refused = (0..1000).find_map(|number| db.write_with(batch(number), &impatient).err());
    assert_eq!(refused.expect("no flush ends").kind(), ErrorKind::Stalled);
    let waiting = std::thread::spawn({
        let db = db.clone();
        move || db.put("late", [7; 1000])
    });
    // Time enough to get where it waits. If that is too short, the test passes without having tried it.
    std::thread::sleep(Duration::from_millis(100));
    let trying = db.clone();
    let refused = in_time(PATIENCE, move || trying.write_with(batch(0), &impatient));
    let refused = refused.expect("a writer that does not wait is answered");
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Stalled);
    let done = in_time(PATIENCE, move || other.put("key", "v"));
    done.expect("a writer to another family is answered").unwrap();
    assert!(!waiting.is_finished());
    drop(release);
    waiting.join().unwrap().unwrap();
    assert_eq!(db.get("late").unwrap().unwrap(), [7; 1000]);
    db.close().unwrap();
}

/// The families that were flushed.
#[derive(Default)]
struct Flushed(Mutex<Vec<String>>);

impl EventListener for Flushed {
    fn on_flush(&self, family: &str, _: usize, _: u64) {
        self.0.lock().unwrap().push(family.to_owned());
    }
}

#[test]
fn a_family_whose_share_of_a_batch_was_refused_elsewhere_has_nothing_to_flush() {
    let fs = FaultFs::new(MemFs::new());
    let flushed = Arc::new(Flushed::default());
    let options = Options::new().write_buffer_size(16 << 10).event_listener(Arc::clone(&flushed) as _);
    let db = options.fs(Arc::new(fs.clone())).open("/store").unwrap();
    let other = db.column_family("other").unwrap();
    let release = hold_tables_back(&fs);
    let impatient = WriteOptions::new().no_stall(true);
    let write = |key: u32, with_other: bool| {
        let mut batch = WriteBatch::new();
        if with_other {
            batch.put_cf(&other, "share", "v");
        }
        batch.put(key.to_be_bytes(), [7; 1000]);
        db.write_with(batch, &impatient)
    };
    (0..1000).find_map(|key| write(key, false).err()).expect("no flush ends");
    assert_eq!(write(1000, true).unwrap_err().kind(), ErrorKind::Stalled);
    drop(release);
    db.flush().unwrap();
    assert_eq!(other.get("share").unwrap(), None);
    // Listeners hear of a flush a little later than who waits for it.
    db.close().unwrap();
    let flushed = flushed.0.lock().unwrap();
    assert!(!flushed.is_empty() && flushed.iter().all(|family| family == "default"), "{flushed:?}");
}
