//! `backscroll export`: a channel as JSON Lines in timeline order, or as the Automerge documents of
//! its windows (design 8.1).

mod blobs;

use super::progress::{Progress, Unit};
use super::row::Row;
use super::{Failure, Outcome, output};
use backscroll_core::change::DocKind;
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::message;
use backscroll_core::segment::{SegmentDoc, SegmentError};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use backscroll_core::wire::{SavedDoc, Tail};
use backscroll_relay::reader::{HaveSeqs, Reader, View};
use backscroll_relay::store::Store;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `export` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    /// Folder of the store; no relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Channel to write
    #[arg(long)]
    channel: String,
    /// JSON Lines, or a folder of Automerge documents, two at most for each window
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// File to write, - for standard output [default: -]; with automerge a folder, made if missing,
    /// which must be empty
    #[arg(long, value_name = "PATH", required_if_eq("format", "automerge"))]
    out: Option<PathBuf>,
    /// Write the attachments that the messages name into this folder too, each under its SHA-256; made
    /// if missing. Without it they are not exported: `backup` copies everything
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One message per line, in timeline order.
    Jsonl,
    /// `<level>-<start>.automerge` and `<level>-<start>.annotations.automerge`.
    Automerge,
}

/// Why a channel cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ExportError {
    /// A file or the folder cannot be made or written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A stored document does not read back.
    #[error("the document of window {window} is damaged")]
    Damaged {
        /// The window.
        window: Window,
        /// Why.
        #[source]
        source: SegmentError,
    },
    /// Files that are there would mix with the channel's.
    #[error("the folder {} is not empty", .0.display())]
    NotEmpty(PathBuf),
}

pub(super) fn run(arguments: &ExportArguments) -> Result<Outcome, Failure> {
    message::check_channel(&arguments.channel)?;
    let reader = Reader::new(Store::open_existing(&arguments.data)?, Arc::default());
    let view = reader.view();
    let out = arguments.out.as_deref().unwrap_or(Path::new("-"));
    match arguments.format {
        Format::Automerge => write_documents(&view, &arguments.channel, out)?,
        Format::Jsonl if out == Path::new("-") => {
            write_rows(&view, &arguments.channel, output::results())?;
        }
        Format::Jsonl => {
            let file = File::create(out).map_err(|source| cannot_write(out, source))?;
            write_rows(&view, &arguments.channel, BufWriter::with_capacity(1 << 16, file))?;
        }
    }
    let Some(folder) = &arguments.blobs else { return Ok(Outcome::Clean) };
    let missing = blobs::write_blobs(&view, &arguments.channel, folder)?;
    Ok(if missing == 0 { Outcome::Clean } else { Outcome::Flawed })
}

fn cannot_write(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write { path: path.to_owned(), source }
}

/// Writes pages of messages, one after another: memory holds one page.
fn write_rows(view: &View<'_>, channel: &str, mut out: impl Write) -> Result<(), Failure> {
    let total = view.head(channel)?.total;
    let progress = Progress::new("exporting", Some(total), Unit::Messages);
    let mut at = 0;
    while at < total {
        let query = Query { at: At::Index(at), before: 0, after: ROWS_MAX };
        let page = view.history(channel, &query)?;
        if page.messages.is_empty() {
            break;
        }
        for row in &page.messages {
            Row::current(channel, row.id, &row.content, &row.annotations).write(&mut out)?;
        }
        at += page.messages.len() as u64;
        progress.set(at);
    }
    out.flush()?;
    progress.finish();
    Ok(())
}

/// Writes the documents of every window, one after another.
fn write_documents(view: &View<'_>, channel: &str, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|source| cannot_write(folder, source))?;
    let mut there = fs::read_dir(folder).map_err(|source| cannot_write(folder, source))?;
    if there.next().is_some() {
        return Err(ExportError::NotEmpty(folder.to_owned()).into());
    }
    let directory = view.directory(channel)?;
    let progress = Progress::new("exporting", Some(directory.total()), Unit::Messages);
    for (window, entry) in directory.iter() {
        let answer = view.segment(channel, window, HaveSeqs::default())?;
        let damaged = |source| ExportError::Damaged { window, source };
        let kinds = [
            (DocKind::Messages, "", answer.messages, answer.message_tail),
            (DocKind::Annotations, ".annotations", answer.annotations, answer.annotation_tail),
        ];
        for (kind, suffix, saved, tail) in kinds {
            let Some(bytes) = document(window, kind, saved, &tail).map_err(damaged)? else {
                continue;
            };
            let path = folder.join(format!("{window}{suffix}.automerge"));
            fs::write(&path, bytes).map_err(|source| cannot_write(&path, source))?;
        }
        progress.add(entry.messages);
    }
    progress.finish();
    Ok(())
}

/// The document as saved, with the changes after it; `None` if there is nothing.
fn document(
    window: Window,
    kind: DocKind,
    saved: Option<SavedDoc>,
    tail: &[Tail],
) -> Result<Option<Vec<u8>>, SegmentError> {
    let mut doc = match saved {
        Some(saved) if tail.is_empty() => return Ok(Some(saved.bytes)),
        Some(saved) => SegmentDoc::load(window, kind, &saved.bytes)?,
        None if tail.is_empty() => return Ok(None),
        None => SegmentDoc::new(window, kind),
    };
    let chunks: Vec<_> = tail.iter().map(|change| &change.chunk).collect();
    doc.apply(&chunks)?;
    Ok(Some(doc.save()))
}
