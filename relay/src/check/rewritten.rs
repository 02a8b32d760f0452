//! Windows that were rewritten by an erasure: what the log has lost of them, their rows and documents
//! must say, and those must agree.

use super::Channel;
use super::log::Told;
use super::sums::Logged;
use crate::commit::apply::count_message;
use crate::reader::ReadError;
use crate::store::StoreError;
use crate::store::keys::{self, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{ActorRow, AnnotationRow, DirectoryRow, IndexRow, LogRow, MemberRow, Row};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue};
use backscroll_core::change::{ActorId16, ChangeHash, DocKind};
use backscroll_core::message::MessageId;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::is_late;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

/// A window with erased changes.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Its messages by seq.
    members: BTreeMap<u64, (MessageId, bool)>,
    /// The greatest generation of its erased changes.
    erased_generation: u32,
}

impl Channel<'_> {
    /// Takes in a change of the log whose chunk was erased.
    pub(super) fn verify_erased(
        &mut self,
        told: &mut Told,
        first_seq: u64,
        row: &LogRow,
    ) -> Result<(), ReadError> {
        let window = row.window;
        let rewritten = match told.rewritten.entry(window) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let members = self.members_by_seq(window)?;
                place.insert(Rewritten { members, erased_generation: 0 })
            }
        };
        rewritten.erased_generation = rewritten.erased_generation.max(row.generation);
        let mut messages = Vec::new();
        if row.doc == DocKind::Messages {
            for (at, seq) in (first_seq..=row.last_seq(first_seq)).enumerate() {
                match rewritten.members.get(&seq) {
                    Some((id, late)) if *late == is_late(&row.late, at) => {
                        messages.push((seq, *id, *late));
                    }
                    _ => {
                        self.problem(format!("the message {seq} of an erased change is not listed"))
                    }
                }
            }
        }
        let mut entry = told.windows.remove(&window);
        for (seq, id, late) in messages {
            told.head.total += 1;
            told.head.newest = told.head.newest.max(Some(id));
            let stored: Option<IndexRow> = self.get(&keys::message(self.number, id))?;
            let is_its = |stored: &IndexRow| (stored.seq, stored.level) == (seq, window.level());
            match stored.filter(is_its) {
                Some(stored) => {
                    let body = stored.body.as_slice();
                    told.add_message(Logged { id, seq, late, window, body });
                    let bytes = body.len() as u64;
                    count_message(&mut entry, row.generation, id.time_ms(), bytes);
                }
                None => self.problem(format!("message {id} is not indexed with seq {seq}")),
            }
        }
        if let Some(mut entry) = entry {
            let mark = match row.doc {
                DocKind::Messages => &mut entry.entry.message_doc,
                DocKind::Annotations => &mut entry.entry.annotation_doc,
            };
            mark.last_seq = mark.last_seq.max(row.last_seq(first_seq));
            told.windows.insert(window, entry);
        }
        Ok(())
    }

    fn members_by_seq(
        &mut self,
        window: Window,
    ) -> Result<BTreeMap<u64, (MessageId, bool)>, StoreError> {
        let mut members = BTreeMap::new();
        let range = keys::members(self.number, window);
        self.rows.scan(Family::Members, bounds(&range), Direction::Forward, &mut |key, row| {
            if let (Some(id), Ok(row)) = (keys::member_of(key), MemberRow::decode(row)) {
                members.insert(row.seq, (id, row.late));
            }
            ControlFlow::Continue(())
        })?;
        Ok(members)
    }

    /// What the directory must say of rewritten windows that the log does not tell: the digests of
    /// their documents, which are held against these where they are loaded.
    pub(super) fn complete_rewritten(
        &mut self,
        told: &mut Told,
        directory: &BTreeMap<Window, DirectoryRow>,
    ) {
        let windows: Vec<_> =
            told.rewritten.iter().map(|(window, was)| (*window, was.erased_generation)).collect();
        for (window, erased_generation) in windows {
            let Some(entry) = told.windows.get_mut(&window) else { continue };
            if let Some(stored) = directory.get(&window) {
                entry.entry.message_doc.digest = stored.entry.message_doc.digest;
                entry.entry.annotation_doc.digest = stored.entry.annotation_doc.digest;
            }
            if entry.entry.generation <= erased_generation {
                let what = "has erased changes of its own generation";
                self.problem(format!("window {window} {what}"));
            }
        }
    }

    /// Holds what is known of the changes of a rewritten window against its documents. Adds the rows
    /// that no change of the log accounts for to what is expected.
    pub(super) fn verify_rewritten(
        &mut self,
        told: &mut Told,
        window: Window,
        documents: [&SegmentDoc; 2],
    ) -> Result<(), ReadError> {
        for document in documents {
            let actors = self.actors_of(window, document.kind())?;
            for (actor, row) in actors {
                if document.actor(actor) != Some(row.state) {
                    let what = "is not where it is in its document";
                    self.problem(format!("actor {actor:?} of window {window} {what}"));
                }
                told.base_actors +=
                    u64::from(!told.actors.contains_key(&(window, document.kind(), actor)));
            }
        }
        let [_, annotations] = documents;
        let hashes = self.hashes_of(window)?;
        if hashes != annotations.change_hashes() {
            self.problem(format!("other annotation changes of window {window} are found by hash"));
        }
        told.base_hashes += hashes.len() as u64;
        let (ops, winners) = self.annotation_rows(window)?;
        let in_document: BTreeMap<_, _> =
            annotations.annotations().map(|(key, value)| (key.to_string(), value)).collect();
        if winners != in_document {
            self.problem(format!("other annotations of window {window} are indexed"));
        }
        told.base_ops += ops;
        Ok(())
    }

    fn actors_of(
        &mut self,
        window: Window,
        doc: DocKind,
    ) -> Result<Vec<(ActorId16, ActorRow)>, StoreError> {
        let mut actors = Vec::new();
        let range = keys::of_doc(self.number, window, doc);
        self.rows.scan(Family::Actors, bounds(&range), Direction::Forward, &mut |key, row| {
            let actor = key.last_chunk().copied().map(ActorId16);
            actors.extend(actor.zip(ActorRow::decode(row).ok()));
            ControlFlow::Continue(())
        })?;
        Ok(actors)
    }

    /// Ascending, as a document gives them.
    fn hashes_of(&mut self, window: Window) -> Result<Vec<ChangeHash>, StoreError> {
        let mut hashes = Vec::new();
        let range = keys::of_window(self.number, window);
        self.rows.scan(Family::Hashes, bounds(&range), Direction::Forward, &mut |key, _| {
            hashes.extend(key.last_chunk().copied().map(ChangeHash));
            ControlFlow::Continue(())
        })?;
        Ok(hashes)
    }

    /// The number of a window's annotation ops, and the last one of each key.
    fn annotation_rows(
        &mut self,
        window: Window,
    ) -> Result<(u64, BTreeMap<String, AnnotationValue>), StoreError> {
        let (mut ops, mut winners) = (0, BTreeMap::new());
        let range = keys::annotations(self.number, window);
        let prefix_len = keys::directory(self.number, window).len();
        // Behind the key's text: a NUL, a counter of 8 bytes and an actor of 16.
        let suffix_len = 25;
        self.rows.scan(
            Family::Annotations,
            bounds(&range),
            Direction::Forward,
            &mut |key, row| {
                ops += 1;
                let end = key.len().saturating_sub(suffix_len);
                let text = key.get(prefix_len..end).and_then(|text| str::from_utf8(text).ok());
                let is_key = |text: &&str| text.parse::<AnnotationKey>().is_ok();
                if let (Some(text), Ok(row)) = (text.filter(is_key), AnnotationRow::decode(row)) {
                    winners.insert(text.to_owned(), row.0);
                }
                ControlFlow::Continue(())
            },
        )?;
        Ok((ops, winners))
    }
}
