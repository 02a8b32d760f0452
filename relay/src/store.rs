//! The relay's storage: a key-value store, its keys and rows, and the folder it lives in.
//!
//! Everything is a row under a big-endian key. Only [`crate::commit`] and [`crate::bulk`] write.

#[cfg(test)]
mod conformance;
pub mod keys;
pub mod kv;
pub mod memory;
mod migrate;
pub mod rocks;
pub mod rows;
pub mod txn;

use kv::{Batch, Durability, Family, Kv, Snapshot};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rows' format. A store of an earlier one is brought to it, of any other refused.
pub const FORMAT_VERSION: u32 = 3;

/// A store that is open: one process at a time has a folder.
#[derive(Clone, Debug)]
pub struct Store {
    kv: Arc<dyn Kv>,
    epoch: [u8; 16],
}

/// Why a store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder is open in another process.
    #[error("the data folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// There is no store in the folder.
    #[error("there is no store in {}", .0.display())]
    Missing(PathBuf),
    /// The store is of another format.
    #[error("the store has format {found}, this program reads format {FORMAT_VERSION}")]
    Format {
        /// What the store says.
        found: u32,
    },
    /// A column family is not there.
    #[error("the store has no rows of kind {0}")]
    NoFamily(&'static str),
    /// A row does not read back.
    #[error("a row of kind {family} is damaged: {what}")]
    Damaged {
        /// The family's name.
        family: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The folder cannot be made or read.
    #[error("the data folder {} cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// No randomness for the epoch.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] rocksdb::Error),
}

impl StoreError {
    /// A row of `family` does not read back.
    pub(crate) const fn damaged(family: Family, what: &'static str) -> Self {
        Self::Damaged { family: family.name(), what }
    }

    /// RocksDB tells a held lock by its text only.
    fn opening(folder: &Path, error: rocksdb::Error) -> Self {
        let text = error.to_string();
        let locked = text.contains("lock hold by current process")
            || (text.contains("LOCK") && text.contains("Resource temporarily unavailable"));
        if locked { Self::InUse(folder.to_owned()) } else { Self::Database(error) }
    }
}

impl Store {
    /// Opens the store in `folder`, or makes folder and store.
    ///
    /// # Errors
    /// The folder is in use or cannot be used, or the store has another format.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })?;
        Self::over(Arc::new(rocks::RocksKv::open(folder)?))
    }

    /// Opens the store in `folder`; it must be there.
    ///
    /// # Errors
    /// There is none, it is in use, or it has another format.
    pub fn open_existing(folder: &Path) -> Result<Self, StoreError> {
        if !folder.join("CURRENT").is_file() {
            return Err(StoreError::Missing(folder.to_owned()));
        }
        Self::open(folder)
    }

    /// A new store in memory.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::over(Arc::new(memory::MemoryKv::default()))
    }

    /// The store over `kv`; an empty one gets its format and a random epoch.
    ///
    /// # Errors
    /// It has another format, or cannot be read or written.
    pub fn over(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        let (format, epoch) = {
            let snapshot = kv.snapshot();
            let format = snapshot.get(Family::Meta, keys::META_FORMAT)?;
            (format, snapshot.get(Family::Meta, keys::META_EPOCH)?)
        };
        let Some(format) = format else {
            let mut epoch = [0; 16];
            getrandom::fill(&mut epoch)?;
            let mut batch = Batch::new();
            let format = FORMAT_VERSION.to_be_bytes();
            batch.put(Family::Meta, keys::META_FORMAT.to_vec(), format.to_vec());
            batch.put(Family::Meta, keys::META_EPOCH.to_vec(), epoch.to_vec());
            kv.write(batch, Durability::Sync)?;
            return Ok(Self { kv, epoch });
        };
        let damaged = |what| StoreError::damaged(Family::Meta, what);
        let found = format.try_into().map(u32::from_be_bytes).map_err(|_| damaged("format"))?;
        match found {
            FORMAT_VERSION => {}
            migrate::OLDEST..FORMAT_VERSION => {
                migrate::migrate(&*kv, found)?;
                let mut batch = Batch::new();
                let format = FORMAT_VERSION.to_be_bytes().to_vec();
                batch.put(Family::Meta, keys::META_FORMAT.to_vec(), format);
                kv.write(batch, Durability::Sync)?;
            }
            _ => return Err(StoreError::Format { found }),
        }
        let epoch = epoch.and_then(|e| e.try_into().ok()).ok_or_else(|| damaged("epoch"))?;
        Ok(Self { kv, epoch })
    }

    /// Begins another history: every seq that a client remembers is void, and each client pushes its
    /// own changes again that are missing here. For a store that was restored from a copy.
    ///
    /// # Errors
    /// The system gives no random numbers, or the store cannot be written.
    pub fn renew_epoch(&mut self) -> Result<(), StoreError> {
        let mut epoch = [0; 16];
        getrandom::fill(&mut epoch)?;
        let mut batch = Batch::new();
        batch.put(Family::Meta, keys::META_EPOCH.to_vec(), epoch.to_vec());
        self.kv.write(batch, Durability::Sync)?;
        self.epoch = epoch;
        Ok(())
    }

    /// The random id of this store's history.
    #[must_use]
    pub const fn epoch(&self) -> [u8; 16] {
        self.epoch
    }

    /// The rows.
    #[must_use]
    pub fn kv(&self) -> &dyn Kv {
        &*self.kv
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.kv.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_epoch_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let first = store.epoch();
        store.renew_epoch().unwrap();
        let second = store.epoch();
        assert_ne!(first, second);
        drop(store);
        assert_eq!(Store::open(folder.path()).unwrap().epoch(), second);
    }

    #[test]
    fn a_store_keeps_its_epoch_and_belongs_to_one_opener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = Store::open(&path).unwrap();
        let text = Store::open(&path).unwrap_err().to_string();
        assert!(text.ends_with("is in use by another process"), "{text}");
        let epoch = first.epoch();
        drop(first);
        assert_eq!(Store::open_existing(&path).unwrap().epoch(), epoch);
        assert_ne!(Store::in_memory().unwrap().epoch(), epoch);
    }

    #[test]
    fn another_format_is_refused_with_a_clear_text() {
        let kv = Arc::new(memory::MemoryKv::default());
        drop(Store::over(kv.clone()).unwrap());
        let mut batch = Batch::new();
        batch.put(Family::Meta, keys::META_FORMAT.to_vec(), 7_u32.to_be_bytes().to_vec());
        kv.write(batch, Durability::Sync).unwrap();
        let text = Store::over(kv).unwrap_err().to_string();
        assert_eq!(text, "the store has format 7, this program reads format 3");
    }

    #[test]
    fn a_folder_without_a_store_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open_existing(folder.path()), Err(StoreError::Missing(_))));
    }
}
