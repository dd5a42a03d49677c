//! Writers that wait for a memtable keep nobody else from getting on.

use lsm_engine::{ErrorKind, Options, WriteBatch, WriteOptions};
use lsm_fs::MemFs;
use lsm_testkit::{FaultFs, in_time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

#[test]
fn who_waits_for_a_memtable_has_left_the_gate() {
    // G2 of `gate.rs`: with one place, one writer that kept it while it waits would stop all others.
    let fs = FaultFs::new(MemFs::new());
    let options = Options::new().write_buffer_size(16 << 10).concurrent_writers(1);
    let db = options.fs(Arc::new(fs.clone())).open("/store").unwrap();
    let other = db.column_family("other").unwrap();
    let release = Release(Arc::new(AtomicBool::new(false)));
    let released = Arc::clone(&release.0);
    fs.observe(Arc::new(move |moment| {
        while moment.path.extension().is_some_and(|extension| extension == "sst") && !released.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }));
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
