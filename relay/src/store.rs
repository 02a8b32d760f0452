//! The relay's storage: a key-value store, its keys and rows, and the folder it lives in.
//!
//! Everything is a row under a big-endian key. Only [`crate::commit`] and [`crate::bulk`] write.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod damage;
pub mod keys;
pub mod kv;
pub mod memory;
mod migrate;
pub mod rocks;
pub mod rows;
pub mod txn;

use kv::{Batch, Durability, Family, Kv, Snapshot};
use rocks::{Opening, RocksKv};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rows' format. A store of an earlier one is brought to it, of any other refused.
///
/// - 2: the first that is known here.
/// - 3: late messages are listed by seq.
/// - 4: a row of the log may have no chunk (erased, or the mark of a retention), and a channel may
///   have a floor.
/// - 5: the row of an attachment says who stored it, and generations outlive windows that are dropped.
pub const FORMAT_VERSION: u32 = 5;

/// The folder, inside the folder of a store, in which a restore is made.
pub(crate) const RESTORING: &str = "restoring";

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
    /// A restore into the folder was cut off: what is there is no store.
    #[error(
        "a restore to {} was cut off, or is under way: run `backscroll restore` again",
        .0.display()
    )]
    Restoring(PathBuf),
    /// There is no store in the folder.
    #[error("there is no store in {}", .0.display())]
    Missing(PathBuf),
    /// The store is of another format.
    #[error(
        "the store has format {found}, this program reads formats {} to \
         {FORMAT_VERSION}: use the version of backscroll that wrote it, or export and import",
        migrate::OLDEST
    )]
    Format {
        /// What the store says.
        found: u32,
    },
    /// The files are damaged. What to do about it is the operator's choice.
    #[error(
        "the store in {} is damaged, and acknowledged messages may be behind the damage: restore a \
         backup (`backscroll restore`), or take the write-ahead log up to the damage with \
         `backscroll check --data DIR --recover-wal point-in-time`, which loses what came after",
        folder.display()
    )]
    DamagedFiles {
        /// The folder.
        folder: PathBuf,
        /// What the database says.
        #[source]
        source: rocksdb::Error,
    },
    /// The store has no files: it is in memory.
    #[error("the store has no files")]
    NoFiles,
    /// Reads that began before an erasure did not end: what they see is still in the files.
    #[error("reads that began before did not end in time: try again")]
    Readers,
    /// A checkpoint would keep what is being erased.
    #[error("messages are being erased: ask again when that is done")]
    Erasing,
    /// Erased rows may still be in the files: what should have rewritten them failed.
    #[error("the database failed to rewrite its files: its LOG file says why")]
    Rewriting,
    /// A repair was cut off: rows that follow from the log are missing.
    #[error(
        "a repair of the store was cut off: run `backscroll check --data DIR --repair` again, or \
         restore a backup"
    )]
    Repairing,
    /// A column family is not there.
    #[error("the store has no rows of kind {0}")]
    NoFamily(&'static str),
    /// A file does not give its rows back.
    #[error("rows of kind {family} cannot be read from the files")]
    Unreadable {
        /// The family's name.
        family: &'static str,
        /// What the database says.
        #[source]
        source: rocksdb::Error,
    },
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

    /// Rows of `family` are not read: for damage of its own, or because the disk fails.
    fn reading(family: Family, source: rocksdb::Error) -> Self {
        match source.kind() {
            rocksdb::ErrorKind::Corruption => Self::Unreadable { family: family.name(), source },
            _ => Self::Database(source),
        }
    }

    /// Whether rows are damaged, while the store goes on: others can be read and written.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Unreadable { .. })
    }

    /// RocksDB tells a held lock by its text only.
    fn opening(folder: &Path, error: rocksdb::Error) -> Self {
        let text = error.to_string();
        let locked = text.contains("lock hold by current process")
            || (text.contains("LOCK") && text.contains("Resource temporarily unavailable"));
        if locked {
            return Self::InUse(folder.to_owned());
        }
        match error.kind() {
            rocksdb::ErrorKind::Corruption => {
                Self::DamagedFiles { folder: folder.to_owned(), source: error }
            }
            _ => Self::Database(error),
        }
    }
}

impl Store {
    /// Opens the store in `folder`, or makes folder and store.
    ///
    /// # Errors
    /// The folder is in use or cannot be used, or the store has another format.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        if Self::is_being_restored(folder) {
            return Err(StoreError::Restoring(folder.to_owned()));
        }
        // Messages are for whoever the relay lets in: for no other user of the machine.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })?;
        Self::over(Arc::new(RocksKv::open(folder, Opening::Usual)?))
    }

    /// Opens the store in `folder`; it must be there.
    ///
    /// # Errors
    /// There is none, it is in use, or it has another format.
    pub fn open_existing(folder: &Path) -> Result<Self, StoreError> {
        Self::must_be_there(folder)?;
        Self::open(folder)
    }

    /// Opens the store in `folder` to read; it must be there, and nothing in it is changed.
    ///
    /// # Errors
    /// There is none, or it has another format.
    pub fn open_read_only(folder: &Path) -> Result<Self, StoreError> {
        Self::must_be_there(folder)?;
        let kv = RocksKv::open(folder, Opening::ReadOnly)?;
        let (format, epoch) = identity(&kv)?.ok_or(StoreError::Missing(folder.to_owned()))?;
        check_format(format)?;
        Self { kv: Arc::new(kv), epoch }.must_be_whole()
    }

    /// Opens the store in `folder` to repair it, though a repair of it was cut off; it must be there.
    ///
    /// # Errors
    /// There is none, it is in use, or it has another format.
    pub fn open_to_repair(folder: &Path) -> Result<Self, StoreError> {
        Self::must_be_there(folder)?;
        Self::over_any(Arc::new(RocksKv::open(folder, Opening::Usual)?))
    }

    /// Opens the store in `folder` though its write-ahead log is damaged: it is taken up to the
    /// damage. Seqs after it will be given again, so the store begins another epoch, and clients
    /// bring back their own messages that are lost.
    ///
    /// # Errors
    /// There is none, it is in use, more than the log is damaged, or it has another format.
    pub fn recover(folder: &Path) -> Result<Self, StoreError> {
        Self::must_be_there(folder)?;
        let mut store = Self::over_any(Arc::new(RocksKv::open(folder, Opening::UpToDamage)?))?;
        store.renew_epoch()?;
        Ok(store)
    }

    fn must_be_there(folder: &Path) -> Result<(), StoreError> {
        if Self::is_being_restored(folder) {
            return Err(StoreError::Restoring(folder.to_owned()));
        }
        let is_there = folder.join("CURRENT").is_file();
        if is_there { Ok(()) } else { Err(StoreError::Missing(folder.to_owned())) }
    }

    /// Whether a folder has what a restore left that is not done.
    pub(crate) fn is_being_restored(folder: &Path) -> bool {
        folder.join(RESTORING).is_dir() && !folder.join("CURRENT").is_file()
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
    /// It has another format, a repair of it was cut off, or it cannot be read or written.
    pub fn over(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        Self::over_any(kv)?.must_be_whole()
    }

    /// Whether a repair was begun and not finished.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_repairing(&self) -> Result<bool, StoreError> {
        Ok(self.snapshot().get(Family::Meta, keys::META_REPAIRING)?.is_some())
    }

    fn must_be_whole(self) -> Result<Self, StoreError> {
        if self.is_repairing()? { Err(StoreError::Repairing) } else { Ok(self) }
    }

    /// The store over `kv`, whether or not a repair of it was cut off.
    pub(crate) fn over_any(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        let Some((format, epoch)) = identity(&*kv)? else {
            let mut epoch = [0; 16];
            getrandom::fill(&mut epoch)?;
            let mut batch = Batch::new();
            put_format(&mut batch);
            batch.put(Family::Meta, keys::META_EPOCH.to_vec(), epoch.to_vec());
            kv.write(batch, Durability::Sync)?;
            return Ok(Self { kv, epoch });
        };
        check_format(format)?;
        if format != FORMAT_VERSION {
            migrate::migrate(&*kv, format)?;
            let mut batch = Batch::new();
            put_format(&mut batch);
            kv.write(batch, Durability::Sync)?;
        }
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

/// Format and epoch of a store; `None` if it is empty.
fn identity(kv: &dyn Kv) -> Result<Option<(u32, [u8; 16])>, StoreError> {
    let damaged = |what| StoreError::damaged(Family::Meta, what);
    let snapshot = kv.snapshot();
    let Some(format) = snapshot.get(Family::Meta, keys::META_FORMAT)? else { return Ok(None) };
    let format = format.try_into().map(u32::from_be_bytes).map_err(|_| damaged("format"))?;
    // Of a format that is not known nothing else is.
    check_format(format)?;
    let epoch = snapshot.get(Family::Meta, keys::META_EPOCH)?;
    let epoch = epoch.and_then(|epoch| epoch.try_into().ok()).ok_or_else(|| damaged("epoch"))?;
    Ok(Some((format, epoch)))
}

fn check_format(found: u32) -> Result<(), StoreError> {
    let is_known = (migrate::OLDEST..=FORMAT_VERSION).contains(&found);
    if is_known { Ok(()) } else { Err(StoreError::Format { found }) }
}

fn put_format(batch: &mut Batch) {
    let format = FORMAT_VERSION.to_be_bytes();
    batch.put(Family::Meta, keys::META_FORMAT.to_vec(), format.to_vec());
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

    fn set_format(kv: &dyn Kv, format: u32) {
        let mut batch = Batch::new();
        batch.put(Family::Meta, keys::META_FORMAT.to_vec(), format.to_be_bytes().to_vec());
        kv.write(batch, Durability::Sync).unwrap();
    }

    #[test]
    fn an_unknown_format_is_refused_with_a_clear_text() {
        for format in [1, FORMAT_VERSION + 1] {
            let kv = Arc::new(memory::MemoryKv::default());
            drop(Store::over(kv.clone()).unwrap());
            set_format(&*kv, format);
            let text = Store::over(kv).unwrap_err().to_string();
            let expected = format!("the store has format {format}, this program reads formats 2");
            assert!(text.starts_with(&expected), "{text}");
        }
    }

    #[test]
    fn an_earlier_format_is_taken_over_and_keeps_its_epoch() {
        let kv = Arc::new(memory::MemoryKv::default());
        let epoch = Store::over(kv.clone()).unwrap().epoch();
        set_format(&*kv, 2);
        assert_eq!(Store::over(kv.clone()).unwrap().epoch(), epoch);
        assert_eq!(identity(&*kv).unwrap(), Some((FORMAT_VERSION, epoch)));
    }

    #[test]
    fn reading_only_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        set_format(store.kv(), 2);
        let epoch = store.epoch();
        drop(store);
        let store = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(identity(store.kv()).unwrap(), Some((2, epoch)));
        assert!(store.kv().write(Batch::new(), Durability::Sync).is_err());
    }

    #[test]
    fn a_folder_without_a_store_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open_existing(folder.path()), Err(StoreError::Missing(_))));
    }
}
