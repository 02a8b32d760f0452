//! Erases messages through the writer, window by window, then purges their bytes from the files.
//!
//! Blocks: use it from blocking threads.

use super::{Engine, Unavailable};
use crate::backup::Checkpoint;
use crate::blob_hash::BlobHash;
use crate::commit::Refusal;
use crate::commit::erase::{Erase, ErasedWindow};
use crate::commit::thread::{Queue, Queued};
use crate::commit::writer::Command;
use crate::reader::ReadError;
use crate::store::StoreError;
use crate::store::keys::KeyRange;
use crate::store::kv::Family;
use backscroll_core::change::ActorId16;
use backscroll_core::limits::CHANGE_OPS_MAX;
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokio::sync::oneshot;

/// What an erasure did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Messages that were erased.
    pub erased: u64,
    /// Messages that were erased before; their bytes are purged all the same.
    pub before: u64,
    /// Ids that the channel does not have.
    pub missing: Vec<MessageId>,
}

/// Why messages are not erased, or not purged. What was erased before stays so; again is no harm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// The writer takes nothing (more).
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A checkpoint, of a backup that is being made, keeps the files as they are; or others are erased.
    #[error(
        "a backup is being made, or messages are being erased: nothing is erased, ask again when \
         that is done"
    )]
    Busy,
    /// A window cannot be rewritten.
    #[error("window {window} cannot be rewritten: {}", refusal.text)]
    Refused {
        /// The window.
        window: Window,
        /// Why.
        refusal: Refusal,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An attachment cannot be erased now.
    #[error("attachment {blob} cannot be erased: {}", refusal.text)]
    Attachment {
        /// Its hash.
        blob: BlobHash,
        /// Why.
        refusal: Refusal,
    },
    /// What stays of attachments and saved documents is written anew, which takes room.
    #[error(
        "nothing is erased: what stays is written anew, which takes {needed} bytes, and the disk has \
         {free}"
    )]
    NoRoom {
        /// What it takes at most.
        needed: u64,
        /// What the disk has.
        free: u64,
    },
    /// The bytes cannot be purged from the files.
    #[error("what is erased is not purged from the files yet: erase it again")]
    Purge(#[source] StoreError),
    /// No randomness for the new documents.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
}

/// Messages by the window that holds them, and those that none holds.
type Places = (BTreeMap<Window, Vec<MessageId>>, Vec<MessageId>);

impl Engine {
    /// Erases messages of a channel for good: rows, changes and documents hold nothing of them but
    /// id, sender and a tombstone when this returns, and neither does any file of the store.
    /// `progress` is told how many of `ids` are done, before they are purged.
    ///
    /// # Errors
    /// A backup is being made, the store fails, a window is damaged, or a read that began before does
    /// not end.
    ///
    /// # Complexity
    /// A few milliseconds of the writer for each window concerned, then rewriting the tables that
    /// hold these windows and all saved documents.
    pub fn erase(
        &self,
        channel: &str,
        ids: &BTreeSet<MessageId>,
        mut progress: impl FnMut(u64),
    ) -> Result<Erased, EraseError> {
        // No checkpoint is made until it is purged.
        let _alone = self.inner.files.try_write().map_err(|_| EraseError::Busy)?;
        let (windows, missing) = self.windows_of(channel, ids)?;
        let mut outcome = Erased { missing, ..Erased::default() };
        let (mut ranges, mut done) = (Vec::new(), 0);
        for (window, ids) in windows {
            for some in ids.chunks(CHANGE_OPS_MAX) {
                let erased = self.erase_some(channel, window, some)?;
                outcome.erased += erased.erased;
                done += some.len() as u64;
                progress(done);
                ranges.extend(erased.ranges);
            }
        }
        outcome.before = done - outcome.erased;
        if !ranges.is_empty() {
            self.purge(ranges)?;
        }
        Ok(outcome)
    }

    /// Makes a checkpoint of the store, whose folder is `data`. While it is there nothing is erased.
    ///
    /// # Errors
    /// Messages are being erased, or it cannot be made.
    pub fn checkpoint(&self, data: &Path) -> Result<Checkpoint, StoreError> {
        let held = self.inner.files.clone().try_read_owned().map_err(|_| StoreError::Erasing)?;
        Ok(Checkpoint::make(&self.inner.store, data)?.holding(held))
    }

    /// The windows that hold the messages, and the ids that none holds.
    fn windows_of(&self, channel: &str, ids: &BTreeSet<MessageId>) -> Result<Places, EraseError> {
        let reader = self.reader();
        let view = reader.view();
        let (mut windows, mut missing) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for id in ids {
            match view.window_of(channel, *id)? {
                Some(window) => windows.entry(window).or_default().push(*id),
                None => missing.push(*id),
            }
        }
        Ok((windows, missing))
    }

    fn erase_some(
        &self,
        channel: &str,
        window: Window,
        ids: &[MessageId],
    ) -> Result<ErasedWindow, EraseError> {
        let mut actors = [ActorId16([0; 16]); 2];
        for actor in &mut actors {
            getrandom::fill(&mut actor.0)?;
        }
        let (channel, ids) = (channel.to_owned(), ids.iter().copied().collect());
        let erase = Box::new(Erase { channel, window, ids, actors });
        let (reply, answer) = oneshot::channel();
        let command = Command::Erase { erase, reply };
        let queued = Queued { command, bytes: 0, permit: None };
        self.inner.queue.blocking_send(Queue::Do(queued)).map_err(|_| Unavailable)?;
        let erased = answer.blocking_recv().map_err(|_| Unavailable)?;
        erased.map_err(|refusal| EraseError::Refused { window, refusal })
    }

    /// Purges what was erased, each family's ranges joined where they lie together.
    pub(super) fn purge(&self, mut ranges: Vec<(Family, KeyRange)>) -> Result<(), EraseError> {
        ranges.sort_by(|a, b| (a.0, &a.1.start).cmp(&(b.0, &b.1.start)));
        let mut joined: Vec<(Family, KeyRange)> = Vec::new();
        for (family, range) in ranges {
            match joined.last_mut() {
                // All saved documents are rewritten anyhow.
                Some((last, _)) if *last == family && family == Family::Docs => {}
                Some((last, whole)) if *last == family && whole.end >= range.start => {
                    whole.end = std::mem::take(&mut whole.end).max(range.end);
                }
                _ => joined.push((family, range)),
            }
        }
        self.inner.store.kv().purge(&joined).map_err(EraseError::Purge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::{NewMessage, Nobody, SendRequest};
    use crate::store::Store;
    use crate::store::rocks::RocksKv;
    use backscroll_core::message::Content;
    use std::sync::Arc;

    const MARKER: &str = "zqXkWjVvPpTtzqXkWjVvPpTt";

    /// How many files of a folder hold a text.
    fn files_with(folder: &Path, text: &str) -> usize {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let holds = |path: &std::path::PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        };
        files.filter(|path| path.is_file()).filter(holds).count()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn erased_bytes_leave_tables_and_logs_while_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Arc::new(RocksKv::open_uncompressed(folder.path()).unwrap());
        let engine = Engine::start(Store::over(kv).unwrap(), Arc::new(Nobody)).unwrap();
        let mut ids = Vec::new();
        for text in ["first stays", MARKER, "third stays"] {
            let content = Content::text("ada", text);
            let message = NewMessage { id: None, sent_at: None, content };
            let send = SendRequest { channel: "c".to_owned(), message, idempotency: None };
            ids.push(engine.send(send).await.unwrap().id);
        }
        let erasing = engine.clone();
        let erase = move || {
            let kv = erasing.store().kv();
            let path = folder.path();
            assert!(files_with(path, MARKER) > 0, "in the log");
            kv.purge(&[]).unwrap();
            assert!(files_with(path, MARKER) > 1, "in the tables of log and index");
            let ids = BTreeSet::from([ids[1]]);
            // A checkpoint would keep what is erased.
            let checkpoint = erasing.checkpoint(path).unwrap();
            assert!(files_with(checkpoint.folder(), MARKER) > 0);
            assert!(matches!(erasing.erase("c", &ids, |_| {}), Err(EraseError::Busy)));
            drop(checkpoint);
            let erased = erasing.erase("c", &ids, |_| {}).unwrap();
            assert_eq!(erased, Erased { erased: 1, ..Erased::default() });
            assert_eq!(files_with(path, MARKER), 0);
            assert!(files_with(path, "first stays") > 0 && files_with(path, "third stays") > 0);
            let again = erasing.erase("c", &ids, |_| {}).unwrap();
            assert_eq!(again, Erased { before: 1, ..Erased::default() });
            erasing.shutdown();
        };
        tokio::task::spawn_blocking(erase).await.unwrap();
    }
}
