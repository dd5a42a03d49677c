//! Where one stands in a list: at an entry of a leaf, as the leaf was when one came there.
//!
//! A step within the leaf is a look at the next slot. Beyond the leaf it goes to the nodes as they are by then: if the
//! leaf was split since, entries of it turn up again, and are skipped.

use std::sync::Arc;

use crate::at::{At, Entry, Leaf, Node};
use crate::link::Link;
use crate::list::{List, Side};
use crate::perm::Perm;

/// An entry, and where it was found.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    pub(crate) node: At<Node>,
    /// A leaf that was the node's, and its order then.
    pub(crate) leaf: At<Leaf>,
    pub(crate) perm: Perm,
    pub(crate) rank: usize,
    pub(crate) entry: Link<Entry>,
}

impl Stand {
    /// Moves to the next entry of the leaf, if there is one.
    #[inline]
    fn next_in_leaf(&mut self, list: &List) -> bool {
        let is_there = self.rank + 1 < self.perm.len();
        if is_there {
            self.move_to(self.rank + 1, list);
        }
        is_there
    }

    /// Moves to the entry before in the leaf, if there is one.
    #[inline]
    fn prev_in_leaf(&mut self, list: &List) -> bool {
        let is_there = self.rank > 0;
        if is_there {
            self.move_to(self.rank - 1, list);
        }
        is_there
    }

    #[inline]
    fn move_to(&mut self, rank: usize, list: &List) {
        self.rank = rank;
        self.entry = list.index.entry(self.leaf, self.perm, rank);
    }
}

/// An entry of a list.
#[derive(Clone, Copy)]
pub(crate) struct Hit<'l> {
    list: &'l List,
    stand: Stand,
}

impl<'l> Hit<'l> {
    #[inline]
    pub(crate) fn new(list: &'l List, stand: Stand) -> Hit<'l> {
        Hit { list, stand }
    }

    #[inline]
    fn entry(self) -> At<Entry> {
        self.stand.entry.at().expect("S2: slots lead to entries")
    }

    #[inline]
    pub(crate) fn internal_key(self) -> &'l [u8] {
        self.list.index.internal_key(self.entry())
    }

    #[inline]
    pub(crate) fn value(self) -> &'l [u8] {
        self.list.index.value(self.entry())
    }

    /// The entry that follows.
    pub(crate) fn next(mut self) -> Option<Hit<'l>> {
        if self.stand.next_in_leaf(self.list) { Some(self) } else { self.next_beyond_leaf() }
    }

    fn next_beyond_leaf(self) -> Option<Hit<'l>> {
        let list = self.list;
        let behind = list.index.follow(self.stand.node, 0);
        let point = list.point_at(Side::Behind, self.stand.entry);
        if list.begins_before(behind, &point) {
            // The leaf was split since.
            return list.behind_in(list.settle(behind, &point), &point);
        }
        list.first_of(behind)
    }

    /// The entry before, if that is in another leaf.
    fn prev_beyond_leaf(self) -> Option<Hit<'l>> {
        self.list.before(&self.list.point_at(Side::Before, self.stand.entry))
    }
}

/// A place in a list that keeps the list alive.
pub(crate) struct Place {
    list: Arc<List>,
    stand: Option<Stand>,
}

impl Place {
    /// Nowhere in `list`.
    pub(crate) fn nowhere(list: &Arc<List>) -> Place {
        Place { list: Arc::clone(list), stand: None }
    }

    /// Moves to what `find` finds in the list.
    #[inline]
    pub(crate) fn move_to(&mut self, find: impl for<'l> FnOnce(&'l List) -> Option<Hit<'l>>) {
        self.stand = find(&self.list).map(|hit| {
            assert!(std::ptr::eq(hit.list, Arc::as_ptr(&self.list)), "a place belongs to one list");
            hit.stand
        });
    }

    /// Moves to the entry that follows. A step within the leaf changes what it must in place: copying a place for
    /// each step made scans three times slower.
    #[inline]
    pub(crate) fn next(&mut self) {
        if let Some(stand) = &mut self.stand
            && !stand.next_in_leaf(&self.list)
        {
            self.stand = Hit::new(&self.list, *stand).next_beyond_leaf().map(|hit| hit.stand);
            if let Some(stand) = &self.stand {
                self.list.index.ask_ahead(stand.node);
            }
        }
    }

    /// Moves to the entry before.
    #[inline]
    pub(crate) fn prev(&mut self) {
        if let Some(stand) = &mut self.stand
            && !stand.prev_in_leaf(&self.list)
        {
            self.stand = Hit::new(&self.list, *stand).prev_beyond_leaf().map(|hit| hit.stand);
        }
    }

    /// The entry it stands on.
    #[inline]
    pub(crate) fn hit(&self) -> Option<Hit<'_>> {
        self.stand.map(|stand| Hit::new(&self.list, stand))
    }
}
