//! A sorted list that any number of threads extend while any number read it, none waiting for another.
//!
//! A node is filled, then linked level by level from the bottom, each time by one compare-and-exchange
//! of its predecessor's link. Nothing is ever unlinked, so a node once found stays where it is and a
//! search may start from any node that lies before its target.
//!
//! ```text
//! level 2  head ─────────────────────────▶ m ────────────▶ end
//! level 1  head ──────────▶ f ───────────▶ m ────────────▶ end
//! level 0  head ──▶ c ────▶ f ──▶ h ─────▶ m ──▶ p ──────▶ end
//! ```
//!
//! Entries in ascending order need no search: a [`Finger`] remembers the last node linked on each level,
//! and is used if the new entry belongs directly behind it. That is checked, never assumed.
//!
//! # Invariants
//! S1. On each level the nodes are in order of (user key ascending, trailer descending), and every node
//!     of a level is on all levels below.
//! S2. A link is read with Acquire and published with Release. What a thread finds by following links was
//!     therefore filled before, also when the link it followed had been copied from another with Relaxed:
//!     who copied it had read it with Acquire and published the copy with Release.
//! S3. Links lead to nodes of the list's own arena.
//! S4. A finger holds only nodes that were linked, on the level that it holds them for, before it was
//!     written; a finger is used only with the list that wrote it.

#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::sync::Arc;

use lsm_core::key;

use crate::arena::{Arena, ArenaFull, Room};
use crate::height::HEIGHT_MAX;
use crate::link::{Link, prefix_of};
use crate::node::{self, NodeOffset};
use crate::sync::{self, AtomicU64, AtomicUsize, Ordering as Order};

pub(crate) struct SkipList {
    arena: Arc<Arena>,
    head: NodeOffset,
    /// Levels in use. A stale value costs time, never correctness: the bottom level has every node.
    height: AtomicUsize,
    /// What all keys are expected to start with (see [`prefix_of`]).
    common: Box<[u8]>,
    /// The finger of whoever finished last, for those who insert one entry at a time.
    finger: [AtomicU64; HEIGHT_MAX],
}

/// The last node that its owner linked on each level of one list (S4).
pub(crate) struct Finger([Link; HEIGHT_MAX]);

impl Finger {
    pub(crate) const NONE: Finger = Finger([Link::NULL; HEIGHT_MAX]);
}

/// What a search looks for.
struct Target<'k> {
    prefix: u32,
    user_key: &'k [u8],
    trailer: u64,
}

/// Where an entry belongs on one level: between the node `before` and what it linked to.
#[derive(Clone, Copy)]
struct Gap {
    before: NodeOffset,
    behind: Link,
}

impl SkipList {
    /// An empty list in `arena`, for keys that are expected to start with `common`.
    pub(crate) fn new(arena: &Arc<Arena>, common: &[u8]) -> Result<SkipList, ArenaFull> {
        let mut region = arena.reserve(node::HEAD_BYTES)?;
        let room = region.split(arena, node::HEAD_BYTES).expect("A1: the region has what was asked for");
        Ok(SkipList {
            arena: Arc::clone(arena),
            head: node::write(room, HEIGHT_MAX, &[], 0, &[]),
            height: AtomicUsize::new(1),
            common: common.into(),
            finger: std::array::from_fn(|_| AtomicU64::new(Link::NULL.to_bits())),
        })
    }

    /// Makes `room`, reserved for a node of this height and these bytes, part of the list.
    ///
    /// # Panics
    /// When the room is of another arena or has another size.
    pub(crate) fn insert(
        &self,
        room: Room<'_>,
        height: usize,
        user_key: &[u8],
        trailer: u64,
        value: &[u8],
        finger: &mut Finger,
    ) {
        assert!(Arc::ptr_eq(room.arena(), &self.arena), "S3: a list has one arena");
        let node = node::write(room, height, user_key, trailer, value);
        let target = self.target(user_key, trailer);
        let link = Link::new(target.prefix, node);
        let mut gaps = [Gap { before: self.head, behind: Link::NULL }; HEIGHT_MAX];
        if !self.gaps_at_finger(&target, finger, &mut gaps[..height]) {
            self.gaps_by_search(&target, &mut gaps[..height]);
        }
        for (level, gap) in gaps[..height].iter_mut().enumerate() {
            self.link_on(level, gap, &target, link);
            finger.0[level] = link;
        }
    }

    /// Puts `link` into the gap, or into what the gap has become since it was found.
    fn link_on(&self, level: usize, gap: &mut Gap, target: &Target<'_>, link: Link) {
        let node = link.node().expect("a new node is no null");
        // SAFETY: `node` was filled by this thread with at least `level + 1` links.
        let own = unsafe { node::link(&self.arena, node, level) };
        loop {
            // Relaxed: nobody reads this link before the publication below (S2).
            own.store(gap.behind.to_bits(), Order::Relaxed);
            // SAFETY: `before` was reached on this level (S1, S2) or is the head.
            let slot = unsafe { node::link(&self.arena, gap.before, level) };
            if sync::publish(slot, gap.behind.to_bits(), link.to_bits()) {
                return;
            }
            *gap = self.walk(gap.before, level, target);
        }
    }

    /// Finds the gaps directly behind the finger; false if the entry does not belong there.
    fn gaps_at_finger(&self, target: &Target<'_>, own: &Finger, gaps: &mut [Gap]) -> bool {
        for (level, gap) in gaps.iter_mut().enumerate() {
            let mut hint = own.0[level];
            if hint == Link::NULL {
                // Acquire: as for a link, the node behind it is about to be read (S2, S4).
                hint = Link::from_bits(self.finger[level].load(Order::Acquire));
            }
            let Some(before) = hint.node().filter(|_| self.is_before(hint, target)) else { return false };
            let behind = self.follow(before, level);
            if self.is_before(behind, target) {
                return false;
            }
            *gap = Gap { before, behind };
        }
        true
    }

    /// Leaves `finger` for the next inserter.
    pub(crate) fn leave_finger(&self, finger: &Finger) {
        for (shared, own) in self.finger.iter().zip(&finger.0) {
            if *own == Link::NULL {
                // A node has all levels below its height, so nothing is known of the levels above either.
                break;
            }
            sync::leave(shared, own.to_bits());
        }
    }

    /// Finds the gap on each of the lowest `gaps.len()` levels, from the head down.
    fn gaps_by_search(&self, target: &Target<'_>, gaps: &mut [Gap]) {
        let mut height = self.height.load(Order::Relaxed);
        if height < gaps.len() {
            height = gaps.len();
            self.height.fetch_max(height, Order::Relaxed);
        }
        let mut before = self.head;
        for level in (0..height).rev() {
            let gap = self.walk(before, level, target);
            before = gap.before;
            if let Some(found) = gaps.get_mut(level) {
                *found = gap;
            }
        }
    }

    /// The gap for `target` on the bottom level.
    fn gap(&self, target: &Target<'_>) -> Gap {
        let mut gap = Gap { before: self.head, behind: Link::NULL };
        for level in (0..self.height.load(Order::Relaxed)).rev() {
            gap = self.walk(gap.before, level, target);
        }
        gap
    }

    /// Walks `level` from `before`, which lies before `target` and has that level, to where it belongs.
    #[inline]
    fn walk(&self, mut before: NodeOffset, level: usize, target: &Target<'_>) -> Gap {
        loop {
            let behind = self.follow(before, level);
            match behind.node() {
                Some(next) if self.is_before(behind, target) => before = next,
                _ => return Gap { before, behind },
            }
        }
    }

    /// Where `node` links to on `level`. Both are known to the caller from S1 and S2.
    #[inline]
    fn follow(&self, node: NodeOffset, level: usize) -> Link {
        // SAFETY: every caller has reached `node` on `level` from the head, by a finger (S4) or as the
        // gap of a search; links were read with Acquire (S2), so the node is filled.
        Link::from_bits(unsafe { node::link(&self.arena, node, level) }.load(Order::Acquire))
    }

    /// Whether the node behind `link` lies before `target`.
    #[inline]
    fn is_before(&self, link: Link, target: &Target<'_>) -> bool {
        match link.prefix().cmp(&target.prefix) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => link.node().is_some_and(|node| self.compare(node, target) == Ordering::Less),
        }
    }

    /// Compares whole keys, for when the prefixes are equal.
    fn compare(&self, node: NodeOffset, target: &Target<'_>) -> Ordering {
        // SAFETY: `node` came from a link or finger of this list, read with Acquire (S2, S3).
        let internal_key = unsafe { node::internal_key(&self.arena, node) };
        key::user_key(internal_key).cmp(target.user_key).then_with(|| target.trailer.cmp(&key::trailer(internal_key)))
    }

    #[inline]
    fn target<'k>(&self, user_key: &'k [u8], trailer: u64) -> Target<'k> {
        Target { prefix: prefix_of(user_key, &self.common), user_key, trailer }
    }

    /// The first entry at or behind this key.
    #[inline]
    pub(crate) fn at_or_behind(&self, user_key: &[u8], trailer: u64) -> Option<Node<'_>> {
        self.node(self.gap(&self.target(user_key, trailer)).behind.node())
    }

    /// The last entry before this key.
    pub(crate) fn before(&self, user_key: &[u8], trailer: u64) -> Option<Node<'_>> {
        self.unless_head(self.gap(&self.target(user_key, trailer)).before)
    }

    /// The last entry at or before this key.
    pub(crate) fn at_or_before(&self, user_key: &[u8], trailer: u64) -> Option<Node<'_>> {
        let target = self.target(user_key, trailer);
        let gap = self.gap(&target);
        match gap.behind.node().filter(|&node| self.compare(node, &target) == Ordering::Equal) {
            Some(equal) => self.node(Some(equal)),
            None => self.unless_head(gap.before),
        }
    }

    pub(crate) fn first(&self) -> Option<Node<'_>> {
        self.node(self.follow(self.head, 0).node())
    }

    pub(crate) fn last(&self) -> Option<Node<'_>> {
        let mut last = self.head;
        for level in (0..self.height.load(Order::Relaxed)).rev() {
            while let Some(next) = self.follow(last, level).node() {
                last = next;
            }
        }
        self.unless_head(last)
    }

    fn unless_head(&self, node: NodeOffset) -> Option<Node<'_>> {
        self.node((node != self.head).then_some(node))
    }

    #[inline]
    fn node(&self, offset: Option<NodeOffset>) -> Option<Node<'_>> {
        offset.map(|offset| Node { list: self, offset })
    }
}

/// An entry of a list. Made only from links that were read with Acquire (S2).
#[derive(Clone, Copy)]
pub(crate) struct Node<'l> {
    list: &'l SkipList,
    offset: NodeOffset,
}

impl<'l> Node<'l> {
    #[inline]
    pub(crate) fn internal_key(self) -> &'l [u8] {
        // SAFETY: the node was found in `list` by links (S2, S3).
        unsafe { node::internal_key(&self.list.arena, self.offset) }
    }

    #[inline]
    pub(crate) fn value(self) -> &'l [u8] {
        // SAFETY: the node was found in `list` by links (S2, S3).
        unsafe { node::value(&self.list.arena, self.offset) }
    }

    /// The entry that follows.
    #[inline]
    pub(crate) fn next(self) -> Option<Node<'l>> {
        self.list.node(self.list.follow(self.offset, 0).node())
    }
}

/// A place in a list that keeps the list alive.
pub(crate) struct Place {
    list: Arc<SkipList>,
    node: Option<NodeOffset>,
}

impl Place {
    /// Nowhere in `list`.
    pub(crate) fn nowhere(list: &Arc<SkipList>) -> Place {
        Place { list: Arc::clone(list), node: None }
    }

    /// Moves to what `find` finds in the list.
    #[inline]
    pub(crate) fn move_to(&mut self, find: impl for<'l> FnOnce(&'l SkipList) -> Option<Node<'l>>) {
        self.node = find(&self.list).map(|node| {
            assert!(std::ptr::eq(node.list, Arc::as_ptr(&self.list)), "a place belongs to one list");
            node.offset
        });
    }

    /// Moves to what `step` makes of the entry it stands on.
    #[inline]
    pub(crate) fn step(&mut self, step: impl for<'l> FnOnce(&'l SkipList, Node<'l>) -> Option<Node<'l>>) {
        let at = self.node;
        self.move_to(|list| list.node(at).and_then(|node| step(list, node)));
    }

    /// The entry it stands on.
    #[inline]
    pub(crate) fn node(&self) -> Option<Node<'_>> {
        self.list.node(self.node)
    }
}
