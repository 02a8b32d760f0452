//! Places that are taken and given back, counted by key: connections of an address or of a user.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts of what is taken, by key. As large as there are places out, so as there are connections.
#[derive(Debug)]
pub(crate) struct Places<K>(Mutex<HashMap<K, u32>>);

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash> {
    key: K,
    places: Arc<Places<K>>,
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// Takes a place of `key` unless `max` are taken; a `max` of 0 is without limit.
    pub(crate) fn take(self: &Arc<Self>, key: &K, max: u32) -> Option<Place<K>> {
        let mut counts = self.lock();
        let count = counts.get(key).copied().unwrap_or(0);
        if max > 0 && count >= max {
            return None;
        }
        counts.insert(key.clone(), count.saturating_add(1));
        drop(counts);
        Some(Place { key: key.clone(), places: self.clone() })
    }
}

impl<K> Places<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.places.lock();
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_key_and_come_back() {
        let places = Arc::new(Places::default());
        let (one, two) = (places.take(&"a", 2), places.take(&"a", 2));
        assert!(one.is_some() && two.is_some());
        assert!(places.take(&"a", 2).is_none());
        let other = places.take(&"b", 2);
        assert!(other.is_some());
        drop(one);
        let again = places.take(&"a", 2);
        assert!(again.is_some() && places.take(&"a", 2).is_none());
        drop((two, again, other));
        assert!(places.lock().is_empty(), "nothing is kept of who is gone");
    }
}
