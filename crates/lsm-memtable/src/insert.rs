//! How an entry comes into a list.
//!
//! A leaf that is full is split by who wants to insert into it:
//!
//! ```text
//!   before       node ─────────────────────────▶ next        in this order
//!                 │                                          1. link node ─▶ new
//!             {a c f k}                                      2. node's leaf is {a c}
//!                                                            3. {f h k} may be changed by others
//!   after        node ───────────▶ new ────────▶ next        4. {a c f k} is dead: whoever waits for it looks again
//!   (h came)      │                 │                        5. links to new on upper levels
//!               {a c}            {f h k}
//! ```
//!
//! If the new entry goes behind all others of the list, the last leaf stays as it is and the new node gets a leaf with
//! that entry alone: entries that come in order fill leaves to the last slot. Only the last node does so. Anywhere else
//! entries in descending order would each get a leaf of their own behind the same full one.
//!
//! Entries in order need no search either: a [`Hint`] remembers the node where the last one was inserted, and is used
//! if the new entry is in that node's range. That is checked, never assumed.
//!
//! # Invariants
//! T1. A slot is filled under the leaf's lock, before any order tells of it, and never again.
//! T2. Who has locked a leaf that is not dead, and sees the end of its node's range where it was when the leaf was found,
//!     inserts into the right leaf: the range cannot change any more.
//! T3. One insertion takes at most [`SPLIT_BYTES`] of the index. `n` insertions into a fresh list, in any order, take
//!     at most `n` times that, divided by [`INSERTS_PER_SPLIT`]: let each put by so much. A split takes what seven put
//!     by. It leaves no more than eight entries in a leaf, so six fill that up before a seventh splits it again. In the
//!     last leaf of a list all but one have put by, thirteen when it is full: enough for a split that leaves an upper
//!     half of eight, all but one of which have put by again; or, if a leaf is appended, for that one, for which one
//!     put by is too little and eight are enough, and for the six that pay for the split of the old one some day.
//! T4. What is done under a lock can only panic if an invariant is broken: other writers would wait for ever.

use std::cmp::Ordering::{Equal, Greater, Less};

use crate::arena::{Escrow, Room, Words};
use crate::at::{At, Entry, Leaf, Node};
use crate::entry;
use crate::height::{self, HEIGHT_MAX};
use crate::index::{self, Body, LEAF_BYTES, node_bytes};
use crate::link::Link;
use crate::list::{List, Point, Side, Spot};
use crate::perm::{Perm, SLOTS};
use crate::sync::mutant::{Mutant, has};
use crate::sync::{self, Ordering};

/// Bytes that one insertion takes of the index at most.
pub(crate) const SPLIT_BYTES: usize = 2 * LEAF_BYTES + node_bytes(HEIGHT_MAX);

/// Insertions that it takes to make a half full again and split it (T3).
pub(crate) const INSERTS_PER_SPLIT: usize = SLOTS.div_ceil(2);

/// Where its owner has inserted last.
pub(crate) struct Hint {
    node: Link<Node>,
    /// Whether it is worth a look: not if the last entry turned up elsewhere than the one before.
    is_good: bool,
}

impl Hint {
    pub(crate) const NONE: Hint = Hint { node: Link::NULL, is_good: true };
}

impl List {
    /// Makes an entry, which fills `room`, part of the list. What the index needs for it comes from `escrow`.
    ///
    /// # Panics
    /// When the room is of another arena or has another size.
    pub(crate) fn insert(
        &self,
        room: Room<'_>,
        (user_key, trailer): (&[u8], u64),
        value: &[u8],
        escrow: &mut Escrow,
        hint: &mut Hint,
    ) {
        assert!(std::ptr::eq(room.arena(), self.index.arena()), "I1: a list has one arena");
        let point = self.point(Side::Before, user_key, trailer);
        let entry = Link::new(point.prefix, entry::write(room, user_key, trailer, value));
        let near = if hint.is_good { self.spot_at(hint, &point) } else { None };
        let (spot, perm) = self.lock_in(near.unwrap_or_else(|| self.search(&point)), &point);
        hint.is_good = near.is_some() || spot.node == hint.node;
        let rank = self.rank(spot.leaf, perm, &point);
        hint.node = if !perm.is_full() {
            // T1: the lock is held, and the slot is the first that the order does not tell of.
            self.index.fill_slot(spot.leaf, perm.len(), entry);
            self.index.publish_perm(spot.leaf, perm.with(rank));
            spot.node
        } else if rank == SLOTS && spot.behind == Link::NULL {
            self.append(spot, perm, entry, escrow)
        } else {
            self.split(spot, perm, rank, entry, escrow)
        };
    }

    /// Where the point lies, if the hint leads there, or to the node before.
    fn spot_at(&self, hint: &Hint, point: &Point<'_>) -> Option<Spot> {
        let is_own = hint.node != Link::NULL;
        // Acquire: as for a link, the node is about to be read (I2).
        let node = if is_own { hint.node } else { Link::from_bits(self.hint.load(Ordering::Acquire)) };
        if node == Link::NULL || !self.begins_before(node, point) {
            return None;
        }
        let mut spot = self.look_at(node);
        // Entries of a batch in order are often just behind; of others nothing is known, and the look may be in vain.
        if is_own && self.begins_before(spot.behind, point) {
            spot = self.look_at(spot.behind);
        }
        (!self.begins_before(spot.behind, point)).then_some(spot)
    }

    /// Leaves `hint` for the next inserter.
    pub(crate) fn leave_hint(&self, hint: &Hint) {
        let bits = hint.node.to_bits();
        // Other writers need not lose the line for what it says anyway.
        if hint.node != Link::NULL && self.hint.load(Ordering::Relaxed) != bits {
            sync::leave(&self.hint, bits);
        }
    }

    /// Locks the leaf that the point lies in, which may be another one by now (T2).
    fn lock_in(&self, mut spot: Spot, point: &Point<'_>) -> (Spot, Perm) {
        loop {
            if let Some(perm) = self.lock(spot.leaf) {
                if self.index.follow(node_of(spot), 0) == spot.behind || has(Mutant::EndNotSeen) {
                    return (spot, perm);
                }
                self.index.publish_perm(spot.leaf, perm);
            }
            spot = self.settle(spot.node, point);
        }
    }

    /// Locks a leaf and returns its order, unless the leaf is dead.
    fn lock(&self, leaf: At<Leaf>) -> Option<Perm> {
        let mut waits = 0;
        loop {
            let perm = self.index.perm(leaf);
            if perm.is_dead() && !has(Mutant::DeadNotSeen) {
                return None;
            }
            if !perm.is_locked() && self.index.lock(leaf, perm) {
                return Some(perm);
            }
            sync::wait(waits);
            waits += 1;
        }
    }

    /// Gives the last node, whose leaf is full and locked, a successor with `entry` alone, and returns that.
    fn append(&self, spot: Spot, perm: Perm, entry: Link<Entry>, escrow: &mut Escrow) -> Link<Node> {
        let height = height_of(entry);
        let mut words = escrow.take(self.index.arena(), LEAF_BYTES + node_bytes(height));
        let leaf = index::write_leaf(&words.split(LEAF_BYTES), &[entry], Perm::in_order(1));
        let new = new_node(&words, height, entry, leaf, Link::NULL);
        self.index.publish_bottom_link(node_of(spot), new);
        self.index.publish_perm(spot.leaf, perm);
        self.link_upper_levels(new, height, entry);
        new
    }

    /// Replaces a full and locked leaf by two, one of them with `entry`, and returns the node of that one.
    fn split(&self, spot: Spot, perm: Perm, rank: usize, entry: Link<Entry>, escrow: &mut Escrow) -> Link<Node> {
        let entries = self.entries_with(spot.leaf, perm, rank, entry);
        // The half with the new entry is the smaller one: others often follow it there.
        let middle = if rank < INSERTS_PER_SPLIT { INSERTS_PER_SPLIT } else { SLOTS + 1 - INSERTS_PER_SPLIT };
        let (lower, upper) = entries.split_at(middle);
        let height = height_of(upper[0]);
        let mut words = escrow.take(self.index.arena(), 2 * LEAF_BYTES + node_bytes(height));
        let lower = index::write_leaf(&words.split(LEAF_BYTES), lower, Perm::in_order(lower.len()));
        let upper_perm = Perm::in_order(upper.len());
        let locked = if has(Mutant::BornUnlocked) { upper_perm } else { upper_perm.locked() };
        let upper_leaf = index::write_leaf(&words.split(LEAF_BYTES), upper, locked);
        let new = new_node(&words, height, upper[0], upper_leaf, spot.behind);
        // S3: first the link, then the leaf.
        let node = node_of(spot);
        self.index.publish_bottom_link(node, new);
        self.index.publish_body(node, Body { leaf: lower, ..self.index.body(node) });
        // S4: not before the lower half is in its place.
        if !has(Mutant::BornUnlocked) {
            self.index.publish_perm(upper_leaf, upper_perm);
        }
        self.index.publish_perm(spot.leaf, perm.dead());
        self.link_upper_levels(new, height, upper[0]);
        if rank < middle { spot.node } else { new }
    }

    /// The entries of a full leaf and a new one of this rank, in order.
    fn entries_with(&self, leaf: At<Leaf>, perm: Perm, rank: usize, new: Link<Entry>) -> [Link<Entry>; SLOTS + 1] {
        std::array::from_fn(|nth| match nth.cmp(&rank) {
            Less => self.index.entry(leaf, perm, nth),
            Equal => new,
            Greater => self.index.entry(leaf, perm, nth - 1),
        })
    }

    /// Links a node, which is on the bottom level, on the other levels that it has.
    fn link_upper_levels(&self, new: Link<Node>, height: usize, anchor: Link<Entry>) {
        if height == 1 {
            return;
        }
        let point = self.point_at(Side::Before, anchor);
        let mut gaps = [(self.head(), Link::NULL); HEIGHT_MAX];
        let mut before = self.head();
        for level in (1..self.raise_to(height)).rev() {
            let gap = self.walk(before, level, &point);
            before = gap.0;
            if level < height {
                gaps[level] = gap;
            }
        }
        // S1: from the bottom up.
        for (level, gap) in gaps.into_iter().enumerate().take(height).skip(1) {
            self.link_on(level, gap, new, &point);
        }
    }

    /// Puts `new` into the gap, or into what the gap has become since it was found.
    fn link_on(&self, level: usize, mut gap: (Link<Node>, Link<Node>), new: Link<Node>, point: &Point<'_>) {
        loop {
            let (before, behind) = gap;
            self.index.prepare_link(new.at().expect("a new node is no null"), level, behind);
            if self.index.publish_link(before.at().expect("S1: a gap is behind a node"), level, behind, new) {
                return;
            }
            gap = self.walk(before, level, point);
        }
    }
}

fn node_of(spot: Spot) -> At<Node> {
    spot.node.at().expect("S1: a spot is at a node")
}

fn height_of(anchor: Link<Entry>) -> usize {
    height::of(anchor.at().map_or(0, At::units))
}

fn new_node(words: &Words<'_>, height: usize, anchor: Link<Entry>, leaf: At<Leaf>, behind: Link<Node>) -> Link<Node> {
    let body = Body { anchor: anchor.at(), leaf };
    Link::new(anchor.prefix(), index::write_node(words, height, body, behind))
}
