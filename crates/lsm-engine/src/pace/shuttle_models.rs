//! Models of holding writers back under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use crate::sync::{explore, thread};
use lsm_fs::ManualClock;

type Press = fn(&Pacer, Pressure);
type Refresh = fn(&Pacer, &AtomicU64);
type Wake = fn(&Pacer);

const STOP: Pressure = Pressure { degree: 1.0, because: "model" };
const HALF: Pressure = Pressure { degree: 0.5, because: "model" };

/// Time stands still, so what ends a wait is a change.
fn stopped() -> Arc<Pacer> {
    let pacer = Arc::new(Pacer::new(Arc::new(ManualClock::new())));
    pacer.press(STOP);
    pacer
}

/// Two writers meet a stop, which first becomes a slow-down and then ends.
fn pressure_falls(press: Press) {
    let pacer = stopped();
    let open = Arc::new(AtomicBool::new(false));
    let writers = [1 << 10, 1 << 20].map(|bytes| {
        let (pacer, open) = (Arc::clone(&pacer), Arc::clone(&open));
        thread::spawn(move || {
            pacer.admit(bytes, false, || false, || Ok(())).unwrap();
            assert!(open.load(Ordering::Relaxed), "nobody passes a stop");
        })
    });
    open.store(true, Ordering::Relaxed);
    press(&pacer, HALF);
    press(&pacer, Pressure::NONE);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

/// A flush brings level 0 to where writers stop, and a compaction empties it. Nothing comes after them.
fn last_jobs_end(refresh: Refresh) {
    let (pacer, tables) = (Arc::new(Pacer::new(Arc::new(ManualClock::new()))), Arc::new(AtomicU64::new(0)));
    let jobs = [1, 0].map(|left| {
        let (pacer, tables) = (Arc::clone(&pacer), Arc::clone(&tables));
        thread::spawn(move || {
            tables.store(left, Ordering::Release);
            refresh(&pacer, &tables);
        })
    });
    jobs.into_iter().for_each(|job| job.join().unwrap());
    assert_eq!(pacer.pressure().degree, tables.load(Ordering::Acquire) as f64, "C2");
}

/// One table on level 0 is a stop.
fn pressure_of(tables: &AtomicU64) -> Pressure {
    Pressure { degree: tables.load(Ordering::Acquire) as f64, because: "model" }
}

/// A writer meets a stop, and the store fails.
fn store_fails(wake: Wake) {
    let pacer = stopped();
    let failed = Arc::new(AtomicBool::new(false));
    let writer = {
        let (pacer, failed) = (Arc::clone(&pacer), Arc::clone(&failed));
        thread::spawn(move || {
            let alive = || if failed.load(Ordering::Acquire) { Err(Error::closed()) } else { Ok(()) };
            assert!(pacer.admit(1, false, || false, alive).is_err());
        })
    };
    failed.store(true, Ordering::Release);
    wake(&pacer);
    writer.join().unwrap();
}

/// A writer waits for a memtable, and one is flushed.
fn memtable_is_flushed(press: Press) {
    let pacer = stopped();
    let crowded = Arc::new(AtomicBool::new(true));
    let writer = {
        let (pacer, crowded) = (Arc::clone(&pacer), Arc::clone(&crowded));
        thread::spawn(move || {
            let still = || crowded.load(Ordering::Acquire);
            pacer.wait_for_change("model", false, still, || false, || Ok(())).unwrap();
            assert!(!crowded.load(Ordering::Acquire));
        })
    };
    crowded.store(false, Ordering::Release);
    press(&pacer, STOP);
    writer.join().unwrap();
}

/// A writer waits for a memtable, and the disk turns out full: there will be no other wake-up.
fn disk_fills_up(wake: Wake) {
    let pacer = stopped();
    let full = Arc::new(AtomicBool::new(false));
    let writer = {
        let (pacer, full) = (Arc::clone(&pacer), Arc::clone(&full));
        thread::spawn(move || {
            let alive = || if full.load(Ordering::Acquire) { Err(Error::closed()) } else { Ok(()) };
            assert!(pacer.wait_for_change("model", false, || true, || false, alive).is_err());
        })
    };
    full.store(true, Ordering::Release);
    wake(&pacer);
    writer.join().unwrap();
}

#[test]
fn a_stop_holds_until_it_ends() {
    // Covers C1.
    explore::holds(|| pressure_falls(Pacer::press));
}

#[test]
fn a_press_without_a_notification_is_found() {
    fn press(pacer: &Pacer, pressure: Pressure) {
        let mut state = pacer.state.lock();
        state.pressure = pressure;
        state.changes += 1;
        pacer.pressed.store(pressure.degree > 0.0, Ordering::Relaxed);
    }
    explore::finds("deadlock", || pressure_falls(press));
    explore::finds("deadlock", || memtable_is_flushed(press));
}

#[test]
fn a_press_that_notifies_before_it_changes_anything_is_found() {
    fn press(pacer: &Pacer, pressure: Pressure) {
        pacer.changed.notify_all();
        let mut state = pacer.state.lock();
        state.pressure = pressure;
        state.changes += 1;
        pacer.pressed.store(pressure.degree > 0.0, Ordering::Relaxed);
    }
    explore::finds("deadlock", || pressure_falls(press));
}

#[test]
fn a_press_that_does_not_count_is_found() {
    // A writer that has looked at the pressure before would take the last press for none.
    fn press(pacer: &Pacer, pressure: Pressure) {
        pacer.state.lock().pressure = pressure;
        pacer.pressed.store(pressure.degree > 0.0, Ordering::Relaxed);
        pacer.changed.notify_all();
    }
    explore::finds("deadlock", || pressure_falls(press));
}

#[test]
fn the_last_to_look_is_the_last_to_say() {
    // Covers C2. A flush looked, lost its core, and said "stop" after a compaction had emptied level 0 and said "none":
    // writers waited for a job that nobody would ever start.
    explore::holds(|| last_jobs_end(|pacer, tables| pacer.refresh(|| pressure_of(tables))));
}

#[test]
fn a_pressure_that_is_said_some_time_after_it_was_worked_out_is_found() {
    explore::finds("C2", || last_jobs_end(|pacer, tables| pacer.press(pressure_of(tables))));
}

#[test]
fn a_failure_ends_the_wait_of_a_stopped_writer() {
    // Covers C1.
    explore::holds(|| store_fails(Pacer::wake));
}

#[test]
fn a_flush_ends_the_wait_for_a_memtable() {
    // Covers C1.
    explore::holds(|| memtable_is_flushed(Pacer::press));
}

#[test]
fn a_full_disk_ends_the_wait_for_a_memtable() {
    // Covers C1.
    explore::holds(|| disk_fills_up(Pacer::wake));
}

#[test]
fn a_wake_that_does_not_count_is_found() {
    fn wake(pacer: &Pacer) {
        drop(pacer.state.lock());
        pacer.changed.notify_all();
    }
    explore::finds("deadlock", || disk_fills_up(wake));
    explore::finds("deadlock", || store_fails(wake));
}
