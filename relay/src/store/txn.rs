//! An overlay over a snapshot: many commands of one batch see each other's writes, then all of it is
//! one [`Batch`]. What a command wrote that fails half-way can be taken back.

use super::StoreError;
use super::kv::{Batch, Direction, Family, Snapshot, Visit};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};

type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key, and what was written under it before; `None` if nothing was.
type Before = (Family, Vec<u8>, Option<Option<Vec<u8>>>);

/// Uncommitted puts and deletes over a snapshot. Reads see them.
pub struct Txn<'a> {
    base: Box<dyn Snapshot + 'a>,
    overlay: BTreeMap<Family, Overlay>,
    bytes: usize,
    /// What was written over since [`Self::begin`], if that was called.
    journal: Option<Vec<Before>>,
}

impl std::fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Txn").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<'a> Txn<'a> {
    /// An empty overlay over `base`.
    #[must_use]
    pub const fn new(base: Box<dyn Snapshot + 'a>) -> Self {
        Self { base, overlay: BTreeMap::new(), bytes: 0, journal: None }
    }

    /// Puts a row.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.write(family, key, Some(value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.write(family, key, None);
    }

    fn write(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        let rows = self.overlay.entry(family).or_default();
        match &mut self.journal {
            None => drop(rows.insert(key, value)),
            Some(journal) => {
                let before = rows.insert(key.clone(), value);
                journal.push((family, key, before));
            }
        }
    }

    /// What is written from here on can be taken back, until it is [kept](Self::keep).
    pub fn begin(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// What was written since [`Self::begin`] stays.
    pub fn keep(&mut self) {
        self.journal = None;
    }

    /// Takes back what was written since [`Self::begin`].
    ///
    /// # Complexity
    /// O(rows written since).
    pub fn take_back(&mut self) {
        for (family, key, before) in self.journal.take().into_iter().flatten().rev() {
            let Some(rows) = self.overlay.get_mut(&family) else { continue };
            match before {
                Some(before) => drop(rows.insert(key, before)),
                None => drop(rows.remove(&key)),
            }
            if rows.is_empty() {
                self.overlay.remove(&family);
            }
        }
    }

    /// Bytes put since it was made.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.overlay.is_empty()
    }

    /// Everything that was written, as one batch.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        let mut batch = Batch::new();
        for (family, rows) in self.overlay {
            for (key, value) in rows {
                match value {
                    Some(value) => batch.put(family, key, value),
                    None => batch.delete(family, key),
                }
            }
        }
        batch
    }
}

impl Snapshot for Txn<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.overlay.get(&family).and_then(|rows| rows.get(key)) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(family, key),
        }
    }

    fn scan(
        &self,
        family: Family,
        range: Range<&[u8]>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let rows = self.overlay.get(&family).filter(|rows| !rows.is_empty());
        let Some(rows) = rows.filter(|_| range.start < range.end) else {
            return self.base.scan(family, range, direction, visit);
        };
        let bounds = (Bound::Included(range.start), Bound::Excluded(range.end));
        let written = rows.range::<[u8], _>(bounds);
        match direction {
            Direction::Forward => self.merge(family, range, direction, written, visit),
            Direction::Reverse => self.merge(family, range, direction, written.rev(), visit),
        }
    }
}

impl Txn<'_> {
    fn merge<'r>(
        &self,
        family: Family,
        range: Range<&[u8]>,
        direction: Direction,
        written: impl Iterator<Item = (&'r Vec<u8>, &'r Option<Vec<u8>>)>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut written = written.peekable();
        let mut stopped = false;
        self.base.scan(family, range, direction, &mut |key, value| {
            while let Some((over, put)) = written.peek() {
                let order = match direction {
                    Direction::Forward => over.as_slice().cmp(key),
                    Direction::Reverse => key.cmp(over.as_slice()),
                };
                if order == Ordering::Greater {
                    break;
                }
                let flow = put.as_ref().map_or(ControlFlow::Continue(()), |put| visit(over, put));
                written.next();
                if flow.is_break() {
                    stopped = true;
                    return flow;
                }
                if order == Ordering::Equal {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            stopped = flow.is_break();
            flow
        })?;
        if !stopped {
            for (key, put) in written {
                if let Some(put) = put
                    && visit(key, put).is_break()
                {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::{Durability, Kv};
    use crate::store::memory::MemoryKv;
    use proptest::prelude::*;

    fn collect(
        rows: &dyn Snapshot,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        rows.scan(Family::Index, range, direction, &mut visit).unwrap();
        found
    }

    proptest! {
        #[test]
        fn reads_are_those_of_a_store_that_has_the_batch(
            base in proptest::collection::btree_map(0_u8..40, any::<u8>(), 0..30),
            writes in proptest::collection::vec((0_u8..40, proptest::option::of(any::<u8>())), 0..30),
            taken_back in proptest::collection::vec((0_u8..40, proptest::option::of(any::<u8>())), 0..30),
            (from, to, limit) in (0_u8..42, 0_u8..42, 1_usize..9),
        ) {
            let (under, whole) = (MemoryKv::default(), MemoryKv::default());
            let mut batch = Batch::new();
            for (key, value) in base {
                batch.put(Family::Index, vec![key], vec![value]);
            }
            under.write(batch.clone(), Durability::Sync).unwrap();
            whole.write(batch, Durability::Sync).unwrap();
            let mut txn = Txn::new(under.snapshot());
            let write = |txn: &mut Txn<'_>, writes: Vec<(u8, Option<u8>)>| {
                for (key, value) in writes {
                    match value {
                        Some(value) => txn.put(Family::Index, vec![key], vec![value]),
                        None => txn.delete(Family::Index, vec![key]),
                    }
                }
            };
            let (kept, others) = writes.split_at(writes.len() / 2);
            write(&mut txn, kept.to_vec());
            txn.begin();
            write(&mut txn, taken_back);
            txn.take_back();
            txn.begin();
            write(&mut txn, others.to_vec());
            txn.keep();
            txn.take_back();
            let mut copy = Txn::new(under.snapshot());
            copy.overlay = txn.overlay.clone();
            whole.write(copy.into_batch(), Durability::Sync).unwrap();
            for direction in [Direction::Forward, Direction::Reverse] {
                for limit in [limit, usize::MAX] {
                    prop_assert_eq!(
                        collect(&txn, &[from]..&[to], direction, limit),
                        collect(&*whole.snapshot(), &[from]..&[to], direction, limit)
                    );
                }
            }
            for key in 0..40 {
                let expected = whole.snapshot().get(Family::Index, &[key]).unwrap();
                prop_assert_eq!(txn.get(Family::Index, &[key]).unwrap(), expected);
            }
        }
    }
}
