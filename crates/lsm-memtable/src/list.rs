//! A sorted list that any number of threads extend while any number read it. Readers wait for nobody.
//!
//! The entries lie in leaves of a few; each leaf hangs on a node, which a skiplist leads to. A node's *anchor* is
//! where its range begins, and the range ends where that of the next node begins.
//!
//! ```text
//! level 1  head ───────────▶ f ────────────────────────▶ end
//! level 0  head ───────────▶ f ───────────▶ m ─────────▶ end
//!            │               │              │
//!          {a c}         {f g i k}       {m n p}
//! ```
//!
//! A list of 14 times as few nodes is searched with fewer cache misses, and the last steps are taken in a leaf,
//! whose words lie side by side and tell almost always, without a look at the entries, where a key belongs.
//!
//! An insertion locks the leaf against other writers, fills a free slot and publishes a new order of the slots
//! ([`crate::perm`]). A full leaf is replaced by two ([`crate::insert`]); it stays as it was, for whoever reads it.
//!
//! # Invariants
//! S1. On each level the nodes are in order of their anchors (user key ascending, trailer descending), and every node
//!     of a level is on all levels below. Nothing is ever unlinked, so a search may start from any node that
//!     lies before its target.
//! S2. A leaf belongs to one node for ever, and a node's anchor is the first entry of each leaf it ever has (the head's
//!     leaf may be empty).
//! S3. A node's bottom link and its leaf change only by the hand of who has locked that leaf. The link to the new
//!     upper half comes first: whoever sees the lower half as the node's leaf sees that its range ends earlier.
//! S4. Nobody inserts into an upper half before the lower half is its node's leaf. So whoever finds the leaf of both
//!     finds in it all entries of both ranges that were inserted before the search began.

use std::cmp::Ordering;
use std::sync::Arc;

use lsm_core::key;

use crate::arena::{Arena, ArenaFull, Need};
use crate::at::{At, Entry, Leaf, Node};
use crate::height::HEIGHT_MAX;
use crate::index::{self, Body, HEAD_BYTES, Index, LEAF_BYTES};
use crate::link::Link;
use crate::perm::Perm;
use crate::place::{Hit, Stand};
use crate::shape::KeyShape;
use crate::sync::{self, AtomicU64, AtomicUsize, Ordering as Order};

pub(crate) struct List {
    pub(crate) index: Index,
    head: At<Node>,
    /// Levels in use. A stale value costs time, never correctness: the bottom level has every node.
    height: AtomicUsize,
    /// What keys are expected to look like.
    shape: KeyShape,
    /// The node where someone has inserted last, for those who insert one entry at a time.
    pub(crate) hint: AtomicU64,
}

/// How many keys tell what all look like.
const SOME: usize = 16;

/// On which side of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    Behind,
}

/// A point between entries, just before or just behind a key. Each entry is on one side of it.
#[derive(Clone, Copy)]
pub(crate) struct Point<'k> {
    pub(crate) prefix: u32,
    user_key: &'k [u8],
    trailer: u64,
    side: Side,
}

/// Where a point lies: in the range of a node, which ends at the node `behind`. The leaf was the node's before the
/// end of the range was read (S3).
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) node: Link<Node>,
    pub(crate) leaf: At<Leaf>,
    pub(crate) behind: Link<Node>,
}

impl List {
    /// An empty list in `arena`, for keys that are expected to look like `shape`.
    pub(crate) fn new(arena: &Arc<Arena>, shape: &KeyShape) -> Result<List, ArenaFull> {
        let bytes = HEAD_BYTES;
        let need = Need { entries: 0, entry_bytes: 0, worst_index_bytes: bytes, amortised_index_bytes: bytes };
        let (mut region, mut escrow) = arena.reserve(&need)?;
        let mut words = escrow.take(arena, bytes);
        let leaf = index::write_leaf(&words.split(LEAF_BYTES), &[], Perm::EMPTY);
        let head = index::write_node(&words, HEIGHT_MAX, Body { anchor: None, leaf }, Link::NULL);
        arena.settle(&mut region, &mut escrow);
        Ok(List {
            index: Index::new(arena),
            head,
            height: AtomicUsize::new(1),
            shape: shape.clone(),
            hint: AtomicU64::new(Link::<Node>::NULL.to_bits()),
        })
    }

    #[inline]
    pub(crate) fn point<'k>(&self, side: Side, user_key: &'k [u8], trailer: u64) -> Point<'k> {
        Point { prefix: self.shape.prefix(user_key), user_key, trailer, side }
    }

    /// The point just before or behind an entry of this list.
    #[inline]
    pub(crate) fn point_at(&self, side: Side, entry: Link<Entry>) -> Point<'_> {
        let internal_key = self.index.internal_key(entry.at().expect("S2: slots lead to entries"));
        let (user_key, trailer) = (key::user_key(internal_key), key::trailer(internal_key));
        Point { prefix: entry.prefix(), user_key, trailer, side }
    }

    /// Whether an entry lies before the point.
    #[inline]
    pub(crate) fn is_before(&self, entry: Link<Entry>, point: &Point<'_>) -> bool {
        match entry.prefix().cmp(&point.prefix) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => entry.at().is_some_and(|entry| self.is_key_before(entry, point)),
        }
    }

    /// Whether a node's anchor lies before the point.
    #[inline]
    pub(crate) fn begins_before(&self, node: Link<Node>, point: &Point<'_>) -> bool {
        match node.prefix().cmp(&point.prefix) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => node.at().is_some_and(|node| {
                let anchor = self.index.body(node).anchor;
                anchor.is_none_or(|anchor| self.is_key_before(anchor, point))
            }),
        }
    }

    /// Compares whole keys, for when the prefixes are equal.
    fn is_key_before(&self, entry: At<Entry>, point: &Point<'_>) -> bool {
        let internal_key = self.index.internal_key(entry);
        let order = key::user_key(internal_key).cmp(point.user_key);
        match order.then_with(|| point.trailer.cmp(&key::trailer(internal_key))) {
            Ordering::Less => true,
            Ordering::Equal => point.side == Side::Behind,
            Ordering::Greater => false,
        }
    }

    /// The head, as others are linked to: before everything.
    #[inline]
    pub(crate) fn head(&self) -> Link<Node> {
        Link::new(0, self.head)
    }

    /// Finds where a point lies, from the head down.
    #[inline]
    pub(crate) fn search(&self, point: &Point<'_>) -> Spot {
        let mut node = self.head();
        for level in (1..self.height.load(Order::Relaxed)).rev() {
            (node, _) = self.walk(node, level, point);
        }
        self.settle(node, point)
    }

    /// Walks `level` from `before`, which begins before the point and has that level, to the last such node; returns
    /// it and where it links to.
    #[inline]
    pub(crate) fn walk(&self, mut before: Link<Node>, level: usize, point: &Point<'_>) -> (Link<Node>, Link<Node>) {
        loop {
            let behind = self.index.follow(before.at().expect("S1: a walk is on nodes"), level);
            if !self.begins_before(behind, point) {
                return (before, behind);
            }
            before = behind;
        }
    }

    /// Walks the bottom level from a node that begins before the point to the one whose range it is in.
    #[inline]
    pub(crate) fn settle(&self, mut node: Link<Node>, point: &Point<'_>) -> Spot {
        loop {
            let spot = self.look_at(node);
            if !self.begins_before(spot.behind, point) {
                return spot;
            }
            node = spot.behind;
        }
    }

    /// The leaf and the end of a node's range.
    #[inline]
    pub(crate) fn look_at(&self, node: Link<Node>) -> Spot {
        let at = node.at().expect("S1: a walk is on nodes");
        // S3: the leaf first. The other way round a split in between would show the lower half as all there is.
        let (leaf, behind) = sync::in_order(|| self.index.body(at).leaf, || self.index.follow(at, 0));
        self.index.ask_for_leaf(leaf);
        Spot { node, leaf, behind }
    }

    /// How many entries of a leaf lie before the point.
    #[inline]
    pub(crate) fn rank(&self, leaf: At<Leaf>, perm: Perm, point: &Point<'_>) -> usize {
        let (mut low, mut tied) = (0, 0);
        // Without branches, which would be taken at random.
        for slot in 0..perm.len() {
            let prefix = self.index.slot(leaf, slot).prefix();
            low += usize::from(prefix < point.prefix);
            tied += usize::from(prefix == point.prefix);
        }
        let mut high = low + tied;
        while low < high {
            let middle = (low + high) / 2;
            if self.is_before(self.index.entry(leaf, perm, middle), point) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The height for a search that is to reach `height` levels.
    pub(crate) fn raise_to(&self, height: usize) -> usize {
        let before = self.height.load(Order::Relaxed);
        if before < height {
            self.height.fetch_max(height, Order::Relaxed);
        }
        before.max(height)
    }

    /// The first entry behind a point.
    #[inline]
    pub(crate) fn behind(&self, point: &Point<'_>) -> Option<Hit<'_>> {
        self.behind_in(self.search(point), point)
    }

    /// The first entry behind a point that lies in this spot.
    #[inline]
    pub(crate) fn behind_in(&self, spot: Spot, point: &Point<'_>) -> Option<Hit<'_>> {
        let perm = self.index.perm(spot.leaf);
        let rank = self.rank(spot.leaf, perm, point);
        if rank < perm.len() {
            return self.hit(spot.node, spot.leaf, perm, rank);
        }
        self.first_of(spot.behind)
    }

    /// The last entry before a point.
    pub(crate) fn before(&self, point: &Point<'_>) -> Option<Hit<'_>> {
        let spot = self.search(point);
        let perm = self.index.perm(spot.leaf);
        // There is none only in the head's leaf: any other node's anchor is before the point and in its leaf (S2).
        let rank = self.rank(spot.leaf, perm, point).checked_sub(1)?;
        self.hit(spot.node, spot.leaf, perm, rank)
    }

    /// The first entry of a node behind the head: its anchor (S2).
    #[inline]
    pub(crate) fn first_of(&self, node: Link<Node>) -> Option<Hit<'_>> {
        let leaf = self.index.body(node.at()?).leaf;
        self.hit(node, leaf, self.index.perm(leaf), 0)
    }

    pub(crate) fn first(&self) -> Option<Hit<'_>> {
        let spot = self.look_at(self.head());
        let perm = self.index.perm(spot.leaf);
        if perm.len() > 0 { self.hit(spot.node, spot.leaf, perm, 0) } else { self.first_of(spot.behind) }
    }

    /// Some keys from all over the list: the first and the last one, and anchors of a level that has a few.
    pub(crate) fn some_keys(&self) -> Vec<&[u8]> {
        let anchors = |level| {
            let nodes = std::iter::successors(Some(self.head), move |&node| self.index.follow(node, level).at());
            nodes.skip(1).filter_map(|node| self.index.body(node).anchor).take(4 * SOME)
        };
        let levels = 1..self.height.load(Order::Relaxed);
        let level = levels.rev().find(|&level| anchors(level).nth(SOME - 1).is_some()).unwrap_or(0);
        let keys = anchors(level).map(|anchor| self.index.internal_key(anchor));
        let ends = [self.first(), self.last()].into_iter().flatten().map(Hit::internal_key);
        keys.chain(ends).map(key::user_key).collect()
    }

    pub(crate) fn last(&self) -> Option<Hit<'_>> {
        let mut last = self.head();
        for level in (1..self.height.load(Order::Relaxed)).rev() {
            loop {
                let next = self.index.follow(last.at().expect("S1: a walk is on nodes"), level);
                if next == Link::NULL {
                    break;
                }
                last = next;
            }
        }
        let mut spot = self.look_at(last);
        while spot.behind != Link::NULL {
            spot = self.look_at(spot.behind);
        }
        let perm = self.index.perm(spot.leaf);
        self.hit(spot.node, spot.leaf, perm, perm.len().checked_sub(1)?)
    }

    #[inline]
    fn hit(&self, node: Link<Node>, leaf: At<Leaf>, perm: Perm, rank: usize) -> Option<Hit<'_>> {
        let entry = self.index.entry(leaf, perm, rank);
        Some(Hit::new(self, Stand { node: node.at()?, leaf, perm, rank, entry }))
    }
}
