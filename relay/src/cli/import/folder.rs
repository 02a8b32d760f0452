//! A folder of segment documents, as export writes them or as any Automerge made of them.
//!
//! Such a document may hold changes of any shape, so what counts is its state: messages and
//! annotations are read from it and authored anew, into the window that the file is named for.
#![allow(clippy::result_large_err, reason = "such an error ends the import: it is made once")]

use backscroll_core::annotation::{AnnotationKey, AnnotationValue};
use backscroll_core::change::DocKind;
use backscroll_core::message::{BodyError, Content, MessageId};
use backscroll_core::segment::{SegmentDoc, SegmentError};
use backscroll_core::window::{Window, WindowError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files of one window.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WindowFiles {
    messages: Option<PathBuf>,
    annotations: Option<PathBuf>,
}

/// What the documents of one window say.
#[derive(Debug, Default)]
pub(super) struct WindowState {
    /// Messages, oldest first.
    pub(super) messages: Vec<(MessageId, Vec<u8>)>,
    /// The winning value of each annotation.
    pub(super) annotations: Vec<(AnnotationKey, AnnotationValue)>,
}

/// Why a folder is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FolderError {
    /// A file or the folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file's name is not that of a window.
    #[error("{} is not named <level>-<start>.automerge", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with the name.
        #[source]
        source: WindowError,
    },
    /// A file is no document of its window.
    #[error("{} is no document of its window", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SegmentError,
    },
    /// A message in a document is malformed.
    #[error("{} holds a malformed message, {id}", path.display())]
    Message {
        /// The file.
        path: PathBuf,
        /// The message.
        id: MessageId,
        /// Why.
        #[source]
        source: BodyError,
    },
    /// Nothing to import.
    #[error("{} holds no .automerge files", .0.display())]
    Empty(PathBuf),
}

/// The documents in `folder`, by window. Files of other kinds are passed over.
///
/// # Errors
/// The folder cannot be read, or an `.automerge` file is named for no window.
pub(super) fn list(folder: &Path) -> Result<BTreeMap<Window, WindowFiles>, FolderError> {
    let failed = |source| FolderError::Read { path: folder.to_owned(), source };
    let mut windows: BTreeMap<Window, WindowFiles> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".automerge") else { continue };
        let (window, of_annotations) = match stem.strip_suffix(".annotations") {
            Some(window) => (window, true),
            None => (stem, false),
        };
        let window =
            window.parse().map_err(|source| FolderError::Name { path: path.clone(), source })?;
        let files = windows.entry(window).or_default();
        let slot = if of_annotations { &mut files.annotations } else { &mut files.messages };
        *slot = Some(path);
    }
    if windows.is_empty() { Err(FolderError::Empty(folder.to_owned())) } else { Ok(windows) }
}

impl WindowFiles {
    /// The file with the messages, for reports.
    pub(super) fn name(&self) -> String {
        self.messages.as_ref().map_or_else(String::new, |path| path.display().to_string())
    }

    /// Reads what the documents say.
    ///
    /// # Errors
    /// A file cannot be read, is no document of this window, or holds a malformed message.
    pub(super) fn read(&self, window: Window) -> Result<WindowState, FolderError> {
        let mut state = WindowState::default();
        if let Some(path) = &self.messages {
            for (id, body) in load(window, DocKind::Messages, path)?.messages() {
                // A body is written anew: the same fields, and nothing else.
                let body = Content::from_body(&body)
                    .and_then(|content| content.to_body())
                    .map_err(|source| FolderError::Message { path: path.clone(), id, source })?;
                state.messages.push((id, body));
            }
            state.messages.sort_unstable_by_key(|(id, _)| *id);
        }
        if let Some(path) = &self.annotations {
            state.annotations.extend(load(window, DocKind::Annotations, path)?.annotations());
        }
        Ok(state)
    }
}

fn load(window: Window, kind: DocKind, path: &Path) -> Result<SegmentDoc, FolderError> {
    let failed = |source| FolderError::Read { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    SegmentDoc::load(window, kind, &bytes)
        .map_err(|source| FolderError::Document { path: path.to_owned(), source })
}
