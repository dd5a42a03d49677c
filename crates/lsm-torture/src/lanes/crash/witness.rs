//! Sees every call before it changes a file, and tries what a crash would leave.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow};
use lsm_fs::{Crash, MemFs};
use lsm_testkit::Choices;
use lsm_testkit::faults::Moment;
use parking_lot::Mutex;

use super::fates;
use super::recovery::{Recovery, check};
use crate::history::op::Op;
use crate::history::record::Record;
use crate::history::setting::Setting;
use crate::history::world::World;
use crate::lane::Steps;

/// At which calls the world stops.
#[derive(Clone, Copy)]
pub(super) enum Rate {
    Every,
    OneIn(usize),
}

pub(super) struct Witness {
    seed: u64,
    rate: Rate,
    setting: Setting,
    record: Arc<Mutex<Record>>,
    pub(super) steps: Steps,
    pub(super) finding: Option<Error>,
    next_number: u64,
}

impl Witness {
    pub(super) fn new(seed: u64, rate: Rate, world: &World, steps: Steps) -> Witness {
        let record = Arc::clone(&world.record);
        Witness { seed, rate, setting: world.setting, record, steps, finding: None, next_number: 0 }
    }

    /// The world stops before a call.
    fn stop(&mut self, name: &str, memory: &MemFs) {
        let number = self.next_number;
        self.next_number += 1;
        let mut choices = Choices::from_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let due = match self.rate {
            Rate::Every => true,
            Rate::OneIn(count) => choices.one_in(count),
        };
        if self.finding.is_some() || !due || !self.steps.begin(number) {
            return;
        }
        let record = self.record.lock().clone();
        let fates =
            if matches!(self.rate, Rate::Every) { fates::all(memory, &mut choices) } else { fates::some(&mut choices) };
        for fate in fates {
            let recovery =
                Recovery { setting: &self.setting, record: &record, survived: fate == Crash::KeepAll, depth: 0 };
            let left = memory.crash(fate);
            // A disk that is full stays so, but then an open may be refused.
            left.set_capacity(None);
            let tried = catch_unwind(AssertUnwindSafe(|| check(left, &recovery, &mut choices)));
            match tried.unwrap_or_else(|panic| Err(panicked(&*panic))) {
                Ok(counted) => {
                    (0..counted.recoveries).for_each(|_| self.steps.case());
                    self.steps.count("of them crashed themselves", counted.nested);
                }
                Err(error) => {
                    self.finding = Some(error.context(format!("{fate:?} before call {number}, {name}")));
                    return;
                }
            }
        }
        self.steps.count("crash points", 1);
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    anyhow!("panic: {}", text.unwrap_or("without a message"))
}

/// Opens the store and runs `ops`, with `witness` seeing every call.
pub(super) fn attend(witness: &Arc<Mutex<Witness>>, world: &mut World, ops: &[Op]) -> Result<()> {
    watch(witness, world);
    world.open()?;
    for (index, op) in ops.iter().enumerate() {
        let crashes = matches!(op, Op::Kill | Op::PowerCut(_));
        world.run(op).with_context(|| format!("call {index} of the history: {op:?}"))?;
        if crashes {
            // The store goes on in what is left, whose calls are seen from its next opening on.
            drop(world.let_go());
            watch(witness, world);
            world.open()?;
        }
    }
    if let Some(db) = world.let_go() {
        db.close()?;
    }
    Ok(())
}

/// Has `witness` see what the store does from its next opening on.
fn watch(witness: &Arc<Mutex<Witness>>, world: &mut World) {
    let fs = world.make_faulty();
    let (memory, seen_by) = (world.memory.clone(), Arc::clone(witness));
    let gate = world.gate.clone();
    fs.observe(Arc::new(move |moment: &Moment<'_>| {
        if let Some(gate) = &gate {
            gate.pass();
        }
        let name = format!("{} {}", moment.name, moment.path.display());
        seen_by.lock().stop(&name, &memory);
    }));
}
