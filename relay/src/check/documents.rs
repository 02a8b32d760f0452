//! Loads a window's documents as a client would and holds index and directory against them.

use super::Channel;
use super::log::Told;
use crate::reader::{HaveSeqs, ReadError};
use crate::store::keys::{self, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{DirectoryRow, DocRow, IndexRow, LogRow, Row, TailSize};
use backscroll_core::change::DocKind;
use backscroll_core::message::MessageId;
use backscroll_core::segment::{SegmentDoc, SegmentError};
use backscroll_core::window::Window;
use backscroll_core::wire::{SavedDoc, Tail};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Channel<'_> {
    /// Gives how many of the two documents are saved.
    pub(super) fn verify_documents(
        &mut self,
        told: &mut Told,
        window: Window,
        expected: &DirectoryRow,
    ) -> Result<u64, ReadError> {
        let answer = self.view.segment(&self.name, window, HaveSeqs::default())?;
        let saved = u64::from(answer.messages.is_some()) + u64::from(answer.annotations.is_some());
        let messages = (DocKind::Messages, answer.messages, answer.message_tail);
        let segment = self.verify_document(window, expected, messages)?;
        let annotations = (DocKind::Annotations, answer.annotations, answer.annotation_tail);
        let annotations = self.verify_document(window, expected, annotations)?;
        let (Some(segment), Some(annotations)) = (segment, annotations) else { return Ok(saved) };
        if told.rewritten.contains_key(&window) {
            self.verify_rewritten(told, window, [&segment, &annotations])?;
        }
        let range = keys::members(self.number, window);
        let mut members = Vec::new();
        self.rows.scan(Family::Members, bounds(&range), Direction::Forward, &mut |key, _| {
            members.extend(keys::member_of(key));
            ControlFlow::Continue(())
        })?;
        if segment.ids() != members {
            self.problem(format!("the segment of window {window} holds other messages"));
        }
        if Self::agrees(told, window, [&segment, &annotations]) {
            return Ok(saved);
        }
        // Asking an empty document for each message would take most of the time.
        let annotations = annotations.annotations().next().is_some().then_some(&annotations);
        for (id, body) in segment.messages() {
            self.verify_row(window, id, &body, annotations)?;
        }
        Ok(saved)
    }

    fn verify_row(
        &mut self,
        window: Window,
        id: MessageId,
        body: &[u8],
        annotations: Option<&SegmentDoc>,
    ) -> Result<(), ReadError> {
        let Some(row) = self.rows.get(Family::Index, &keys::message(self.number, id))? else {
            return Ok(());
        };
        let Ok(row) = IndexRow::decode(&row) else { return Ok(()) };
        if row.body != body {
            self.problem(format!("message {id} is another one in the segment of {window}"));
        }
        let summary = annotations.map(|document| document.summary(id)).unwrap_or_default();
        if row.annotations != summary {
            let what = format!("message {id} is annotated with {summary:?} in its document");
            self.problem(format!("{what}, with {:?} in the index", row.annotations));
        }
        Ok(())
    }

    fn verify_document(
        &mut self,
        window: Window,
        expected: &DirectoryRow,
        (doc, saved, tail): (DocKind, Option<SavedDoc>, Vec<Tail>),
    ) -> Result<Option<SegmentDoc>, ReadError> {
        let name = match doc {
            DocKind::Messages => "segment",
            DocKind::Annotations => "annotations",
        };
        let row: Option<DocRow> = self.get(&keys::doc(self.number, window, doc))?;
        let chunks: Vec<_> = tail.iter().map(|change| &change.chunk).collect();
        let left = TailSize {
            changes: chunks.len() as u64,
            bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        };
        let read = || -> Result<(u64, SegmentDoc), SegmentError> {
            let mut document = match &saved {
                Some(saved) => SegmentDoc::load(window, doc, &saved.bytes)?,
                None => SegmentDoc::new(window, doc),
            };
            let digest = document.digest();
            document.apply(&chunks)?;
            Ok((digest, document))
        };
        // Automerge panics on some damage.
        let why = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok((digest, document))) => {
                self.compare(window, expected, (doc, name), (row, left), (digest, &document))?;
                return Ok(Some(document));
            }
            Ok(Err(error)) => crate::commit::chain(&error),
            Err(_panic) => "automerge panicked".to_owned(),
        };
        self.problem(format!("the {name} of window {window} cannot be read: {why}"));
        Ok(None)
    }

    /// Holds a document that reads back against its row, its window's digest and its tail.
    fn compare(
        &mut self,
        window: Window,
        expected: &DirectoryRow,
        (doc, name): (DocKind, &str),
        (row, left): (Option<DocRow>, TailSize),
        (digest, document): (u64, &SegmentDoc),
    ) -> Result<(), ReadError> {
        if let Some(row) = row {
            let generation = expected.entry.generation;
            if (row.digest, row.generation) != (digest, generation) {
                let what = "are not what their row says";
                self.problem(format!("the saved {name} of window {window} {what}"));
            }
            if !self.ends_a_change(window, doc, row.upto_seq)? {
                let seq = row.upto_seq;
                let what = format!("ends with seq {seq}, where no change of it ends");
                self.problem(format!("the saved {name} of window {window} {what}"));
            }
        }
        let what = format!("the digest of the {name} of window {window}");
        self.expect(&what, &document.digest(), &expected.mark(doc).digest);
        let stored = self.view.window_row(&self.name, window)?;
        if let Some((_, stored)) = stored {
            let what = format!("the tail of the {name} of window {window}");
            self.expect(&what, &stored.tail(doc), &left);
        }
        Ok(())
    }

    /// Whether a change of the document has this seq last.
    fn ends_a_change(&mut self, window: Window, doc: DocKind, seq: u64) -> Result<bool, ReadError> {
        let at = |seq| keys::window_log(self.number, window, doc, seq);
        let range = at(0)..at(seq.saturating_add(1));
        let mut first_seq = None;
        let mut visit = |key: &[u8], _: &[u8]| {
            first_seq = keys::seq_of(key);
            ControlFlow::Break(())
        };
        let direction = Direction::Reverse;
        self.rows.scan(Family::WindowLog, bounds(&range), direction, &mut visit)?;
        let Some(first_seq) = first_seq else { return Ok(false) };
        let change: Option<LogRow> = self.get(&keys::log(self.number, first_seq))?;
        Ok(change.is_some_and(|change| change.last_seq(first_seq) == seq))
    }
}
