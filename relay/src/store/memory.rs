//! A store in memory, for tests and simulation. Forgets everything when dropped.

use super::StoreError;
use super::kv::{Batch, Direction, Durability, Family, Kv, Snapshot, Visit};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::{Arc, PoisonError, RwLock};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Families = BTreeMap<Family, Arc<Rows>>;

/// Sorted maps, copied when written to while a snapshot holds them.
#[derive(Debug, Default)]
pub struct MemoryKv {
    families: RwLock<Families>,
}

impl Kv for MemoryKv {
    fn write(&self, batch: Batch, _durability: Durability) -> Result<(), StoreError> {
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        for (family, key, value) in batch.into_ops() {
            let rows = Arc::make_mut(families.entry(family).or_default());
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        Box::new(MemorySnapshot { families: families.clone() })
    }
}

struct MemorySnapshot {
    families: Families,
}

impl Snapshot for MemorySnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.families.get(&family).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(
        &self,
        family: Family,
        range: Range<&[u8]>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let Some(rows) = self.families.get(&family) else { return Ok(()) };
        if range.start >= range.end {
            return Ok(());
        }
        let rows =
            rows.range::<[u8], _>((Bound::Included(range.start), Bound::Excluded(range.end)));
        let mut visit = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value);
        let _: ControlFlow<()> = match direction {
            Direction::Forward => rows.into_iter().try_for_each(&mut visit),
            Direction::Reverse => rows.rev().try_for_each(&mut visit),
        };
        Ok(())
    }
}
