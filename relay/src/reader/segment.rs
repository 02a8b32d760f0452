//! What `fetch` answers for a window: saved documents and the changes after them (design 6).

use super::{ReadError, View, scan_rows};
use crate::limits::RAW_TAIL_BYTES_MAX;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{DirectoryRow, DocRow, LogRow, MemberRow};
use backscroll_core::change::DocKind;
use backscroll_core::directory::Entry;
use backscroll_core::window::Window;
use backscroll_core::wire::{SavedDoc, Tail};
use std::ops::ControlFlow;

/// What the asking client has of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HaveSeqs {
    /// The generation of what it has; of another one, nothing counts.
    pub generation: u32,
    /// It has the segment's changes up to this seq; 0 for none.
    pub messages: u64,
    /// It has the annotations' changes up to this seq; 0 for none.
    pub annotations: u64,
}

/// A window as of a seq: every change up to it and none above.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentAnswer {
    /// The channel's head.
    pub as_of: u64,
    /// The window's entry; `None` if it holds nothing.
    pub entry: Option<Entry>,
    /// The saved segment; `None` if what the client has is extended by the tail alone.
    pub messages: Option<SavedDoc>,
    /// Seqs of the saved segment's messages in the order of its keys: newest millisecond first,
    /// within one the smallest id first.
    pub seqs: Vec<u64>,
    /// Late bits of the same messages.
    pub late: Vec<bool>,
    /// The segment's changes after that, in seq order.
    pub message_tail: Vec<Tail>,
    /// The saved annotations.
    pub annotations: Option<SavedDoc>,
    /// The annotations' changes after that.
    pub annotation_tail: Vec<Tail>,
}

impl View<'_> {
    /// The window for a client that has `have` of it. It gets a saved document only if it has less
    /// than that, and only if the raw changes it lacks are not shorter.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(size of the answer).
    pub fn segment(
        &self,
        channel: &str,
        window: Window,
        have: HaveSeqs,
    ) -> Result<SegmentAnswer, ReadError> {
        let Some((number, head)) = self.find(channel)? else {
            return Ok(SegmentAnswer::default());
        };
        let key = keys::directory(number, window);
        let row: Option<DirectoryRow> = self.row(Family::Directory, &key)?;
        let mut answer = SegmentAnswer { as_of: head.seq, ..SegmentAnswer::default() };
        let Some(row) = row else { return Ok(answer) };
        answer.entry = Some(row.entry);
        let counts = have.generation == row.entry.generation;
        let has = |seq| if counts { seq } else { 0 };
        let messages = (number, window, DocKind::Messages);
        (answer.messages, answer.message_tail) = self.document(messages, has(have.messages))?;
        if let Some(saved) = &answer.messages {
            (answer.seqs, answer.late) = self.members(number, window, saved.upto_seq)?;
        }
        let annotations = (number, window, DocKind::Annotations);
        (answer.annotations, answer.annotation_tail) =
            self.document(annotations, has(have.annotations))?;
        Ok(answer)
    }

    fn document(
        &self,
        (number, window, doc): (ChannelId, Window, DocKind),
        have: u64,
    ) -> Result<(Option<SavedDoc>, Vec<Tail>), StoreError> {
        let key = keys::doc(number, window, doc);
        let saved: Option<DocRow> = self.row(Family::Docs, &key)?;
        let place = (number, window, doc);
        let Some(saved) = saved.filter(|saved| saved.upto_seq > have) else {
            return Ok((None, self.tail(place, have, usize::MAX)?.unwrap_or_default()));
        };
        if have > 0 {
            let bound = saved.bytes.len().min(RAW_TAIL_BYTES_MAX);
            if let Some(tail) = self.tail(place, have, bound)? {
                return Ok((None, tail));
            }
        }
        let tail = self.tail(place, saved.upto_seq, usize::MAX)?.unwrap_or_default();
        Ok((Some(SavedDoc { upto_seq: saved.upto_seq, bytes: saved.bytes }), tail))
    }

    /// The changes of a document above a seq, but for erased ones. `None` if there is a bound in
    /// bytes and they are longer, or some were erased: then only a saved document will do.
    pub(crate) fn tail(
        &self,
        (number, window, doc): (ChannelId, Window, DocKind),
        after_seq: u64,
        bytes_max: usize,
    ) -> Result<Option<Vec<Tail>>, StoreError> {
        let range = keys::window_log_from(number, window, doc, after_seq.saturating_add(1));
        let mut seqs = Vec::new();
        // The least change takes over 100 bytes: so many pointers cannot lead to fewer bytes.
        let seqs_max = bytes_max / 100;
        self.rows.scan(Family::WindowLog, bounds(&range), Direction::Forward, &mut |key, _| {
            seqs.extend(keys::seq_of(key));
            if seqs.len() > seqs_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if seqs.len() > seqs_max {
            return Ok(None);
        }
        let (mut tail, mut bytes) = (Vec::with_capacity(seqs.len()), 0);
        for seq in seqs {
            let row = self.row(Family::Log, &keys::log(number, seq))?;
            let LogRow { chunk, late, .. } =
                row.ok_or(StoreError::damaged(Family::Log, "a window's change is missing"))?;
            if chunk.is_empty() {
                // Erased: what is left of it is in the saved document, if anything is. Whoever has
                // the window's generation has that, or claims what nobody can have.
                if bytes_max == usize::MAX {
                    continue;
                }
                return Ok(None);
            }
            bytes += chunk.len();
            if bytes > bytes_max {
                return Ok(None);
            }
            tail.push(Tail { seq, chunk, late });
        }
        Ok(Some(tail))
    }

    fn members(
        &self,
        number: ChannelId,
        window: Window,
        upto_seq: u64,
    ) -> Result<(Vec<u64>, Vec<bool>), StoreError> {
        let (mut seqs, mut late) = (Vec::new(), Vec::new());
        let range = keys::members(number, window);
        scan_rows(&*self.rows, &range, Direction::Forward, |_, row: MemberRow| {
            if row.seq <= upto_seq {
                seqs.push(row.seq);
                late.push(row.late);
            }
            ControlFlow::Continue(())
        })?;
        Ok((seqs, late))
    }
}
