//! Walks over many keys: [`Iter`] for all of a range, from both ends; [`Cursor`] for seeking about.
//!
//! Both see one moment: they hold the view and the sequence number of their making, and with them every
//! memtable and file that they may still read. They take no lock and stay readable when the store is closed.
//!
//! # Invariants
//! K1. A cursor may go over to a newer view only while its moment is still the present. Tables hold nothing that is not visible
//!     yet, so those of the newer view hold what is newest at that moment, and the same rows are found.

use crate::family::Family;
use crate::level::{RunCursor, RunTombstones};
use crate::read::Reader;
use crate::run::Run;
use crate::source_cursor::SourceCursor;
use crate::store::Store;
use crate::toll::Round;
use crate::view::{Level, View};
use crate::{Error, Result, Slice};
use lsm_core::dead::DeadStretches;
use lsm_core::merge::MergeCursor;
use lsm_core::range_tombstone::TombstoneSource;
use lsm_core::visible::{Visibility, VisibleCursor};
use lsm_core::{MergeOperator, SeqNo};
use std::sync::{Arc, Weak};

type Inner = VisibleCursor<MergeCursor<SourceCursor>, Vec<Box<dyn TombstoneSource>>>;

/// What a walk reads: enough to make its cursors at any later time.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) view: Arc<View>,
    pub(crate) seq: SeqNo,
    pub(crate) merge_operator: Option<Arc<dyn MergeOperator>>,
    /// What is known to be dead, unless the view lacks writes that `seq` shows (W1).
    pub(crate) dead: Option<Arc<dyn DeadStretches>>,
    /// What to pay for tables of level 0 in.
    pub(crate) round: Round,
}

impl Source {
    fn open(&self, from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Inner {
        let mut cursors = Vec::new();
        let mut tombstones: Vec<Box<dyn TombstoneSource>> = Vec::new();
        for memtable in self.view.memtables() {
            if !memtable.is_empty() {
                cursors.push(SourceCursor::Memtable(memtable.cursor()));
            }
            if memtable.has_range_tombstones() {
                tombstones.push(Box::new(memtable.tombstones()));
            }
        }
        for (run, round) in self.runs(from.as_deref(), to.as_deref()) {
            cursors.push(SourceCursor::Run(Box::new(RunCursor::new(Arc::clone(&run), round))));
            tombstones.push(Box::new(RunTombstones::new(run)));
        }
        let merge_operator = self.merge_operator.clone();
        let dead = self.dead.clone();
        let visibility = Visibility { seq: self.seq, from, to, merge_operator, dead };
        VisibleCursor::new(MergeCursor::new(cursors), tombstones, visibility)
    }

    /// Each table of level 0 alone, then each deeper level, as far as they meet the bounds; the round to pay for the former in.
    fn runs(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Vec<(Level, Option<&Round>)> {
        let alone = |handle| Arc::new(Run::unsorted(vec![Arc::clone(handle)]));
        let level0 = self.view.levels[0].iter().map(|handle| (alone(handle), Some(&self.round)));
        let deeper =
            self.view.levels[1..].iter().filter(|level| !level.is_empty()).map(|level| (Arc::clone(level), None));
        let meets = |(run, _): &(Level, _)| {
            let ends_before = |from: &[u8]| run.last().is_none_or(|last| last.meta.ends_before(from));
            let starts_behind = |to: &[u8]| run.first().is_none_or(|first| to <= first.first_key());
            !from.is_some_and(ends_before) && !to.is_some_and(starts_behind)
        };
        level0.chain(deeper).filter(meets).collect()
    }
}

/// The items of a range in key order, from both ends.
///
/// Fused, and `'static + Send`: it may outlive every handle of its store. An error ends it.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_engine::Db::open(dir.path())?;
/// for key in ["a", "b", "c"] {
///     db.put(key, "value")?;
/// }
/// let keys: Vec<_> = db.range("b"..).map(|item| item.map(|(key, _)| key)).collect::<Result<_, _>>()?;
/// assert_eq!(keys, ["b", "c"]);
/// let last = db.iter().next_back().unwrap()?;
/// assert_eq!(last.0, "c");
/// # Ok(())
/// # }
/// ```
pub struct Iter {
    state: State,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    front: Option<Box<Inner>>,
    back: Option<Box<Inner>>,
}

enum State {
    Reading(Source),
    /// The walk could not begin; reported by its first step.
    Failed(Error),
    Done,
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Iter {
    pub(crate) fn new(source: Result<Source>, from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Iter {
        let state = match source {
            Ok(_) if from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| to <= from) => State::Done,
            Ok(source) => State::Reading(source),
            Err(error) => State::Failed(error),
        };
        Iter { state, from, to, front: None, back: None }
    }

    fn step(&mut self, end: End) -> Option<Result<(Slice, Slice)>> {
        let item = self.try_step(end).transpose();
        if !matches!(item, Some(Ok(_))) {
            self.state = State::Done;
            self.front = None;
            self.back = None;
        }
        item
    }

    fn try_step(&mut self, end: End) -> Result<Option<(Slice, Slice)>> {
        let source = match &self.state {
            State::Reading(source) => source,
            State::Failed(error) => return Err(error.clone()),
            State::Done => return Ok(None),
        };
        let (near, far) = match end {
            End::Front => (&mut self.front, &self.back),
            End::Back => (&mut self.back, &self.front),
        };
        match (near.as_deref_mut(), end) {
            (Some(near), End::Front) => near.next()?,
            (Some(near), End::Back) => near.prev()?,
            (None, End::Front) => {
                near.insert(Box::new(source.open(self.from.clone(), self.to.clone()))).seek_to_first()?;
            }
            (None, End::Back) => {
                near.insert(Box::new(source.open(self.from.clone(), self.to.clone()))).seek_to_last()?;
            }
        }
        let near = near.as_deref().filter(|near| near.valid());
        // The other end stands on the last key that it gave away.
        let met = |near: &Inner, far: &Inner| match end {
            End::Front => far.key() <= near.key(),
            End::Back => near.key() <= far.key(),
        };
        Ok(match (near, far.as_deref()) {
            (Some(near), Some(far)) if met(near, far) => None,
            (Some(near), _) => Some((Slice::copy_from(near.key()), near.value_slice())),
            (None, _) => None,
        })
    }
}

#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

impl Iterator for Iter {
    type Item = Result<(Slice, Slice)>;

    fn next(&mut self) -> Option<Result<(Slice, Slice)>> {
        self.step(End::Front)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Result<(Slice, Slice)>> {
        self.step(End::Back)
    }
}

impl std::iter::FusedIterator for Iter {}

/// A position among live keys that lends what it stands on: a step allocates nothing.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_engine::Db::open(dir.path())?;
/// db.put("apple", "1")?;
/// db.put("cherry", "2")?;
/// let mut cursor = db.cursor();
/// cursor.seek("b")?;
/// assert_eq!((cursor.key(), cursor.value()), (b"cherry".as_slice(), b"2".as_slice()));
/// cursor.prev()?;
/// assert_eq!(cursor.key(), b"apple");
/// cursor.prev()?;
/// assert!(!cursor.valid());
/// # Ok(())
/// # }
/// ```
pub struct Cursor(CursorState);

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.valid().then(|| self.key());
        f.debug_struct("Cursor").field("key", &key).finish_non_exhaustive()
    }
}

enum CursorState {
    Reading(Box<Walk>),
    Failed(Error),
}

struct Walk {
    inner: Inner,
    /// Unless the view has no tables of level 0, or is as old as the moment.
    origin: Option<Origin>,
}

/// Where a cursor comes from. It keeps neither the store nor the family.
struct Origin {
    store: Weak<Store>,
    family: Weak<Family>,
    seq: SeqNo,
    round: Round,
}

impl Origin {
    /// Whether there is something to ask for, or to find.
    #[inline]
    fn is_due(&self) -> bool {
        self.round.is_paid() || self.round.is_over()
    }

    /// A walk over what is there now, if it finds the same rows (K1).
    fn renewed(&self) -> Option<Walk> {
        let (store, family) = (self.store.upgrade()?, self.family.upgrade()?);
        let reader = Reader { store: &store, family: &family, seq: None };
        let source = reader.source().ok()?;
        (source.seq == self.seq).then(|| Walk::new(&reader, source))
    }
}

impl Walk {
    fn new(reader: &Reader<'_>, source: Source) -> Walk {
        let pays = !source.view.levels[0].is_empty();
        let origin = pays.then(|| Origin {
            store: Arc::downgrade(reader.store),
            family: Arc::downgrade(reader.family),
            seq: source.seq,
            round: source.round.clone(),
        });
        Walk { inner: source.open(None, None), origin }
    }

    /// Before a seek: goes over to the tables that came in the place of level 0, if they did.
    #[inline]
    fn keep_up(&mut self) {
        if let Some(origin) = self.origin.take_if(|origin| origin.is_due())
            && let Some(renewed) = origin.renewed()
        {
            *self = renewed;
        }
    }
}

macro_rules! moves {
    ($($(#[$doc:meta])* $name:ident($($key:ident)?);)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Damage or I/O errors met on the way; the cursor is not valid then.
        pub fn $name(&mut self $(, $key: impl AsRef<[u8]>)?) -> Result<()> {
            let walk = self.reading()?;
            walk.keep_up();
            Ok(walk.inner.$name($($key.as_ref())?)?)
        }
    )*};
}

impl Cursor {
    pub(crate) fn new(reader: &Reader<'_>) -> Cursor {
        Cursor(match reader.source() {
            Ok(source) => CursorState::Reading(Box::new(Walk::new(reader, source))),
            Err(error) => CursorState::Failed(error),
        })
    }

    #[inline]
    fn reading(&mut self) -> Result<&mut Walk> {
        match &mut self.0 {
            CursorState::Reading(walk) => Ok(walk),
            CursorState::Failed(error) => Err(error.clone()),
        }
    }

    #[inline]
    fn standing(&self) -> &Inner {
        match &self.0 {
            CursorState::Reading(walk) => &walk.inner,
            CursorState::Failed(_) => panic!("the cursor is not valid"),
        }
    }

    moves! {
        /// Moves to the first key.
        seek_to_first();
        /// Moves to the last key.
        seek_to_last();
        /// Moves to the first key at or after `key`.
        seek(key);
        /// Moves to the last key at or before `key`.
        seek_for_prev(key);
    }

    /// Moves to the next key; from an end it stays there.
    ///
    /// # Errors
    /// Damage or I/O errors met on the way; the cursor is not valid then.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "a lending cursor has no Item that outlives the step")]
    pub fn next(&mut self) -> Result<()> {
        let inner = &mut self.reading()?.inner;
        if inner.valid() { Ok(inner.next()?) } else { Ok(()) }
    }

    /// Moves to the previous key; from an end it stays there.
    ///
    /// # Errors
    /// Damage or I/O errors met on the way; the cursor is not valid then.
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        let inner = &mut self.reading()?.inner;
        if inner.valid() { Ok(inner.prev()?) } else { Ok(()) }
    }

    /// Whether the cursor stands on a key: false at both ends, and before the first move.
    #[inline]
    pub fn valid(&self) -> bool {
        matches!(&self.0, CursorState::Reading(walk) if walk.inner.valid())
    }

    /// The key it stands on.
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.standing().key()
    }

    /// The value it stands on.
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.standing().value()
    }
}
