//! Loads a window's documents as a client would and holds index and directory against them.

use super::Channel;
use crate::reader::{HaveSeqs, ReadError};
use crate::store::keys::{self, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{DirectoryRow, DocRow, IndexRow, Row, TailSize};
use backscroll_core::change::DocKind;
use backscroll_core::message::MessageId;
use backscroll_core::segment::{SegmentDoc, SegmentError};
use backscroll_core::window::Window;
use backscroll_core::wire::{SavedDoc, Tail};
use std::ops::ControlFlow;

impl Channel<'_> {
    pub(super) fn verify_documents(
        &mut self,
        window: Window,
        expected: &DirectoryRow,
    ) -> Result<(), ReadError> {
        let answer = self.view.segment(&self.name, window, HaveSeqs::default())?;
        let messages = (DocKind::Messages, answer.messages, answer.message_tail);
        let segment = self.verify_document(window, expected, messages)?;
        let annotations = (DocKind::Annotations, answer.annotations, answer.annotation_tail);
        let annotations = self.verify_document(window, expected, annotations)?;
        let (Some(segment), Some(annotations)) = (segment, annotations) else { return Ok(()) };
        let range = keys::members(self.number, window);
        let mut members = Vec::new();
        self.rows.scan(Family::Members, bounds(&range), Direction::Forward, &mut |key, _| {
            members.extend(keys::member_of(key));
            ControlFlow::Continue(())
        })?;
        if segment.ids_descending() != members {
            self.problem(format!("the segment of window {window} holds other messages"));
        }
        for (id, body) in segment.messages() {
            self.verify_row(window, id, &body, &annotations)?;
        }
        Ok(())
    }

    fn verify_row(
        &mut self,
        window: Window,
        id: MessageId,
        body: &[u8],
        annotations: &SegmentDoc,
    ) -> Result<(), ReadError> {
        let Some(row) = self.rows.get(Family::Index, &keys::message(self.number, id))? else {
            return Ok(());
        };
        let Ok(row) = IndexRow::decode(&row) else { return Ok(()) };
        if row.body != body {
            self.problem(format!("message {id} is another one in the segment of {window}"));
        }
        let summary = annotations.summary(id);
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
        let (digest, document) = match read() {
            Ok(read) => read,
            Err(error) => {
                let error = crate::commit::chain(&error);
                self.problem(format!("the {name} of window {window} cannot be read: {error}"));
                return Ok(None);
            }
        };
        if row.is_some_and(|row| row.digest != digest) {
            self.problem(format!(
                "the saved {name} of window {window} are not what their row says"
            ));
        }
        let what = format!("the digest of the {name} of window {window}");
        self.expect(&what, &document.digest(), &expected.mark(doc).digest);
        let stored = self.view.window_row(&self.name, window)?;
        if let Some((_, stored)) = stored {
            let what = format!("the tail of the {name} of window {window}");
            self.expect(&what, &stored.tail(doc), &left);
        }
        Ok(Some(document))
    }
}
