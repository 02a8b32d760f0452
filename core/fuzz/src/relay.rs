//! A relay in memory for one client, as plainly as it can be written; others write through it too.

use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Edit};
use backscroll_core::change::{
    ActorId16, ActorState, ChangeBody, ChangeHash, ChangeView, DocKind, MessageAuthor, check_header,
};
use backscroll_core::directory::{Directory, Entry};
use backscroll_core::limits::{FUTURE_MS_MAX, LATE_AFTER_MS};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::{Knowledge, Window, home_of};
use backscroll_core::wire::{
    ChannelInfo, ClientFrame, Code, Cursor, Epoch, Have, LateRun, PROTOCOL_VERSION, RelayFrame,
    SavedDoc, Tail, WireLimits, encode_late, encode_seqs,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Stored {
    seq: u64,
    last_seq: u64,
    window: Window,
    doc: DocKind,
    hash: ChangeHash,
    chunk: Vec<u8>,
    late: Vec<u8>,
}

/// What a change replaces, depends on and was made by.
#[derive(Debug, Default)]
struct Known {
    actors: BTreeMap<ActorId16, ActorState>,
    changes: BTreeMap<ChangeHash, u64>,
    ops: BTreeSet<(String, u64, ActorId16)>,
}

/// The relay of one channel.
#[derive(Debug)]
pub struct Relay {
    /// The name of its history.
    pub epoch: Epoch,
    /// Its clock, in ms since the Unix epoch.
    pub now_ms: u64,
    /// The code that the next push is refused with.
    pub refuse: Option<Code>,
    channel: String,
    is_open: bool,
    log: Vec<Stored>,
    messages: BTreeMap<MessageId, (u64, bool, Content)>,
    known: BTreeMap<(Window, DocKind), Known>,
    seqs: BTreeMap<ChangeHash, u64>,
    directory: Directory,
    newest_ms: u64,
    /// Windows are saved up to this seq; what is above goes as a tail.
    saved_upto: u64,
    writers: BTreeMap<(u8, Window), MessageAuthor>,
    annotators: u128,
}

impl Relay {
    /// A relay of one empty channel.
    pub fn new(channel: &str, now_ms: u64) -> Self {
        Self {
            epoch: Epoch([1; 16]),
            now_ms,
            refuse: None,
            channel: channel.to_owned(),
            is_open: false,
            log: Vec::new(),
            messages: BTreeMap::new(),
            known: BTreeMap::new(),
            seqs: BTreeMap::new(),
            directory: Directory::new(),
            newest_ms: 0,
            saved_upto: 0,
            writers: BTreeMap::new(),
            annotators: 0,
        }
    }

    /// The connection is gone.
    pub fn closed(&mut self) {
        self.is_open = false;
    }

    /// Its store was restored: equal seqs mean something else from now on.
    pub fn new_epoch(&mut self) {
        self.epoch.0[0] = self.epoch.0[0].wrapping_add(1);
        self.is_open = false;
    }

    /// Saves every window up to now.
    pub fn compact(&mut self) {
        self.saved_upto = self.head_seq();
    }

    /// The ids of all messages.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.messages.keys().copied()
    }

    fn head_seq(&self) -> u64 {
        self.log.last().map_or(0, |stored| stored.last_seq)
    }

    fn cursor_at(&self, seq: u64) -> Cursor {
        let stored = self.log.iter().find(|stored| stored.last_seq == seq);
        let hash = stored.map_or(ChangeHash([0; 32]), |stored| stored.hash);
        Cursor { epoch: self.epoch, seq, hash }
    }

    /// Another client writes messages one second apart, as one change.
    pub fn write(&mut self, writer: u8, from_ms: u64, count: u8, text: &str) -> Vec<RelayFrame> {
        let entries = &self.directory;
        let window = home_of(from_ms, Knowledge::FULL, |window| {
            entries.get(window).map(|entry| entry.fill())
        });
        let end_ms = window.end_ms();
        let actor = ActorId16([writer.saturating_add(1); 16]);
        let author = self.writers.entry((writer, window));
        let author = author.or_insert_with(|| MessageAuthor::new(window, actor));
        let body = Content::text("bob", text).to_body().expect("a short text");
        let messages: Vec<_> = (0..u64::from(count.max(1)))
            .map(|n| MessageId::from_parts(from_ms + n * 1_000, u128::from(self.log.len() as u64)))
            .filter(|id| id.time_ms() < end_ms && !self.messages.contains_key(id))
            .map(|id| (id, body.clone()))
            .collect();
        let Ok(authored) = author.write(&messages) else { return Vec::new() };
        self.store((window, 0, DocKind::Messages), &authored.chunk).1
    }

    /// Another client says something of a message.
    pub fn annotate(&mut self, id: MessageId, what: u8) -> Vec<RelayFrame> {
        let holds = |stored: &&Stored| stored.window.contains(id.time_ms());
        let Some(window) = self.log.iter().find(holds).map(|stored| stored.window) else {
            return Vec::new();
        };
        let mut doc = self.document(window, DocKind::Annotations, u64::MAX);
        let at = self.now_ms;
        let entry = match what % 4 {
            0 => (AnnotationKey::Edit { id }, AnnotationValue::Edit(Edit::text("edited", at))),
            1 => (AnnotationKey::Delete { id }, AnnotationValue::Delete),
            n => {
                let (user, emoji) = ("bob".to_owned(), "+1".to_owned());
                (AnnotationKey::Reaction { id, user, emoji }, AnnotationValue::Reaction(n == 2))
            }
        };
        self.annotators += 1;
        let actor = ActorId16((1 << 127 | self.annotators).to_be_bytes());
        let Ok(authored) = doc.annotate(actor, &[entry]) else { return Vec::new() };
        self.store((window, 0, DocKind::Annotations), &authored.chunk).1
    }

    /// Answers a frame.
    pub fn handle(&mut self, frame: ClientFrame) -> Vec<RelayFrame> {
        match frame {
            ClientFrame::Hello { .. } => vec![RelayFrame::Welcome {
                version: PROTOCOL_VERSION,
                epoch: self.epoch,
                server_time_ms: self.now_ms,
                limits: WireLimits {
                    frame_bytes: 1 << 20,
                    chunk_bytes: 1 << 18,
                    push_chunks: 3,
                    fetch_windows: 2,
                },
            }],
            ClientFrame::Open { channel, cursor, newest } if channel == self.channel => {
                self.open(cursor, newest)
            }
            ClientFrame::Open { channel, .. } => vec![RelayFrame::Error {
                code: Code::Forbidden,
                text: String::new(),
                channel: Some(channel),
                reference: None,
            }],
            ClientFrame::Push { reference, window, generation, doc, chunks, .. } => {
                self.push(reference, (window, generation, doc), &chunks)
            }
            ClientFrame::Fetch { reference, windows, .. } => {
                windows.iter().map(|have| self.segment(reference, have)).collect()
            }
            ClientFrame::Channels { .. } => {
                let info = ChannelInfo {
                    name: self.channel.clone(),
                    total: self.messages.len() as u64,
                    seq: self.head_seq(),
                    newest_at: self.messages.keys().last().map(|id| id.time_ms()),
                };
                vec![RelayFrame::Channels { list: vec![info], more: false }]
            }
            _ => Vec::new(),
        }
    }

    fn open(&mut self, cursor: Option<Cursor>, newest: u32) -> Vec<RelayFrame> {
        self.is_open = true;
        let head = self.cursor_at(self.head_seq());
        let good =
            |cursor: &Cursor| cursor.seq <= head.seq && self.cursor_at(cursor.seq) == *cursor;
        let since = cursor.filter(good).map(|cursor| cursor.seq);
        let directory = self.directory.difference(since.unwrap_or(0));
        let mut frames = vec![RelayFrame::Opened {
            channel: self.channel.clone(),
            head,
            resumed: since.is_some(),
            directory: directory.encode(),
            total: self.messages.len() as u64,
            late: since.map(|since| self.late_runs(since)).unwrap_or_default(),
            late_complete: true,
        }];
        if newest > 0 && since.is_none() {
            let windows: Vec<_> = self.directory.iter().map(|(window, _)| window).collect();
            for window in windows.into_iter().rev().take(2) {
                let have = Have { window, generation: 0, messages_seq: 0, annotations_seq: 0 };
                frames.push(self.segment(0, &have));
            }
        }
        frames
    }

    fn late_runs(&self, since: u64) -> Vec<LateRun> {
        let mut runs: Vec<LateRun> = Vec::new();
        let mut open = false;
        for (id, (seq, late, _)) in &self.messages {
            let counts = *late && *seq > since;
            match runs.last_mut().filter(|_| open && counts) {
                Some(run) => (run.last, run.count) = (*id, run.count + 1),
                None if counts => runs.push(LateRun { first: *id, last: *id, count: 1 }),
                None => {}
            }
            open = counts;
        }
        runs
    }

    fn push(
        &mut self,
        reference: u64,
        target: (Window, u32, DocKind),
        chunks: &[Vec<u8>],
    ) -> Vec<RelayFrame> {
        let channel = self.channel.clone();
        let (mut seqs, mut changes, mut refused) = (Vec::new(), Vec::new(), None);
        for (index, chunk) in (0..).zip(chunks) {
            let refusal = self.refuse.take().or_else(|| self.check(target, chunk).err());
            if let Some(code) = refusal {
                let (text, channel) = (String::new(), channel.clone());
                refused =
                    Some(RelayFrame::Nack { reference, channel, chunk_index: index, code, text });
                break;
            }
            let (seq, change) = self.store(target, chunk);
            seqs.push(seq);
            changes.extend(change);
        }
        let ack = (!seqs.is_empty()).then_some(RelayFrame::Ack { reference, channel, seqs });
        ack.into_iter().chain(refused).chain(changes).collect()
    }

    fn check(&self, (window, _, doc): (Window, u32, DocKind), chunk: &[u8]) -> Result<(), Code> {
        let view = ChangeView::read(chunk, window, doc).map_err(|_| Code::BadChange)?;
        if self.seqs.contains_key(&view.hash) {
            return Ok(());
        }
        let none = Known::default();
        let known = self.known.get(&(window, doc)).unwrap_or(&none);
        check_header(
            &view,
            known.actors.get(&view.actor),
            |dep| known.changes.get(dep).copied(),
            |key, counter, actor| known.ops.contains(&(key.to_owned(), counter, *actor)),
        )
        .map_err(|_| Code::BadChange)?;
        let ChangeBody::Messages(ops) = &view.body else { return Ok(()) };
        for op in ops {
            if let Some((_, _, stored)) = self.messages.get(&op.id) {
                return Err(if *stored == op.content { Code::Duplicate } else { Code::IdTaken });
            }
            if op.id.time_ms() > self.now_ms + FUTURE_MS_MAX {
                return Err(Code::FutureId);
            }
        }
        Ok(())
    }

    /// Stores a change that was checked: its first seq, and what is told of it.
    fn store(
        &mut self,
        (window, generation, doc): (Window, u32, DocKind),
        chunk: &[u8],
    ) -> (u64, Vec<RelayFrame>) {
        let view = ChangeView::read(chunk, window, doc).expect("it was checked");
        if let Some(seq) = self.seqs.get(&view.hash) {
            return (*seq, Vec::new());
        }
        let seq = self.head_seq() + 1;
        let last_seq = seq + view.ops_len - 1;
        let mut entry = self.directory.get(window).copied();
        let known = self.known.entry((window, doc)).or_default();
        known.actors.insert(view.actor, view.actor_state());
        known.changes.insert(view.hash, view.max_op());
        self.seqs.insert(view.hash, seq);
        let mut late_bits = Vec::new();
        match &view.body {
            ChangeBody::Messages(ops) => {
                let mut ops: Vec<_> = ops.iter().collect();
                ops.sort_by_key(|op| op.id);
                for (op, seq) in ops.into_iter().zip(seq..) {
                    let time_ms = op.id.time_ms();
                    let late = self.newest_ms > time_ms + LATE_AFTER_MS;
                    late_bits.push(late);
                    self.newest_ms = self.newest_ms.max(time_ms);
                    self.messages.insert(op.id, (seq, late, op.content.clone()));
                    let bytes = op.body.len() as u64;
                    match &mut entry {
                        Some(entry) => entry.add_message(time_ms, bytes),
                        None => entry = Some(Entry::one(generation, time_ms, bytes)),
                    }
                }
            }
            ChangeBody::Annotations(ops) => {
                let ops = ops.iter().map(|op| (op.key.clone(), op.op, view.actor));
                known.ops.extend(ops);
            }
        }
        if let Some(mut entry) = entry {
            let mark = match doc {
                DocKind::Messages => &mut entry.message_doc,
                DocKind::Annotations => &mut entry.annotation_doc,
            };
            mark.record(last_seq, &view.hash);
            self.directory.set(window, entry);
        }
        let (hash, chunk, late) = (view.hash, chunk.to_vec(), encode_late(late_bits));
        let stored = Stored { seq, last_seq, window, doc, hash, chunk, late };
        self.log.push(stored.clone());
        let Stored { chunk, late, .. } = stored;
        let channel = self.channel.clone();
        let change = RelayFrame::Changes { channel, seq, window, generation, doc, chunk, late };
        (seq, if self.is_open { vec![change] } else { Vec::new() })
    }

    fn changes(&self, window: Window, doc: DocKind) -> impl Iterator<Item = &Stored> {
        self.log.iter().filter(move |stored| stored.window == window && stored.doc == doc)
    }

    fn document(&self, window: Window, doc: DocKind, upto: u64) -> SegmentDoc {
        let mut document = SegmentDoc::new(window, doc);
        let chunks: Vec<_> = self
            .changes(window, doc)
            .filter(|stored| stored.last_seq <= upto)
            .map(|stored| &stored.chunk)
            .collect();
        document.apply(&chunks).expect("what is stored applies");
        document
    }

    fn segment(&self, reference: u64, have: &Have) -> RelayFrame {
        let window = have.window;
        let part = |doc, has: u64| {
            let upto = if has > 0 { 0 } else { self.saved_upto };
            let document = self.document(window, doc, upto);
            let is_saved = !document.heads().is_empty();
            let saved = is_saved.then(|| SavedDoc { upto_seq: upto, bytes: document.save() });
            let above = upto.max(has);
            let tail = self.changes(window, doc).filter(move |stored| stored.seq > above);
            let tail = tail.map(|stored| Tail {
                seq: stored.seq,
                chunk: stored.chunk.clone(),
                late: stored.late.clone(),
            });
            (saved, tail.collect(), document)
        };
        let (messages, message_tail, document) = part(DocKind::Messages, have.messages_seq);
        let (annotations, annotation_tail, _) = part(DocKind::Annotations, have.annotations_seq);
        let facts: Vec<_> =
            document.ids().into_iter().filter_map(|id| self.messages.get(&id)).collect();
        let entry = self.directory.get(window);
        RelayFrame::Segment {
            reference,
            channel: self.channel.clone(),
            window,
            as_of: self.head_seq(),
            entry: entry.map_or(Vec::new(), |entry| Directory::of_one(window, *entry).encode()),
            messages,
            seqs: encode_seqs(facts.iter().map(|(seq, _, _)| *seq)),
            late: encode_late(facts.iter().map(|(_, late, _)| *late)),
            message_tail,
            annotations,
            annotation_tail,
        }
    }
}
