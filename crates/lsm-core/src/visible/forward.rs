//! From where `inner` stands forward to a live key: the newest version that counts comes first.

use super::{STEPS_BEFORE_SEEK, Value, VisibleCursor, covered, parse};
use crate::key::{InternalKey, is_same_key, successor};
use crate::operator;
use crate::range_tombstone::TombstoneSource;
use crate::rows::Direction;
use crate::{Cursor, Kind, Result, SeqNo};

impl<C: Cursor, T: TombstoneSource> VisibleCursor<C, T> {
    /// Goes forward to the first live key; `skip` says that `self.key` is done with.
    pub(super) fn settle_forward(&mut self, mut skip: bool) -> Result<()> {
        self.direction = Direction::Forward;
        self.value = Value::None;
        self.run.reset();
        let mut steps = 0;
        while self.inner.valid() {
            let entry = parse(self.inner.key())?;
            if self.visibility.to.as_deref().is_some_and(|to| to <= entry.user_key) {
                self.run.end_before(|| entry.user_key.to_vec());
                return Ok(());
            }
            let done = skip && is_same_key(entry.user_key, &self.key);
            if done || entry.seq > self.visibility.seq {
                steps += 1;
                if steps <= STEPS_BEFORE_SEEK {
                    self.inner.next()?;
                    continue;
                }
                steps = 0;
                let target = match done {
                    true => InternalKey::behind(entry.user_key),
                    false => InternalKey::for_seek(entry.user_key, self.visibility.seq),
                };
                self.inner.seek(target.as_bytes())?;
                continue;
            }
            steps = 0;
            let (seq, kind) = (entry.seq, entry.kind);
            let deleted = covered(&mut self.tombstones, &mut self.coverage, &self.visibility, entry.user_key, seq)?;
            self.key.clear();
            self.key.extend_from_slice(entry.user_key);
            match kind {
                Kind::Value if !deleted => {
                    self.run.end_before(|| self.key.clone());
                    if !self.take_rows()? {
                        self.value = Value::Lent;
                    }
                    return Ok(());
                }
                Kind::Merge if !deleted => {
                    self.run.end_before(|| self.key.clone());
                    return self.join_forward();
                }
                _ => {}
            }
            skip = true;
            match self.run.pass_forward(&self.key) {
                None => self.inner.next()?,
                Some(dead) => self.inner.seek(InternalKey::for_seek(&dead.end, SeqNo::MAX).as_bytes())?,
            }
        }
        self.run.end_before(|| successor(&self.key));
        Ok(())
    }

    /// Joins the operands of `self.key` on which `inner` stands with what lies below them.
    fn join_forward(&mut self) -> Result<()> {
        let mut operands = Vec::new();
        let mut base = None;
        while self.inner.valid() {
            let entry = parse(self.inner.key())?;
            if !is_same_key(entry.user_key, &self.key) {
                break;
            }
            let (seq, kind) = (entry.seq, entry.kind);
            let deleted = covered(&mut self.tombstones, &mut self.coverage, &self.visibility, entry.user_key, seq)?;
            match kind {
                Kind::Merge if !deleted => operands.push(self.inner.value_slice()),
                Kind::Value if !deleted => {
                    base = Some(self.inner.value_slice());
                    break;
                }
                _ => break,
            }
            self.inner.next()?;
        }
        let operator = self.visibility.merge_operator.as_deref();
        let oldest_first = operands.iter().rev().map(|operand| &**operand);
        let merged = operator::apply(operator, &self.key, base.as_deref(), oldest_first)?;
        self.value = Value::Owned(merged.into());
        Ok(())
    }
}
