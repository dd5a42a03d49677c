//! The names of directories that are not durable yet.
//!
//! # Invariants
//! N1. A rename is one change, kept or lost as a whole (F2 of [`crate::fs`]).
//! N2. Changes of the same name or the same file happen on the disk in their order: a later one is there
//!     only with the earlier ones. All others are independent of each other.

use super::crash::Fate;
use super::world::NodeId;

/// One call that changed names.
#[derive(Clone)]
pub(super) struct NameChange(pub(super) Vec<EntryChange>);

/// What happened to one name.
#[derive(Clone)]
pub(super) struct EntryChange {
    pub(super) directory: NodeId,
    pub(super) name: String,
    pub(super) before: Option<NodeId>,
    pub(super) after: Option<NodeId>,
}

impl NameChange {
    /// Whether one of the two needs the other one first (N2).
    fn meets(&self, other: &NameChange) -> bool {
        self.0.iter().any(|mine| other.0.iter().any(|theirs| mine.meets(theirs)))
    }

    fn is_in(&self, directory: NodeId) -> bool {
        self.0.iter().any(|entry| entry.directory == directory)
    }
}

impl EntryChange {
    fn meets(&self, other: &EntryChange) -> bool {
        let same_name = self.directory == other.directory && self.name == other.name;
        let mut nodes = self.before.iter().chain(&self.after);
        same_name || nodes.any(|node| other.before == Some(*node) || other.after == Some(*node))
    }
}

/// Takes out of `pending` what a sync of `directory` makes durable: its changes and what they need (N2).
pub(super) fn take_synced(pending: &mut Vec<NameChange>, directory: NodeId) -> Vec<NameChange> {
    let mut synced: Vec<NameChange> = Vec::new();
    let mut rest: Vec<NameChange> = Vec::new();
    for change in pending.drain(..).rev() {
        let needed = change.is_in(directory) || synced.iter().any(|later| later.meets(&change));
        if needed { &mut synced } else { &mut rest }.push(change);
    }
    rest.reverse();
    *pending = rest;
    synced.reverse();
    synced
}

/// The changes that survive a crash, in order (N2).
pub(super) fn surviving<'a>(pending: &'a [NameChange], fate: &mut Fate) -> Vec<&'a NameChange> {
    let (mut kept, mut lost): (Vec<&NameChange>, Vec<&NameChange>) = (Vec::new(), Vec::new());
    for change in pending {
        // The decision comes first: it is taken for every change.
        let keeps = fate.keeps() && !lost.iter().any(|earlier| earlier.meets(change));
        if keeps { &mut kept } else { &mut lost }.push(change);
    }
    kept
}
