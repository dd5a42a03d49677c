//! The newest writes of a column family, sorted, in memory.
//!
//! Two lists share one arena: point entries, and range deletions under their start keys. A writer
//! reserves room first, when it can still turn to a fresh memtable, and inserts later, when nothing may
//! fail any more. Readers take no lock and see an entry from the moment it is in its leaf; which entries count
//! is for them to decide by sequence number.
//!
//! # Invariants
//! B1. What was inserted before a call of `get`, `tombstones` or a cursor's seek is seen by it.
//! B2. Range deletions are counted after they are linked: a set built after reading the count holds at
//!     least as many.
//! B3. After `freeze` no reservation succeeds. Reservations made before may still insert; whoever
//!     flushes the memtable waits for them first.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lsm_core::key::{self, Kind, SeqNo};
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};

use crate::arena::{Arena, ArenaFull, CAPACITY_MAX, Need, UNIT_BYTES};
use crate::cursor::MemtableCursor;
use crate::filter::Filter;
use crate::index::HEAD_BYTES;
use crate::list::{List, Side};
use crate::place::Hit;
use crate::reservation::{EntrySize, Reservation};
use crate::shape::KeyShape;
use crate::sync::{self, AtomicUsize, Ordering};

/// Bytes of an arena before its first entry: the null position and two empty lists.
const EMPTY_BYTES: usize = UNIT_BYTES + 2 * HEAD_BYTES;

/// The newest entry of a key that a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'m> {
    /// When it was written.
    pub seq: SeqNo,
    /// What was written; never [`Kind::RangeDeletion`].
    pub kind: Kind,
    /// The value, or the operand of a merge.
    pub value: &'m [u8],
}

/// The newest writes of a column family, sorted, in memory.
///
/// ```
/// use std::sync::Arc;
/// use lsm_core::key::{Kind, SeqNo};
/// use lsm_memtable::{EntrySize, Memtable};
///
/// let memtable = Arc::new(Memtable::new(1 << 20));
/// let size = EntrySize { kind: Kind::Value, key_bytes: 4, value_bytes: 5 };
/// let mut room = memtable.reserve([size].into_iter())?;
/// room.insert(b"city", SeqNo::new(7), Kind::Value, b"Turin");
/// assert_eq!(memtable.get(b"city", SeqNo::MAX).map(|found| found.value), Some(b"Turin".as_slice()));
/// assert_eq!(memtable.get(b"city", SeqNo::new(6)), None);
/// # Ok::<(), lsm_memtable::ArenaFull>(())
/// ```
pub struct Memtable {
    arena: Arc<Arena>,
    points: Arc<List>,
    ranges: Arc<List>,
    filter: Filter,
    len: AtomicUsize,
    deletions: AtomicUsize,
    range_tombstones: AtomicUsize,
    tombstones: ArcSwap<CountedTombstones>,
}

/// A set of range tombstones and the count that was read before it was built (B2).
#[derive(Default)]
struct CountedTombstones {
    count: usize,
    set: Arc<RangeTombstones>,
}

impl Memtable {
    /// No memtable has a larger capacity, however much memory it is given (16 GiB). Entries that require more than this
    /// ([`Memtable::required_bytes`]) must not come in one reservation.
    pub const CAPACITY_MAX: usize = CAPACITY_MAX;

    /// An empty memtable of `capacity` bytes of heap memory, or what it takes to be empty if that is more.
    ///
    /// The system gives the memory page by page as it is first used. A filter of 1/128 of the capacity
    /// comes on top.
    pub fn new(capacity: usize) -> Memtable {
        // The start of a byte vector may have to be aligned.
        Memtable::with_memory(Box::new(vec![0_u8; capacity.max(EMPTY_BYTES) + UNIT_BYTES - 1]))
    }

    /// An empty memtable in memory from outside, for instance a mapping with huge pages or a buffer that
    /// is used again; it is dropped when neither the memtable nor any cursor needs it. What it holds
    /// does not matter.
    ///
    /// # Panics
    /// When the memory is smaller than [`Memtable::required_bytes`] of nothing.
    pub fn with_memory(memory: Box<dyn AsMut<[u8]> + Send>) -> Memtable {
        Memtable::expecting(memory, &KeyShape::default())
    }

    /// As [`Memtable::with_memory`], for keys most of which look like `shape`: that of the memtable before this one
    /// ([`Memtable::key_shape`]), for instance.
    ///
    /// # Panics
    /// As for [`Memtable::with_memory`].
    pub fn expecting(memory: Box<dyn AsMut<[u8]> + Send>, shape: &KeyShape) -> Memtable {
        let arena = Arc::new(Arena::new(memory));
        let list = || Arc::new(List::new(&arena, shape).expect("the memory holds an empty memtable"));
        Memtable {
            points: list(),
            ranges: list(),
            filter: Filter::for_capacity(arena.capacity()),
            len: AtomicUsize::new(0),
            deletions: AtomicUsize::new(0),
            range_tombstones: AtomicUsize::new(0),
            tombstones: ArcSwap::default(),
            arena,
        }
    }

    /// A capacity that surely holds these entries, reserved together in an empty memtable.
    pub fn required_bytes(entries: impl Iterator<Item = EntrySize>) -> usize {
        let need = Need::of(entries);
        let bytes = need.entry_bytes.saturating_add(need.amortised_index_bytes);
        bytes.saturating_add(EMPTY_BYTES + UNIT_BYTES - 1)
    }

    /// Takes room for these entries, to be inserted in this order.
    ///
    /// # Errors
    /// [`ArenaFull`] when they do not all fit or the memtable is frozen; then nothing has changed.
    pub fn reserve(self: &Arc<Self>, entries: impl Iterator<Item = EntrySize>) -> Result<Reservation, ArenaFull> {
        let need = Need::of(entries);
        Ok(Reservation::new(self, self.arena.reserve(&need)?, need.entries))
    }

    /// The newest point entry of `user_key` that is not newer than `visible`. Range deletions are not
    /// looked at.
    pub fn get(&self, user_key: &[u8], visible: SeqNo) -> Option<Found<'_>> {
        if !self.filter.may_contain(user_key) {
            return None;
        }
        let point = self.points.point(Side::Before, user_key, key::pack_trailer(visible, Kind::SEEK));
        let hit = self.points.behind(&point)?;
        let internal_key = hit.internal_key();
        (key::user_key(internal_key) == user_key).then(|| Found {
            seq: key::seq(internal_key),
            kind: Kind::from_byte(key::kind_byte(internal_key)).expect("entries are inserted with a kind"),
            value: hit.value(),
        })
    }

    /// A cursor over the point entries. It may meet entries that are inserted later.
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor::new(&self.points)
    }

    /// All range deletions inserted before this call, and perhaps some inserted since.
    ///
    /// The set is kept until there are more, so that calls between two range deletions cost next to
    /// nothing.
    pub fn tombstones(&self) -> Arc<RangeTombstones> {
        let count = self.range_tombstones.load(Ordering::Acquire);
        let cached = self.tombstones.load();
        if cached.count >= count {
            return Arc::clone(&cached.set);
        }
        let fresh = Arc::new(CountedTombstones { count, set: Arc::new(self.collect_tombstones()) });
        // Of two threads that got here, the one that counted more stays.
        self.tombstones.rcu(|kept| Arc::clone(if kept.count > count { kept } else { &fresh }));
        Arc::clone(&fresh.set)
    }

    fn collect_tombstones(&self) -> RangeTombstones {
        let tombstone = |hit: Hit<'_>| RangeTombstone {
            start: key::user_key(hit.internal_key()).to_vec(),
            end: hit.value().to_vec(),
            seq: key::seq(hit.internal_key()),
        };
        RangeTombstones::new(self.range_hits().map(tombstone).collect())
    }

    fn range_hits(&self) -> impl Iterator<Item = Hit<'_>> {
        std::iter::successors(self.ranges.first(), |hit| hit.next())
    }

    /// Whether there is any range deletion.
    pub fn has_range_tombstones(&self) -> bool {
        self.range_tombstones.load(Ordering::Acquire) > 0
    }

    /// Refuses all reservations from now on (B3).
    pub fn freeze(&self) {
        self.arena.freeze();
    }

    /// Whether [`Memtable::freeze`] was called.
    pub fn is_frozen(&self) -> bool {
        self.arena.is_frozen()
    }

    /// How many entries were inserted, range deletions among them.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether nothing was inserted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many point deletions were inserted, single ones among them.
    pub fn deletions(&self) -> usize {
        self.deletions.load(Ordering::Relaxed)
    }

    /// Bytes taken by reservations so far, and by the empty memtable itself.
    ///
    /// A reservation counts with what it may need at worst until it is dropped, then with what it took.
    pub fn bytes_used(&self) -> usize {
        self.arena.used()
    }

    /// Bytes in all.
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    /// The first and the last user key that this memtable says anything about.
    ///
    /// A range deletion counts with its start and its end, although the end itself is not deleted.
    pub fn bounds(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let user_key = |hit: Hit<'_>| key::user_key(hit.internal_key()).to_vec();
        let starts = [self.points.first(), self.ranges.first()];
        let first = starts.into_iter().flatten().map(user_key).min()?;
        let ends = self.range_hits().map(|hit| hit.value().to_vec());
        let last = ends.chain(self.points.last().map(user_key)).chain(Some(first.clone())).max()?;
        Some((first, last))
    }

    /// What the keys of point entries look like, going by some of them.
    pub fn key_shape(&self) -> KeyShape {
        KeyShape::of(self.points.some_keys())
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(crate) fn points(&self) -> &List {
        &self.points
    }

    pub(crate) fn ranges(&self) -> &List {
        &self.ranges
    }

    /// Counts an entry that has been linked (B2).
    pub(crate) fn count(&self, kind: Kind) {
        self.len.fetch_add(1, Ordering::Relaxed);
        match kind {
            Kind::Value | Kind::Merge => {}
            Kind::Deletion | Kind::SingleDeletion => {
                self.deletions.fetch_add(1, Ordering::Relaxed);
            }
            Kind::RangeDeletion => sync::count(&self.range_tombstones),
        }
    }
}
