//! Backup and restore: a copy of a store's files as of one moment, verified before it is in its place.
//!
//! A checkpoint links the tables of a store into a folder beside them, which takes milliseconds and
//! may happen while the store is written to; what is copied from there has its own bytes. A copy is
//! made under another name, synced, opened and read whole, and only then renamed: a folder with the
//! name of a backup is one. A restore is made inside the folder that it is for, which may be what is
//! mounted: in `restoring`, whose files move up, the one that says that it is a store last. Cut off
//! anywhere before that, the folder is no store, none is opened or made in it, and the next restore
//! begins anew. Behind `backscroll backup` and `backscroll restore`.

use crate::check::{self, Problem};
use crate::reader::ReadError;
use crate::store::{RESTORING, Store, StoreError};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tokio::sync::OwnedRwLockReadGuard;

/// What the folders of checkpoints start with, inside the folder of their store.
const CHECKPOINT_PREFIX: &str = "checkpoint-";

/// Why there is no backup, or no restored store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// What is to be written is there.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The backup lies in the folder that it is to be restored to.
    #[error("the backup {} lies in {}, which has to be empty", from.display(), data.display())]
    Inside {
        /// The backup.
        from: PathBuf,
        /// The folder.
        data: PathBuf,
    },
    /// Another process is restoring to the same folder.
    #[error("another restore to {} is under way", .0.display())]
    UnderWay(PathBuf),
    /// A file or a folder cannot be read or written.
    #[error("cannot copy to {}", path.display())]
    Copy {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy cannot be read.
    #[error("the copy cannot be read")]
    Read(#[from] ReadError),
    /// The copy does not agree with itself.
    #[error("the copy is damaged, and not kept: {first} ({count} problems)")]
    Damaged {
        /// The first problem.
        first: Problem,
        /// How many there are.
        count: usize,
    },
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the files are copied.
    Copying {
        /// Bytes so far.
        done: u64,
        /// Bytes of all files.
        of: u64,
    },
    /// Rows of the copy are read.
    Verifying {
        /// Rows so far.
        done: u64,
    },
}

/// A store's files as of one moment, inside its folder; removed when this is dropped.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    /// Given back when the folder is gone: an erasure waits for that.
    held: Option<OwnedRwLockReadGuard<()>>,
}

impl Checkpoint {
    /// Makes a checkpoint of `store`, whose folder is `data`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(store: &Store, data: &Path) -> Result<Self, StoreError> {
        let folder = data.join(with_random(OsStr::new(CHECKPOINT_PREFIX))?);
        // From now on whatever there is of it is removed.
        let this = Self { folder, held: None };
        store.kv().checkpoint(&this.folder)?;
        Ok(this)
    }

    /// Keeps a lock for as long as it is there.
    pub(crate) fn holding(self, lock: OwnedRwLockReadGuard<()>) -> Self {
        let mut this = self;
        this.held = Some(lock);
        this
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %self.folder.display(), "a checkpoint stays");
        }
    }
}

/// Removes checkpoints that a process which was killed left in `data`, and the empty folder of a
/// restore that was killed when it was done. The store must be open here.
pub fn remove_stale_checkpoints(data: &Path) {
    // One that is not there, or not empty, is not removed.
    let _ = fs::remove_dir(data.join(RESTORING));
    let Ok(entries) = fs::read_dir(data) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(CHECKPOINT_PREFIX.as_bytes()) {
            drop(Checkpoint { folder: entry.path(), held: None });
        }
    }
}

/// Copies the files of a checkpoint to `to`, verified and in place when this returns.
///
/// # Errors
/// `to` exists, the files cannot be copied, or the copy is damaged; then there is no `to`.
///
/// # Complexity
/// O(bytes of the store), twice: they are copied, then read.
pub fn copy(from: &Path, to: &Path, mut progress: impl FnMut(Step)) -> Result<(), BackupError> {
    let partial = Partial::begin(to)?;
    fill(from, &partial.folder, &mut progress)?;
    verify(&Store::open_read_only(&partial.folder)?, &mut progress)?;
    partial.put_in_place()
}

/// Makes a store of the backup `from` in `data`, which must not exist or be empty, or hold what a
/// restore left that was cut off: that is removed. The store begins another epoch: what clients have
/// of the history after the backup is void, and each pushes again its own messages that it lacks.
///
/// # Errors
/// There is something in `data`, the files cannot be copied, or the backup is damaged.
///
/// # Complexity
/// O(bytes of the store), twice: they are copied, then read.
pub fn restore(
    from: &Path,
    data: &Path,
    mut progress: impl FnMut(Step),
) -> Result<[u8; 16], BackupError> {
    if !from.join("CURRENT").is_file() {
        return Err(StoreError::Missing(from.to_owned()).into());
    }
    // What a restore left that was cut off is removed: the backup must not be in it.
    if let (Ok(from), Ok(data)) = (from.canonicalize(), data.canonicalize())
        && from.starts_with(&data)
        && !data.join(LAST).exists()
    {
        return Err(BackupError::Inside { from, data });
    }
    let restoring = Restoring::begin(data)?;
    fill(from, &restoring.folder, &mut progress)?;
    // Of an earlier format it is taken over, which opening it to read would not do.
    let mut store = Store::open_existing(&restoring.folder)?;
    verify(&store, &mut progress)?;
    store.renew_epoch()?;
    let epoch = store.epoch();
    drop(store);
    restoring.put_in_place()?;
    Ok(epoch)
}

/// Copies all files of a folder, and waits until they are on disk.
fn fill(from: &Path, folder: &Path, progress: &mut impl FnMut(Step)) -> Result<(), BackupError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from).map_err(|source| failed(from, source))? {
        let entry = entry.map_err(|source| failed(from, source))?;
        let facts = entry.metadata().map_err(|source| failed(&entry.path(), source))?;
        // A relay's socket, an import's or another checkpoint's folder are no part of a store.
        if facts.is_file() && entry.file_name() != "LOCK" {
            files.push((entry.file_name(), facts.len()));
        }
    }
    let of = files.iter().map(|(_, len)| len).sum();
    let mut done = 0;
    for (name, len) in files {
        let to = folder.join(&name);
        copy_file(&from.join(&name), &to).map_err(|source| failed(&to, source))?;
        done += len;
        progress(Step::Copying { done, of });
    }
    sync_folder(folder).map_err(|source| failed(folder, source))
}

/// A copy that is not in place; removed when this is dropped before.
#[derive(Debug)]
struct Partial<'a> {
    folder: PathBuf,
    to: &'a Path,
}

impl<'a> Partial<'a> {
    fn begin(to: &'a Path) -> Result<Self, BackupError> {
        if to.exists() {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".partial-");
        let folder = to.with_file_name(with_random(&name)?);
        make_folder(&folder)?;
        Ok(Self { folder, to })
    }

    fn put_in_place(self) -> Result<(), BackupError> {
        let in_place = || {
            fs::rename(&self.folder, self.to)?;
            sync_folder(parent_of(self.to))
        };
        in_place().map_err(|source| failed(self.to, source))
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // After the rename there is none.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What makes a folder a store.
const LAST: &str = "CURRENT";

/// A restore that is not done: all of it is removed when this is dropped before.
#[derive(Debug)]
struct Restoring<'a> {
    data: &'a Path,
    /// Inside `data`, which may be another file system than what is around it.
    folder: PathBuf,
    /// Whether `data` was made for it.
    is_made: bool,
    is_done: bool,
    /// Locked: one restores at a time.
    _lock: File,
}

impl<'a> Restoring<'a> {
    fn begin(data: &'a Path) -> Result<Self, BackupError> {
        let is_made = !data.exists();
        let is_free = is_made
            || (Store::is_being_restored(data) && has_no_other_folder(data))
            || fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_none());
        if !is_free {
            return Err(BackupError::Exists(data.to_owned()));
        }
        let folder = data.join(RESTORING);
        make_folder(&folder)?;
        let lock = File::open(&folder).map_err(|source| failed(&folder, source))?;
        // A file system without locks has to do without.
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(BackupError::UnderWay(data.to_owned()));
        }
        // Another may have ended between the look and the lock.
        if data.join(LAST).exists() {
            return Err(BackupError::Exists(data.to_owned()));
        }
        let this = Self { data, folder, is_made, is_done: false, _lock: lock };
        // Before anything is in it, it must be known for what it is.
        let sync = || {
            this.clear()?;
            sync_folder(data)?;
            sync_folder(parent_of(data))
        };
        sync().map_err(|source| failed(data, source))?;
        Ok(this)
    }

    /// Removes what is there, but for the folder that tells that this is no store.
    fn clear(&self) -> io::Result<()> {
        for folder in [self.data, &self.folder] {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path == self.folder {
                    continue;
                }
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }?;
            }
        }
        Ok(())
    }

    /// Moves the files up into the folder around them. Without the last there is no store.
    fn put_in_place(mut self) -> Result<(), BackupError> {
        let move_up = || {
            for entry in fs::read_dir(&self.folder)? {
                let name = entry?.file_name();
                if name != LAST {
                    fs::rename(self.folder.join(&name), self.data.join(&name))?;
                }
            }
            sync_folder(self.data)?;
            fs::rename(self.folder.join(LAST), self.data.join(LAST))?;
            sync_folder(self.data)
        };
        move_up().map_err(|source| failed(self.data, source))?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Restoring<'_> {
    fn drop(&mut self) {
        // Whatever stays tells what it is.
        if self.is_done || self.clear().is_ok() {
            let _ = fs::remove_dir(&self.folder);
        }
        if self.is_made && !self.is_done {
            let _ = fs::remove_dir(self.data);
        }
    }
}

/// Whether a folder may be what a restore left that was cut off: that has files, and one folder.
fn has_no_other_folder(data: &Path) -> bool {
    let is_its = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.file_name() == RESTORING || entry.file_type().is_ok_and(|kind| kind.is_file())
        })
    };
    fs::read_dir(data).is_ok_and(|mut entries| entries.all(is_its))
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| failed(folder, source))
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(".".as_ref())
}

/// Reads all of a copy.
fn verify(store: &Store, progress: &mut impl FnMut(Step)) -> Result<(), BackupError> {
    let problems = check::quick(store, |done| progress(Step::Verifying { done }))?;
    let count = problems.len();
    match problems.into_iter().next() {
        Some(first) => Err(BackupError::Damaged { first, count }),
        None => Ok(()),
    }
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::Copy { path: path.to_owned(), source }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A name that is in no use.
fn with_random(prefix: &OsStr) -> Result<OsString, StoreError> {
    let mut bits = [0; 8];
    getrandom::fill(&mut bits)?;
    let mut name = prefix.to_owned();
    name.push(format!("{:016x}", u64::from_be_bytes(bits)));
    Ok(name)
}

#[cfg(test)]
mod tests;
