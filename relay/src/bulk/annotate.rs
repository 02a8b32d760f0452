//! Edits, deletions and reactions of imported messages, authored anew.
//!
//! What the channel says already stands: only an edit gives way, to a newer one. So importing twice
//! adds nothing.

use super::BulkError;
use super::load::{Import, new_actor};
use crate::commit::apply::apply;
use crate::commit::channel::Channel;
use crate::commit::check::{Target, message};
use crate::limits::BULK_CHANGE_BYTES;
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{DocRow, LogRow, Row};
use crate::store::{StoreError, keys};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue};
use backscroll_core::change::{ChangeView, DocKind};
use backscroll_core::limits::CHANGE_OPS_MAX;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Entries = BTreeMap<AnnotationKey, AnnotationValue>;

impl Import<'_> {
    /// Adds annotations of messages that were added or stored before; of two under one key the
    /// later counts. Best called once for many, as for all of a window.
    ///
    /// # Errors
    /// The store or a thread fails, or a value is out of its bounds.
    ///
    /// # Complexity
    /// A few look-ups for each, and loading the annotations of each window concerned.
    pub fn annotate(
        &mut self,
        entries: impl IntoIterator<Item = (AnnotationKey, AnnotationValue)>,
    ) -> Result<(), BulkError> {
        self.settle()?;
        let mut windows: BTreeMap<Window, Entries> = BTreeMap::new();
        for (key, value) in entries {
            let Some(row) = message(&self.txn, &self.channel, key.id())? else {
                self.outcome.unannotated += 1;
                continue;
            };
            let window = Window::covering(row.level, key.id().time_ms());
            let is_new = match (&value, &row.annotations.edit) {
                (AnnotationValue::Edit(edit), Some(before)) => edit.edited_at > before.edited_at,
                (AnnotationValue::Edit(_), None) => true,
                (AnnotationValue::Delete, _) => !row.annotations.deleted,
                // A reaction that was taken back is nothing, where nothing was.
                (AnnotationValue::Reaction(on), _) => *on && !self.has_ops(window, &key)?,
            };
            if is_new {
                windows.entry(window).or_default().insert(key, value);
            }
        }
        for (window, entries) in windows {
            self.outcome.annotated += entries.len() as u64;
            self.annotate_window(window, entries)?;
            self.write_if_large()?;
        }
        Ok(())
    }

    fn has_ops(&self, window: Window, key: &AnnotationKey) -> Result<bool, StoreError> {
        let range = keys::annotation_ops(self.channel.number, window, &key.to_string());
        let mut found = false;
        let bounds = keys::bounds(&range);
        self.txn.scan(Family::Annotations, bounds, Direction::Forward, &mut |_, _| {
            found = true;
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    fn annotate_window(&mut self, window: Window, entries: Entries) -> Result<(), BulkError> {
        let doc = DocKind::Annotations;
        let mut document = document(&self.txn, &self.channel, window, doc)?;
        let actor = new_actor()?;
        let row = self.channel.window(&self.txn, window)?;
        let generation = row.map_or(0, |row| row.entry.generation);
        let target = Target { window, generation, doc };
        for entries in cut(entries)? {
            let chunk = document.annotate(actor, &entries)?.chunk;
            let view = ChangeView::read(&chunk, window, doc)?;
            // Nobody listens during an import.
            let (txn, channel) = (&mut self.txn, &mut self.channel);
            apply(txn, channel, target, "", &view, chunk.into(), &mut Vec::new())?;
        }
        self.grown.insert((window, doc));
        Ok(())
    }
}

/// A document with all its changes.
fn document(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    kind: DocKind,
) -> Result<SegmentDoc, BulkError> {
    let saved = rows.get(Family::Docs, &keys::doc(channel.number, window, kind))?;
    let saved = saved.map(|row| DocRow::decode(&row)).transpose()?;
    let after = saved.as_ref().map_or(0, |row| row.upto_seq + 1);
    let mut document = match saved {
        Some(row) => SegmentDoc::load(window, kind, &row.bytes)?,
        None => SegmentDoc::new(window, kind),
    };
    let mut seqs = Vec::new();
    let range = keys::window_log_from(channel.number, window, kind, after);
    rows.scan(Family::WindowLog, keys::bounds(&range), Direction::Forward, &mut |key, _| {
        seqs.extend(keys::seq_of(key));
        ControlFlow::Continue(())
    })?;
    let mut chunks = Vec::with_capacity(seqs.len());
    for seq in seqs {
        let row = rows
            .get(Family::Log, &keys::log(channel.number, seq))?
            .ok_or(StoreError::damaged(Family::Log, "a change of a window is missing"))?;
        let row = LogRow::decode(&row)?;
        if !row.is_erased() {
            chunks.push(row.chunk);
        }
    }
    document.apply(&chunks)?;
    Ok(document)
}

/// Cuts annotations into lists that each fit a change.
pub(crate) fn cut(
    entries: Entries,
) -> Result<Vec<Vec<(AnnotationKey, AnnotationValue)>>, BulkError> {
    let mut lists = Vec::new();
    let (mut list, mut bytes) = (Vec::new(), 0);
    for (key, value) in entries {
        let value_bytes = match &value {
            AnnotationValue::Edit(edit) => edit.to_bytes().map_err(BulkError::Edit)?.len(),
            AnnotationValue::Delete | AnnotationValue::Reaction(_) => 1,
        };
        let more = key.to_string().len() + value_bytes + 64;
        let is_full = list.len() >= CHANGE_OPS_MAX || bytes + more > BULK_CHANGE_BYTES;
        if is_full && !list.is_empty() {
            lists.push(std::mem::take(&mut list));
            bytes = 0;
        }
        bytes += more;
        list.push((key, value));
    }
    if !list.is_empty() {
        lists.push(list);
    }
    Ok(lists)
}
