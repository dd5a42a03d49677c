//! The words of a list's index: how nodes and leaves lie in the arena, and how they are read and written.
//!
//! ```text
//! node   link[h-1] … link[1] link[0] │ anchor u32 │ leaf u32 │     the links of all levels, growing down
//!                                    ▲ the node's position
//! leaf   order │ slot[0] │ slot[1] │ … │ slot[13] │               links to entries
//!        ▲ the leaf's position
//! ```
//!
//! The lower a link, the more often it is read: the bottom link and the way to the leaf share a cache line. A
//! node does not know its height; whoever reaches it on a level knows that it has that level. The head is the only
//! node without an anchor: it comes before everything.
//!
//! # Invariants
//! I1. Nodes and leaves are made only here, whole, before anyone else can reach them (P1). They, and the entries that
//!     they lead to, lie in the index's own arena.
//! I2. Whatever leads to a node, a leaf or an entry is published with Release and read with Acquire: what is reached
//!     was filled before. A slot may be read with Relaxed, since it is told of by an order that was read so.

#![allow(unsafe_code)]

use std::sync::Arc;

use crate::arena::{Arena, Words};
use crate::at::{At, Entry, Leaf, Node};
use crate::entry;
use crate::height::HEIGHT_MAX;
use crate::link::Link;
use crate::perm::{Perm, SLOTS};
use crate::sync::{self, AtomicU64, Ordering};

const WORD_BYTES: usize = size_of::<u64>();

pub(crate) const LEAF_BYTES: usize = WORD_BYTES * (1 + SLOTS);

/// A longer entry is not asked for as a whole: the machine sees by itself that it is read on.
const ASKED_ENTRY_BYTES: usize = 192;

pub(crate) const fn node_bytes(height: usize) -> usize {
    WORD_BYTES * (1 + height)
}

/// Bytes of an empty list.
pub(crate) const HEAD_BYTES: usize = LEAF_BYTES + node_bytes(HEIGHT_MAX);

/// What a node is about: the key where its range begins, and the leaf with the entries of that range.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    /// `None` for the head.
    pub(crate) anchor: Option<At<Entry>>,
    pub(crate) leaf: At<Leaf>,
}

impl Body {
    fn to_bits(self) -> u64 {
        u64::from(self.anchor.map_or(0, At::units)) << 32 | u64::from(self.leaf.units())
    }

    #[inline]
    fn from_bits(bits: u64) -> Body {
        let leaf = At::from_units(bits as u32).expect("I1: every node has a leaf");
        Body { anchor: At::from_units((bits >> 32) as u32), leaf }
    }
}

/// Fills `words` with a leaf of these entries.
pub(crate) fn write_leaf(words: &Words<'_>, entries: &[Link<Entry>], perm: Perm) -> At<Leaf> {
    // Relaxed: what leads to the leaf publishes it (I2).
    for (nth, entry) in entries.iter().enumerate() {
        words.word(1 + nth).store(entry.to_bits(), Ordering::Relaxed);
    }
    words.word(0).store(perm.to_bits(), Ordering::Relaxed);
    At::from_byte(words.start())
}

/// Fills `words`, which has exactly [`node_bytes`], with a node that leads to `behind` on the bottom level, and to
/// nothing on those above.
pub(crate) fn write_node(words: &Words<'_>, height: usize, body: Body, behind: Link<Node>) -> At<Node> {
    // Relaxed, as above.
    for level in 1..height {
        words.word(height - 1 - level).store(Link::<Node>::NULL.to_bits(), Ordering::Relaxed);
    }
    words.word(height - 1).store(behind.to_bits(), Ordering::Relaxed);
    words.word(height).store(body.to_bits(), Ordering::Relaxed);
    At::from_byte(words.start() + WORD_BYTES * height)
}

/// The words, and the entries that they lead to. All places that one asks for come from this index (P1, I1).
pub(crate) struct Index {
    arena: Arc<Arena>,
}

impl Index {
    pub(crate) fn new(arena: &Arc<Arena>) -> Index {
        Index { arena: Arc::clone(arena) }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    #[inline]
    fn body_word(&self, node: At<Node>) -> &AtomicU64 {
        // SAFETY: every node has this word (I1).
        unsafe { self.arena.word(node.byte()) }
    }

    #[inline]
    fn link_word(&self, node: At<Node>, level: usize) -> &AtomicU64 {
        // SAFETY: the tower has a link for each level, ending at the node's position (I1), and whoever asks has reached
        // the node on this level or made it so tall.
        unsafe { self.arena.word(node.byte() - WORD_BYTES * (level + 1)) }
    }

    #[inline]
    fn perm_word(&self, leaf: At<Leaf>) -> &AtomicU64 {
        // SAFETY: every leaf begins with this word (I1).
        unsafe { self.arena.word(leaf.byte()) }
    }

    #[inline]
    fn slot_word(&self, leaf: At<Leaf>, slot: usize) -> &AtomicU64 {
        debug_assert!(slot < SLOTS, "W1: there is such a slot");
        // SAFETY: every leaf has these words behind its first (I1).
        unsafe { self.arena.word(leaf.byte() + WORD_BYTES * (1 + slot)) }
    }

    #[inline]
    pub(crate) fn body(&self, node: At<Node>) -> Body {
        Body::from_bits(self.body_word(node).load(Ordering::Acquire))
    }

    /// Where `node` links to on `level`.
    #[inline]
    pub(crate) fn follow(&self, node: At<Node>, level: usize) -> Link<Node> {
        Link::from_bits(self.link_word(node, level).load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn perm(&self, leaf: At<Leaf>) -> Perm {
        Perm::from_bits(self.perm_word(leaf).load(Ordering::Acquire))
    }

    /// What a slot holds that an order of this leaf has told of.
    #[inline]
    pub(crate) fn slot(&self, leaf: At<Leaf>, slot: usize) -> Link<Entry> {
        Link::from_bits(self.slot_word(leaf, slot).load(Ordering::Relaxed))
    }

    /// The entry that `rank` others of the leaf precede.
    #[inline]
    pub(crate) fn entry(&self, leaf: At<Leaf>, perm: Perm, rank: usize) -> Link<Entry> {
        self.slot(leaf, perm.slot(rank))
    }

    #[inline]
    pub(crate) fn internal_key(&self, entry: At<Entry>) -> &[u8] {
        // SAFETY: the entry was reached through words of this index, and so filled before (I1, I2).
        unsafe { entry::internal_key(&self.arena, entry) }
    }

    #[inline]
    pub(crate) fn value(&self, entry: At<Entry>) -> &[u8] {
        // SAFETY: as for the key.
        unsafe { entry::value(&self.arena, entry) }
    }

    /// Asks for a leaf.
    #[inline]
    pub(crate) fn ask_for_leaf(&self, leaf: At<Leaf>) {
        self.arena.ask_for(leaf.byte(), LEAF_BYTES);
    }

    /// Asks for what a walk that comes to `node` will need behind it: each tells only where the next one is.
    pub(crate) fn ask_ahead(&self, node: At<Node>) {
        let Some(next) = self.follow(node, 0).at() else { return };
        let leaf = self.body(next).leaf;
        let entries = (0..self.perm(leaf).len()).filter_map(|slot| self.slot(leaf, slot).at());
        entries.for_each(|entry| self.arena.ask_for(entry.byte(), ASKED_ENTRY_BYTES));
        let Some(second) = self.follow(next, 0).at() else { return };
        self.ask_for_leaf(self.body(second).leaf);
        if let Some(third) = self.follow(second, 0).at() {
            self.arena.ask_for(third.byte() - WORD_BYTES, node_bytes(1));
        }
    }

    /// Locks a leaf whose order was `seen`; false if it is another by now.
    #[inline]
    pub(crate) fn lock(&self, leaf: At<Leaf>, seen: Perm) -> bool {
        sync::lock(self.perm_word(leaf), seen.to_bits(), seen.locked().to_bits())
    }

    /// Fills a slot that no order tells of yet.
    #[inline]
    pub(crate) fn fill_slot(&self, leaf: At<Leaf>, slot: usize, entry: Link<Entry>) {
        // Relaxed: an order that tells of it publishes it (I2).
        self.slot_word(leaf, slot).store(entry.to_bits(), Ordering::Relaxed);
    }

    /// Gives a locked leaf this order, or state.
    #[inline]
    pub(crate) fn publish_perm(&self, leaf: At<Leaf>, perm: Perm) {
        sync::release(self.perm_word(leaf), perm.to_bits());
    }

    /// Gives a node, whose leaf is locked, another one.
    pub(crate) fn publish_body(&self, node: At<Node>, body: Body) {
        sync::release(self.body_word(node), body.to_bits());
    }

    /// Links a node, whose leaf is locked, to another one on the bottom level.
    pub(crate) fn publish_bottom_link(&self, node: At<Node>, link: Link<Node>) {
        sync::release(self.link_word(node, 0), link.to_bits());
    }

    /// Sets a link of a node that nobody can reach on this level yet.
    pub(crate) fn prepare_link(&self, node: At<Node>, level: usize, link: Link<Node>) {
        // Relaxed: the link to the node on this level publishes it (I2).
        self.link_word(node, level).store(link.to_bits(), Ordering::Relaxed);
    }

    /// Links a node to another one on an upper level; false if it no longer linked to `expected`.
    pub(crate) fn publish_link(&self, node: At<Node>, level: usize, expected: Link<Node>, link: Link<Node>) -> bool {
        sync::publish(self.link_word(node, level), expected.to_bits(), link.to_bits())
    }
}
