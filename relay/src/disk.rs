//! How much is free on the store's disk.

use crate::config::StoreConfig;
use std::path::PathBuf;

/// The disk that a store is on.
#[derive(Debug)]
pub(crate) struct Disk {
    data: PathBuf,
    free_bytes_min: u64,
}

impl Disk {
    /// The disk of the configured store.
    pub(crate) fn new(config: &StoreConfig) -> Self {
        Self { data: config.data.clone(), free_bytes_min: config.free_bytes_min }
    }

    /// Bytes that are free to this process; `None` where there is no folder, as in memory.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let facts = rustix::fs::statvfs(&self.data).ok()?;
        Some(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    /// Whether less is free than must be.
    pub(crate) fn is_short(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.free_bytes_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_below_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let of = |data: PathBuf, free_bytes_min| Disk::new(&StoreConfig { data, free_bytes_min });
        assert!(of(folder.path().to_owned(), 1).free_bytes().is_some_and(|free| free > 0));
        assert!(!of(folder.path().to_owned(), 0).is_short());
        assert!(of(folder.path().to_owned(), u64::MAX).is_short());
        assert!(!of(folder.path().join("none"), u64::MAX).is_short());
    }
}
