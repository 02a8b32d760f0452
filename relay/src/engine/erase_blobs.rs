//! Erases attachments through the writer, then purges their bytes from the files.
//!
//! Blocks: use it from blocking threads.

use super::{Engine, EraseError, Unavailable};
use crate::blob_hash::BlobHash;
use crate::commit::thread::{Queue, Queued};
use crate::commit::writer::Command;
use crate::store::keys;
use crate::store::kv::Family;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// What an erasure of attachments did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasedBlobs {
    /// Attachments that were erased.
    pub erased: u64,
    /// Their bytes; they are given back to the quotas of those who stored them.
    pub bytes: u64,
    /// Those that the store does not have.
    pub missing: Vec<BlobHash>,
}

impl Engine {
    /// Erases attachments for good: no file of the store has their bytes when this returns. The same
    /// may be stored again. Messages that name them stay as they are.
    ///
    /// # Errors
    /// A backup is being made, the disk has no room to rewrite all attachments, one of them is being
    /// stored, the store fails, or a read that began before does not end.
    ///
    /// # Complexity
    /// O(bytes of all attachments): what stays is rewritten.
    pub fn erase_blobs(&self, blobs: &BTreeSet<BlobHash>) -> Result<ErasedBlobs, EraseError> {
        // No checkpoint is made until it is purged.
        let _alone = self.inner.files.try_write().map_err(|_| EraseError::Busy)?;
        let figures = self.figures();
        let needed = figures.blob_bytes;
        if let Some(free) = figures.free_bytes
            && needed > free
        {
            return Err(EraseError::NoRoom { needed, free });
        }
        let mut outcome = ErasedBlobs::default();
        let mut failed = None;
        for blob in blobs {
            match self.erase_blob(*blob) {
                Ok(Some(bytes)) => {
                    outcome.erased += 1;
                    outcome.bytes += bytes;
                }
                Ok(None) => outcome.missing.push(*blob),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Also of those that are missing: they may have been erased before, and not purged.
        self.purge(vec![(Family::Blobs, keys::everything())])?;
        failed.map_or(Ok(outcome), Err)
    }

    fn erase_blob(&self, blob: BlobHash) -> Result<Option<u64>, EraseError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::BlobErase { sha256: blob.0, reply };
        let queued = Queued { command, bytes: 0, permit: None };
        self.inner.queue.blocking_send(Queue::Do(queued)).map_err(|_| Unavailable)?;
        let erased = answer.blocking_recv().map_err(|_| Unavailable)?;
        erased.map_err(|refusal| EraseError::Attachment { blob, refusal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::commit::{NewBlob, Nobody};
    use crate::store::Store;
    use sha2::{Digest, Sha256};
    use std::path::Path;
    use std::sync::Arc;

    /// Bytes that begin and end with a text.
    fn blob(text: &str, len: usize) -> NewBlob {
        let mut bytes = vec![b'.'; len];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes[len - text.len()..].copy_from_slice(text.as_bytes());
        NewBlob {
            sha256: Sha256::digest(&bytes).into(),
            media_type: "image/png".to_owned(),
            bytes: bytes.into(),
            user: "ada".to_owned(),
            quota_bytes: 1_000_000,
        }
    }

    fn is_in_files(folder: &Path, text: &str) -> bool {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).any(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_erased_attachment_is_in_no_file_and_may_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start(Store::open(folder.path()).unwrap(), Arc::new(Nobody)).unwrap();
        // Of several parts, and of so few bytes that it lies in the tables.
        let gone = [blob("zqXkWjVvPpTtLarge", 600_000), blob("zqXkWjVvPpTtSmall", 300)];
        let stays = blob("this one stays where it is", 300_000);
        for blob in gone.iter().chain([&stays]) {
            assert_eq!(engine.put_blob(blob.clone()).await, Ok(true));
        }
        let full = blob("too much", 200_000);
        assert!(engine.put_blob(full.clone()).await.is_err(), "the quota is used up");
        let (erasing, path) = (engine.clone(), folder.path().to_owned());
        let names: BTreeSet<_> = gone.iter().map(|blob| BlobHash(blob.sha256)).collect();
        let none = BlobHash([7; 32]);
        let erase = move || {
            for text in ["zqXkWjVvPpTtLarge", "zqXkWjVvPpTtSmall"] {
                assert!(is_in_files(&path, text), "the search finds what is there");
            }
            erasing.store().kv().purge(&[(Family::Blobs, keys::everything())]).unwrap();
            for text in ["zqXkWjVvPpTtLarge", "zqXkWjVvPpTtSmall"] {
                assert!(is_in_files(&path, text), "also in the tables");
            }
            let asked = names.iter().copied().chain([none]).collect();
            let erased = erasing.erase_blobs(&asked).unwrap();
            let missing = vec![none];
            assert_eq!(erased, ErasedBlobs { erased: 2, bytes: 600_300, missing });
            assert!(!is_in_files(&path, "zqXkWjVvPpTt"));
            assert!(is_in_files(&path, "this one stays where it is"));
            let again = erasing.erase_blobs(&names).unwrap();
            assert_eq!((again.erased, again.missing.len()), (0, 2));
        };
        tokio::task::spawn_blocking(erase).await.unwrap();
        let rows_of = |blob: &NewBlob| engine.reader().view().blob(&blob.sha256).unwrap();
        assert!(gone.iter().all(|blob| rows_of(blob).is_none()) && rows_of(&stays).is_some());
        for blob in gone.iter().chain([&full]) {
            let is_taken = engine.put_blob(blob.clone()).await;
            assert_eq!(is_taken.is_ok(), blob.sha256 != full.sha256, "{is_taken:?}");
        }
        let stopping = engine.clone();
        tokio::task::spawn_blocking(move || stopping.shutdown()).await.unwrap();
        assert_eq!(check::verify(engine.store(), |_| {}).unwrap(), []);
    }
}
