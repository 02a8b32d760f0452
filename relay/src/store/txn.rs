//! An overlay over a snapshot: many commands of one batch see each other's writes, then all of it is
//! one [`Batch`].

use super::StoreError;
use super::kv::{Batch, Direction, Family, Snapshot, Visit};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};

type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Uncommitted puts and deletes over a snapshot. Reads see them.
pub struct Txn<'a> {
    base: Box<dyn Snapshot + 'a>,
    overlay: BTreeMap<Family, Overlay>,
    bytes: usize,
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
        Self { base, overlay: BTreeMap::new(), bytes: 0 }
    }

    /// Puts a row.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.overlay.entry(family).or_default().insert(key, Some(value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.overlay.entry(family).or_default().insert(key, None);
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
            for (key, value) in writes {
                match value {
                    Some(value) => txn.put(Family::Index, vec![key], vec![value]),
                    None => txn.delete(Family::Index, vec![key]),
                }
            }
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
