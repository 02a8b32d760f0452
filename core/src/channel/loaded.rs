//! One loaded window: its two documents, and what the relay said of each message in it.
//!
//! It only receives (design 4.2): changes wait here until the next batch is applied, because one
//! apply of many costs little more than one of few.

use crate::annotation::{AnnotationKey, AnnotationValue, Annotations};
use crate::change::{ActorId16, Authored, ChangeHash, DocKind};
use crate::directory::{DocMark, Entry};
use crate::message::{Content, MessageId};
use crate::segment::{SegmentDoc, SegmentError};
use crate::storage::{AppendedRecord, Fact};
use crate::window::Window;
use crate::wire::{Epoch, encode_late};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Estimated memory of one loaded message beside its bytes: with 600 a client that had looked at 120
/// places of a million held 104 MB where 64 were meant (`core/examples/growth.rs`).
const MESSAGE_BYTES: u64 = 1_000;

/// Estimated memory of a loaded window beside its messages, in bytes: 5,000 windows of one message each
/// took 162 MB (`core/tests/memory.rs`).
const WINDOW_BYTES: u64 = 32_768;

/// How much memory annotations take, in their bytes: saved documents are packed.
const ANNOTATION_FACTOR: u64 = 4;

/// A change that came for a window.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) doc: DocKind,
    pub(crate) seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) hash: ChangeHash,
    pub(crate) chunk: Vec<u8>,
    /// Messages it brings; none for annotations.
    pub(crate) facts: Vec<(MessageId, Fact)>,
}

impl Arrived {
    /// About how much memory it takes, in bytes.
    pub(crate) const fn memory_bytes(&self) -> u64 {
        (self.chunk.len() + size_of::<Self>()) as u64
    }

    /// The record that appends it to a window, whose entry counts it.
    pub(crate) fn to_record(&self, epoch: Epoch, entry: Entry) -> AppendedRecord {
        AppendedRecord {
            epoch,
            entry,
            chunk: self.chunk.clone(),
            late: encode_late(self.facts.iter().map(|(_, fact)| fact.late)),
            arrived_ms: self.facts.first().and_then(|(_, fact)| fact.arrived_ms),
        }
    }
}

/// A change that a document would not take, though the relay did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The window of the document.
    pub window: Window,
    /// The change, if it is one.
    pub hash: Option<ChangeHash>,
    /// What went wrong, for a log.
    pub text: String,
}

/// A window as a store keeps it.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) messages: Vec<u8>,
    pub(crate) annotations: Option<Vec<u8>>,
    /// In the order of the segment's keys.
    pub(crate) facts: Vec<Fact>,
}

/// A loaded window.
#[derive(Debug)]
pub(crate) struct Loaded {
    window: Window,
    messages: SegmentDoc,
    annotations: Option<SegmentDoc>,
    pub(crate) generation: u32,
    message_mark: DocMark,
    annotation_mark: DocMark,
    facts: BTreeMap<MessageId, Fact>,
    waiting: Vec<Arrived>,
    /// Bytes of the annotations as they came.
    annotation_bytes: u64,
    /// The bytes that the segment was loaded from, as long as a store needs them and they are it.
    bytes: Option<Vec<u8>>,
    /// Whether the store has the window, but for changes that are to be appended.
    pub(crate) is_stored: bool,
    /// The changes that the store has after its documents.
    pub(crate) appended: Vec<(u64, DocKind)>,
    /// Bytes of those changes.
    pub(crate) appended_bytes: usize,
    /// Whether it came from the store, and not from the relay since.
    pub(crate) is_restored: bool,
    /// When a view last touched it: greater is later.
    pub(crate) used: u64,
    /// Who writes annotations on top of this document in memory; another one when it is replaced.
    annotator: Option<ActorId16>,
}

impl Loaded {
    /// A window that nobody wrote to before.
    pub(crate) fn empty(window: Window, generation: u32) -> Self {
        Self {
            window,
            messages: SegmentDoc::new(window, DocKind::Messages),
            annotations: None,
            generation,
            message_mark: DocMark::default(),
            annotation_mark: DocMark::default(),
            facts: BTreeMap::new(),
            waiting: Vec::new(),
            annotation_bytes: 0,
            bytes: None,
            is_stored: false,
            appended: Vec::new(),
            appended_bytes: 0,
            is_restored: false,
            used: 0,
            annotator: None,
        }
    }

    /// Puts a saved document in the place of the one it has.
    ///
    /// # Errors
    /// The bytes are no complete document of this window.
    pub(crate) fn load(&mut self, doc: DocKind, bytes: &[u8]) -> Result<(), SegmentError> {
        let loaded = SegmentDoc::load(self.window, doc, bytes)?;
        match doc {
            DocKind::Messages => self.messages = loaded,
            DocKind::Annotations => {
                self.annotations = Some(loaded);
                self.annotation_bytes = bytes.len() as u64;
                self.annotator = None;
            }
        }
        Ok(())
    }

    /// Applies a tail of changes to one document.
    ///
    /// # Errors
    /// The document does not take them.
    pub(crate) fn apply(
        &mut self,
        doc: DocKind,
        chunks: &[impl AsRef<[u8]>],
    ) -> Result<(), SegmentError> {
        if chunks.is_empty() {
            return Ok(());
        }
        match doc {
            DocKind::Messages => self.bytes = None,
            DocKind::Annotations => {
                let bytes = chunks.iter().map(|chunk| chunk.as_ref().len() as u64);
                self.annotation_bytes += bytes.sum::<u64>();
            }
        }
        self.document(doc).apply(chunks).map(|_| ())
    }

    fn document(&mut self, doc: DocKind) -> &mut SegmentDoc {
        match doc {
            DocKind::Messages => &mut self.messages,
            DocKind::Annotations => self
                .annotations
                .get_or_insert_with(|| SegmentDoc::new(self.window, DocKind::Annotations)),
        }
    }

    /// Whether the documents hold the changes that `entry` says, by their digests.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        let annotations = self.annotations.as_ref().map_or(0, SegmentDoc::digest);
        self.messages.digest() == entry.message_doc.digest
            && annotations == entry.annotation_doc.digest
    }

    /// Takes `entry` as what the documents hold.
    pub(crate) const fn set_marks(&mut self, entry: &Entry) {
        self.generation = entry.generation;
        self.message_mark = entry.message_doc;
        self.annotation_mark = entry.annotation_doc;
    }

    /// The seqs up to which it has the segment and the annotations.
    pub(crate) const fn seqs(&self) -> (u64, u64) {
        (self.message_mark.last_seq, self.annotation_mark.last_seq)
    }

    /// Whether it has every message that the directory counts.
    pub(crate) fn has_messages_of(&self, entry: &Entry) -> bool {
        self.generation == entry.generation && self.message_mark == entry.message_doc
    }

    /// Messages applied.
    pub(crate) fn len(&self) -> u64 {
        self.facts.len() as u64
    }

    /// Whether it has everything that the directory says of it.
    pub(crate) fn is_current(&self, entry: &Entry) -> bool {
        self.generation == entry.generation
            && self.message_mark == entry.message_doc
            && self.annotation_mark == entry.annotation_doc
    }

    /// Keeps a change for the next batch.
    pub(crate) fn push(&mut self, arrived: Arrived) {
        let mark = match arrived.doc {
            DocKind::Messages => &mut self.message_mark,
            DocKind::Annotations => &mut self.annotation_mark,
        };
        mark.record(arrived.last_seq, &arrived.hash);
        self.waiting.push(arrived);
    }

    pub(crate) fn has_waiting_annotations(&self) -> bool {
        self.waiting.iter().any(|arrived| arrived.doc == DocKind::Annotations)
    }

    pub(crate) const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Applies what waits, each document in one batch, and returns the messages that came with it.
    /// If a batch fails its changes are tried one by one; those that fail are left out and reported.
    pub(crate) fn flush(&mut self, problems: &mut Vec<Problem>) -> Vec<MessageId> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut came = Vec::new();
        for doc in [DocKind::Messages, DocKind::Annotations] {
            let batch: Vec<_> = waiting.iter().filter(|arrived| arrived.doc == doc).collect();
            let chunks: Vec<_> = batch.iter().map(|arrived| &arrived.chunk).collect();
            let whole = self.apply(doc, &chunks);
            for arrived in batch {
                let applied = match &whole {
                    Ok(()) => Ok(()),
                    Err(_) => self.apply(doc, std::slice::from_ref(&arrived.chunk)),
                };
                match applied {
                    Ok(()) => {
                        self.facts.extend(arrived.facts.iter().copied());
                        came.extend(arrived.facts.iter().map(|(id, _)| *id));
                    }
                    Err(error) => problems.push(Problem {
                        window: self.window,
                        hash: Some(arrived.hash),
                        text: error.to_string(),
                    }),
                }
            }
        }
        came
    }

    /// Notes what the relay says of messages that a segment answer brought.
    pub(crate) fn note(&mut self, id: MessageId, fact: Fact) {
        let before = self.facts.insert(id, fact);
        if let Some(arrived_ms) = before.and_then(|before| before.arrived_ms)
            && let Some(fact) = self.facts.get_mut(&id)
        {
            fact.arrived_ms = Some(arrived_ms);
        }
    }

    /// Whether its segment has a change.
    pub(crate) fn has_change(&self, hash: &ChangeHash) -> bool {
        self.messages.has_change(hash)
    }

    pub(crate) fn fact(&self, id: MessageId) -> Option<Fact> {
        self.facts.get(&id).copied()
    }

    /// Its messages in order, those applied.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.facts.keys().copied()
    }

    /// Its late messages in a span that have seqs above `since_seq`.
    pub(crate) fn late_in(
        &self,
        span: RangeInclusive<MessageId>,
        since_seq: u64,
    ) -> impl Iterator<Item = MessageId> + '_ {
        let late = move |fact: &Fact| fact.late && fact.seq > since_seq;
        self.facts.range(span).filter(move |(_, fact)| late(fact)).map(|(id, _)| *id)
    }

    /// The messages of the document itself, in the order of its keys: newest millisecond first,
    /// within one the smallest id first.
    pub(crate) fn ids_in_document(&self) -> Vec<MessageId> {
        self.messages.ids()
    }

    pub(crate) fn content(&self, id: MessageId) -> Option<Content> {
        self.messages.message(id)
    }

    /// What was said of a message after it was sent.
    pub(crate) fn annotations(&self, id: MessageId) -> Annotations {
        self.annotations.as_ref().map(|doc| doc.summary(id)).unwrap_or_default()
    }

    /// Writes annotations as one change on top of its document, which takes it when it comes back
    /// from the relay.
    ///
    /// # Errors
    /// An annotation cannot be written.
    pub(crate) fn annotate(
        &mut self,
        actor: impl FnOnce() -> ActorId16,
        entries: &[(AnnotationKey, AnnotationValue)],
    ) -> Result<Authored, SegmentError> {
        let actor = *self.annotator.get_or_insert_with(actor);
        self.document(DocKind::Annotations).author(actor, entries)
    }

    /// What follows is written by another actor: a change of this one was refused.
    pub(crate) const fn retire_annotator(&mut self) {
        self.annotator = None;
    }

    /// Keeps the bytes that the segment was just loaded from, for [`Self::saved`].
    pub(crate) fn keep_bytes(&mut self, bytes: Vec<u8>) {
        self.bytes = Some(bytes);
    }

    /// Its documents as they are saved, and the facts in the order of the segment's keys; None if a
    /// document holds other messages than are known.
    ///
    /// # Complexity
    /// O(size) where the segment changed since it was loaded.
    pub(crate) fn saved(&mut self) -> Option<Saved> {
        let facts: Option<Vec<_>> =
            self.messages.messages().map(|(id, _)| self.facts.get(&id).copied()).collect();
        let facts = facts.filter(|facts| facts.len() == self.facts.len())?;
        let messages = self.bytes.take().unwrap_or_else(|| self.messages.save());
        let said = self.annotations.as_ref().filter(|doc| !doc.heads().is_empty());
        let annotations = said.map(SegmentDoc::save);
        Some(Saved { messages, annotations, facts })
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn memory_bytes(&self, entry: Option<&Entry>) -> u64 {
        let messages = self.facts.len() as u64 * MESSAGE_BYTES;
        let waiting: u64 = self.waiting.iter().map(Arrived::memory_bytes).sum();
        let annotations = ANNOTATION_FACTOR * self.annotation_bytes;
        WINDOW_BYTES + messages + 2 * entry.map_or(0, |entry| entry.bytes) + annotations + waiting
    }
}
