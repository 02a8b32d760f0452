//! The relay in memory: annotations, as design 4.2 and 7 ask.

use crate::sync_relay::{Chan, Relay, Stored};
use backscroll_core::annotation::{AnnotationKey, Annotations};
use backscroll_core::change::{ChangeBody, ChangeView, DocKind};
use backscroll_core::message::MessageId;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::{Code, Have, SavedDoc, Tail};
use std::collections::BTreeMap;

impl Relay {
    /// What is said of every message of a channel, by stock Automerge documents of its changes.
    pub(crate) fn said(&self, channel: &str) -> Vec<(MessageId, Annotations)> {
        let Some(chan) = self.channels.get(channel) else { return Vec::new() };
        let mut documents = BTreeMap::new();
        let mut summary = |(id, window): (&MessageId, &Window)| {
            let document = documents.entry(*window);
            let document = document.or_insert_with(|| chan.document(*window, u64::MAX));
            (*id, document.summary(*id))
        };
        let said: Vec<_> = chan.homes.iter().map(&mut summary).collect();
        said.into_iter().filter(|(_, said)| !said.is_empty()).collect()
    }
}

impl Chan {
    fn document(&self, window: Window, upto_seq: u64) -> SegmentDoc {
        let mut document = SegmentDoc::new(window, DocKind::Annotations);
        let of = |stored: &&Stored| {
            stored.window == window
                && stored.doc == DocKind::Annotations
                && stored.last_seq <= upto_seq
        };
        let chunks: Vec<_> = self.log.iter().filter(of).map(|stored| &stored.chunk).collect();
        document.apply(&chunks).expect("what is stored applies");
        document
    }

    pub(crate) fn check_annotation(
        &self,
        window: Window,
        user: &str,
        target: &AnnotationKey,
    ) -> Result<(), Code> {
        let id = target.id();
        if self.homes.get(&id) != Some(&window) {
            return Err(Code::NotFound);
        }
        let may = match target {
            AnnotationKey::Reaction { user: of, .. } => of == user,
            AnnotationKey::Edit { .. } | AnnotationKey::Delete { .. } => {
                self.messages[&id].2.from == user
            }
        };
        if may { Ok(()) } else { Err(Code::Forbidden) }
    }

    pub(crate) fn append_annotations(
        &mut self,
        view: &ChangeView,
        window: Window,
        generation: u32,
        chunk: &[u8],
    ) -> (u64, Option<Stored>) {
        let ChangeBody::Annotations(ops) = &view.body else { panic!("annotations") };
        let seq = self.head_seq() + 1;
        let last_seq = seq + view.ops_len - 1;
        let doc = DocKind::Annotations;
        for op in ops {
            self.ops.insert((window, op.key.clone(), op.op, view.actor));
        }
        self.max_ops.insert((window, view.hash), view.max_op());
        let mut entry = *self.directory.get(window).expect("the message is there");
        entry.annotation_doc.record(last_seq, &view.hash);
        self.directory.set(window, entry);
        self.actors.insert((window, doc, view.actor), view.actor_state());
        self.hashes.insert(view.hash, seq);
        let (hash, chunk, late) = (view.hash, chunk.to_vec(), Vec::new());
        let stored = Stored { seq, last_seq, window, generation, doc, hash, chunk, late };
        self.log.push(stored.clone());
        (seq, Some(stored))
    }

    /// A window's annotations for a client that has some of them: saved, and the changes after.
    pub(crate) fn annotations_of(
        &self,
        have: &Have,
        upto_seq: u64,
    ) -> (Option<SavedDoc>, Vec<Tail>) {
        let window = have.window;
        let upto_seq = if have.annotations_seq > 0 { 0 } else { upto_seq };
        let of = |stored: &&Stored| stored.window == window && stored.doc == DocKind::Annotations;
        let changes: Vec<_> = self.log.iter().filter(of).collect();
        let is_saved = changes.iter().any(|stored| stored.last_seq <= upto_seq);
        let saved =
            is_saved.then(|| SavedDoc { upto_seq, bytes: self.document(window, upto_seq).save() });
        let tail = changes.iter().filter(|c| c.seq > upto_seq.max(have.annotations_seq));
        let tail = tail.map(|stored| Tail {
            seq: stored.seq,
            chunk: stored.chunk.clone(),
            late: Vec::new(),
        });
        (saved, tail.collect())
    }
}
