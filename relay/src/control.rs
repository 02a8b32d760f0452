//! The socket in a store's folder by which commands ask the relay that has it open.
//!
//! One relay has a store's lock, and some work needs the store: a checkpoint to back up, an erasure.
//! Whoever may write to the folder may connect; there is no other access to it, and none over the
//! network.
//! One JSON object a line:
//! ```text
//!   {"command":"checkpoint"} ------>
//!   <------ {"event":"checkpoint","folder":"..."}     removed when the connection ends
//!   {"command":"erase","channel":"c","ids":["..."]} ->
//!   <------ {"event":"progress","done":10}
//!   <------ {"event":"erased","erased":10,"before":0,"missing":[]}
//!   {"command":"erase_blobs","blobs":["..."]} ------>
//!   <------ {"event":"erased_blobs","erased":1,"bytes":5000,"missing":[]}
//!   <------ {"event":"error","text":"..."}            instead of any answer
//! ```

use crate::backup::Checkpoint;
use crate::blob_hash::BlobHash;
use crate::commit::chain;
use crate::engine::{Engine, Erased, ErasedBlobs};
use backscroll_core::message::MessageId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

const SOCKET: &str = "control.sock";

/// Longest request, in bytes: room for 100,000 ids.
const REQUEST_BYTES_MAX: u64 = 4 << 20;

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Longest path that a socket's address has room for, less one.
const PATH_BYTES_MAX: usize = 107;

/// What is asked of the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Make a checkpoint and keep it while the connection is open.
    Checkpoint,
    /// Erase messages for good.
    Erase {
        /// The channel.
        channel: String,
        /// The messages.
        ids: BTreeSet<MessageId>,
    },
    /// Erase attachments for good.
    EraseBlobs {
        /// Their hashes.
        blobs: BTreeSet<BlobHash>,
    },
}

/// What the relay answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Answer {
    /// Where the checkpoint is.
    Checkpoint {
        /// Its folder.
        folder: PathBuf,
    },
    /// How much is done; more follows.
    Progress {
        /// Messages so far.
        done: u64,
    },
    /// The messages are erased, and their bytes purged.
    Erased {
        /// Messages that were erased.
        erased: u64,
        /// Messages that had been erased before.
        before: u64,
        /// Ids that the channel does not have.
        missing: Vec<MessageId>,
    },
    /// The attachments are erased, and their bytes purged.
    ErasedBlobs {
        /// Attachments that were erased.
        erased: u64,
        /// Their bytes.
        bytes: u64,
        /// Those that the store does not have.
        missing: Vec<BlobHash>,
    },
    /// It is not done.
    Error {
        /// Why, for people.
        text: String,
    },
}

/// Why the relay does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens, or the connection broke.
    #[error("the relay that uses {} cannot be asked", data.display())]
    Connect {
        /// The store's folder.
        data: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The relay refuses.
    #[error("the relay refuses: {0}")]
    Refused(String),
    /// The relay is of another version.
    #[error("the relay's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// The socket's address. One that is too long for it goes by way of the open folder.
fn address(data: &Path) -> io::Result<(PathBuf, File)> {
    let folder = File::open(data)?;
    let path = data.join(SOCKET);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((path, folder));
    }
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())), folder))
}

/// Listens in the folder of a store that is open here.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn listen(data: &Path) -> io::Result<UnixListener> {
    let (path, _folder) = address(data)?;
    // The store's lock is ours: nobody listens on what is there.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes the socket out of the folder of a store that is still open here: a copy of the folder is to
/// have files only.
pub(crate) fn remove(data: &Path) {
    // Whoever listens next removes what is left.
    let _ = fs::remove_file(data.join(SOCKET));
}

/// Serves commands until it is dropped.
pub(crate) async fn serve(listener: UnixListener, engine: Engine, data: PathBuf) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_one(stream, engine.clone(), data.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a command cannot be taken");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(stream: tokio::net::UnixStream, engine: Engine, data: PathBuf) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = tokio::io::BufReader::new(reading.take(REQUEST_BYTES_MAX));
    let mut line = String::new();
    if reading.read_line(&mut line).await.is_err() {
        return;
    }
    let (answers, mut answered) = mpsc::channel(16);
    // Held until the command's end of the connection is closed.
    let (keep, kept) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let checkpoint = carry_out(&line, &engine, &data, &answers);
        drop((answers, engine));
        // It returns when the other end goes, whichever way.
        let _ = kept.blocking_recv() as Result<(), _>;
        drop(checkpoint);
    });
    while let Some(answer) = answered.recv().await {
        let mut text = serde_json::to_string(&answer).unwrap_or_default();
        text.push('\n');
        if writing.write_all(text.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut rest = [0; 1];
    let _ = reading.read(&mut rest).await;
    drop(keep);
}

/// Does what is asked; a checkpoint is to be kept until it is copied.
fn carry_out(
    line: &str,
    engine: &Engine,
    data: &Path,
    answers: &mpsc::Sender<Answer>,
) -> Option<Checkpoint> {
    // Whoever asked may have gone: then nobody minds.
    let tell = |answer| drop(answers.blocking_send(answer));
    let fail = |error: &dyn std::error::Error| tell(Answer::Error { text: chain(error) });
    match serde_json::from_str(line) {
        Err(error) => fail(&error),
        Ok(Request::Checkpoint) => match engine.checkpoint(data) {
            Ok(checkpoint) => {
                tracing::info!("a checkpoint was made, to be backed up");
                tell(Answer::Checkpoint { folder: checkpoint.folder().to_owned() });
                return Some(checkpoint);
            }
            Err(error) => fail(&error),
        },
        Ok(Request::Erase { channel, ids }) => {
            let progress = |done| tell(Answer::Progress { done });
            match engine.erase(&channel, &ids, progress) {
                Ok(Erased { erased, before, missing }) => {
                    tracing::info!(erased, before, missing = missing.len(), "messages erased");
                    tell(Answer::Erased { erased, before, missing });
                }
                Err(error) => fail(&error),
            }
        }
        Ok(Request::EraseBlobs { blobs }) => match engine.erase_blobs(&blobs) {
            Ok(ErasedBlobs { erased, bytes, missing }) => {
                tracing::info!(erased, bytes, missing = missing.len(), "attachments erased");
                tell(Answer::ErasedBlobs { erased, bytes, missing });
            }
            Err(error) => fail(&error),
        },
    }
    None
}

/// A connection to the relay that has a store open.
#[derive(Debug)]
pub struct Connection {
    data: PathBuf,
    stream: BufReader<io::Take<UnixStream>>,
}

impl Connection {
    /// Asks the relay that has the store in `data` open.
    ///
    /// # Errors
    /// No relay listens there.
    pub fn ask(data: &Path, request: &Request) -> Result<Self, ControlError> {
        let ask = || -> io::Result<UnixStream> {
            let (path, _folder) = address(data)?;
            let mut stream = UnixStream::connect(path)?;
            let mut line = serde_json::to_string(request)?;
            line.push('\n');
            stream.write_all(line.as_bytes())?;
            Ok(stream)
        };
        let stream = ask().map_err(|source| broken(data, source))?;
        let stream = BufReader::new(stream.take(ANSWER_BYTES_MAX));
        Ok(Self { data: data.to_owned(), stream })
    }

    /// The next answer.
    ///
    /// # Errors
    /// The relay refuses, or is gone.
    pub fn answer(&mut self) -> Result<Answer, ControlError> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).map_err(|source| broken(&self.data, source))?;
        if read == 0 {
            let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(broken(&self.data, ended));
        }
        match serde_json::from_str(&line).map_err(ControlError::Answer)? {
            Answer::Error { text } => Err(ControlError::Refused(text)),
            answer => Ok(answer),
        }
    }
}

fn broken(data: &Path, source: io::Error) -> ControlError {
    ControlError::Connect { data: data.to_owned(), source }
}
