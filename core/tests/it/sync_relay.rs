//! A relay in memory: what design 6 and 7 ask of one, as plainly as it can be written.
#![allow(clippy::needless_pass_by_value, reason = "a frame's fields are handed on as they came")]

use backscroll_core::change::{
    ActorId16, ActorState, ChangeBody, ChangeHash, ChangeView, DocKind, check_header,
};
use backscroll_core::directory::{Directory, Entry};
use backscroll_core::limits::{FUTURE_MS_MAX, LATE_AFTER_MS};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::read_state::ReadState;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::{
    ChannelInfo, ClientFrame, Code, Cursor, Epoch, Have, LateRun, PROTOCOL_VERSION, RelayFrame,
    SavedDoc, Tail, WireLimits, encode_late, encode_seqs,
};
use std::collections::{BTreeMap, BTreeSet};

/// A stored change.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) window: Window,
    pub(crate) generation: u32,
    pub(crate) doc: DocKind,
    pub(crate) hash: ChangeHash,
    pub(crate) chunk: Vec<u8>,
    pub(crate) late: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Chan {
    pub(crate) log: Vec<Stored>,
    pub(crate) messages: BTreeMap<MessageId, (u64, bool, Content)>,
    /// The window of each message.
    pub(crate) homes: BTreeMap<MessageId, Window>,
    pub(crate) actors: BTreeMap<(Window, DocKind, ActorId16), ActorState>,
    pub(crate) hashes: BTreeMap<ChangeHash, u64>,
    /// Of annotation changes the greatest op, and every op.
    pub(crate) max_ops: BTreeMap<(Window, ChangeHash), u64>,
    pub(crate) ops: BTreeSet<(Window, String, u64, ActorId16)>,
    pub(crate) directory: Directory,
    pub(crate) reads: BTreeMap<String, ReadState>,
    newest_ms: u64,
    /// Windows are saved up to this seq; what is above goes as a tail.
    saved_upto: u64,
}

/// A relay; cloned, a backup of its store.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) epoch: Epoch,
    pub(crate) now_ms: u64,
    pub(crate) channels: BTreeMap<String, Chan>,
    /// Connections, and the channels each has open.
    open: BTreeMap<u64, BTreeSet<String>>,
    users: BTreeMap<u64, String>,
    /// How many clients without a cursor heard of no marks of their user.
    pub(crate) unheard: BTreeMap<String, u64>,
    /// Whether more late messages were missed than are listed.
    pub(crate) lists_no_late: bool,
    /// Windows that take no more messages.
    pub(crate) full: BTreeSet<Window>,
    /// Texts that are refused, with their code.
    pub(crate) refused_texts: BTreeMap<String, Code>,
    /// How many pushes came, for tests.
    pub(crate) pushes: u64,
    /// How many marks came, for tests.
    pub(crate) marks: u64,
    /// How many windows were fetched, for tests.
    pub(crate) fetched: u64,
}

type Out = Vec<(u64, RelayFrame)>;

impl Relay {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            epoch: Epoch([1; 16]),
            now_ms,
            channels: BTreeMap::new(),
            open: BTreeMap::new(),
            users: BTreeMap::new(),
            unheard: BTreeMap::new(),
            lists_no_late: false,
            full: BTreeSet::new(),
            refused_texts: BTreeMap::new(),
            pushes: 0,
            marks: 0,
            fetched: 0,
        }
    }

    pub(crate) fn closed(&mut self, connection: u64) {
        self.open.remove(&connection);
    }

    /// Takes a store back that was copied from a relay before: the history has a new epoch.
    pub(crate) fn restore(&mut self, backup: &Self) {
        self.channels = backup.channels.clone();
        self.epoch = Epoch([self.epoch.0[0] + 1; 16]);
        self.open.clear();
    }

    pub(crate) fn compact(&mut self) {
        for channel in self.channels.values_mut() {
            channel.saved_upto = channel.head_seq();
        }
    }

    /// Everything stored in a channel, in order.
    pub(crate) fn messages(&self, channel: &str) -> Vec<(MessageId, u64, bool, Content)> {
        let messages = self.channels.get(channel).map(|channel| &channel.messages);
        let all = messages.into_iter().flatten();
        all.map(|(id, (seq, late, content))| (*id, *seq, *late, content.clone())).collect()
    }

    pub(crate) fn directory(&self, channel: &str) -> Directory {
        self.channels.get(channel).map(|channel| channel.directory.clone()).unwrap_or_default()
    }

    /// Answers one frame: what goes to which connection, in order.
    pub(crate) fn handle(&mut self, connection: u64, frame: ClientFrame) -> Out {
        match frame {
            ClientFrame::Hello { version, user, .. } => {
                assert_eq!(version, PROTOCOL_VERSION);
                self.open.insert(connection, BTreeSet::new());
                self.users.insert(connection, user);
                let limits = WireLimits {
                    frame_bytes: 1 << 20,
                    chunk_bytes: 1 << 18,
                    push_chunks: 7,
                    fetch_windows: 3,
                };
                let (epoch, server_time_ms) = (self.epoch, self.now_ms);
                let version = PROTOCOL_VERSION;
                let welcome = RelayFrame::Welcome { version, epoch, server_time_ms, limits };
                vec![(connection, welcome)]
            }
            ClientFrame::Open { channel, cursor, newest } => {
                self.open(connection, channel, cursor, newest)
            }
            ClientFrame::Push { reference, channel, window, generation, doc, chunks } => {
                self.pushes += 1;
                self.push(connection, reference, channel, (window, generation, doc), &chunks)
            }
            ClientFrame::Fetch { reference, channel, windows } => {
                let chan = self.channels.entry(channel.clone()).or_default();
                self.fetched += windows.len() as u64;
                let segment = |have: &Have| chan.segment(reference, &channel, have);
                windows.iter().map(|have| (connection, segment(have))).collect()
            }
            ClientFrame::Mark { channel, epoch, seq, read, delivered, unseen_late } => {
                self.marks += 1;
                let delivered = delivered.unwrap_or(0);
                let mark = ReadState { read, seq, delivered, unseen_late };
                self.mark(connection, channel, epoch, mark)
            }
            ClientFrame::Ephemeral { channel, payload } => {
                let user = self.users[&connection].clone();
                let to = self.open.iter();
                let to = to.filter(|(to, open)| **to != connection && open.contains(&channel));
                let frame = || RelayFrame::Ephemeral {
                    channel: channel.clone(),
                    user: user.clone(),
                    payload: payload.clone(),
                };
                to.map(|(to, _)| (*to, frame())).collect()
            }
            ClientFrame::Close { channel } => {
                if let Some(open) = self.open.get_mut(&connection) {
                    open.remove(&channel);
                }
                Vec::new()
            }
            ClientFrame::Channels { .. } => {
                let info = |(name, channel): (&String, &Chan)| ChannelInfo {
                    name: name.clone(),
                    total: channel.messages.len() as u64,
                    seq: channel.head_seq(),
                    newest_at: channel.messages.keys().last().map(|id| id.time_ms()),
                };
                let list = self.channels.iter().map(info).collect();
                vec![(connection, RelayFrame::Channels { list, more: false })]
            }
            frame => panic!("the client sent {frame:?}"),
        }
    }

    fn open(
        &mut self,
        connection: u64,
        channel: String,
        cursor: Option<Cursor>,
        newest: u32,
    ) -> Out {
        let epoch = self.epoch;
        let chan = self.channels.entry(channel.clone()).or_default();
        self.open.get_mut(&connection).expect("hello came").insert(channel.clone());
        let head = chan.cursor_at(epoch, chan.head_seq());
        let resumed = cursor.is_some_and(|cursor| {
            cursor.seq <= chan.head_seq() && chan.cursor_at(epoch, cursor.seq) == cursor
        });
        let since = if resumed { cursor.map_or(0, |cursor| cursor.seq) } else { 0 };
        let directory =
            if resumed { chan.directory.difference(since) } else { chan.directory.clone() };
        let late = chan.late_runs(since);
        let opened = RelayFrame::Opened {
            channel: channel.clone(),
            head,
            resumed,
            directory: directory.encode(),
            total: chan.messages.len() as u64,
            late: if resumed && !self.lists_no_late { late } else { Vec::new() },
            late_complete: !self.lists_no_late,
        };
        let mut out = vec![(connection, opened)];
        let user = &self.users[&connection];
        if cursor.is_none() && !chan.reads.contains_key(user) {
            // One that begins with the channel takes nothing for history.
            let is_first = !self.unheard.contains_key(user);
            let takes = u64::from(is_first || chan.head_seq() > 0);
            *self.unheard.entry(user.clone()).or_default() += takes;
        }
        // The user's own come first.
        let (own, others): (Vec<_>, Vec<_>) = chan.reads.iter().partition(|(of, _)| *of == user);
        for (of, state) in own.into_iter().chain(others) {
            out.push((connection, marks_frame(&channel, of, state, of == user)));
        }
        if newest > 0 && !resumed {
            for window in chan.newest_windows(newest) {
                let have = Have { window, generation: 0, messages_seq: 0, annotations_seq: 0 };
                out.push((connection, chan.segment(0, &channel, &have)));
            }
        }
        out
    }

    /// Merges a mark, and tells everyone who has the channel open.
    fn mark(&mut self, connection: u64, channel: String, epoch: Epoch, mark: ReadState) -> Out {
        let chan = self.channels.entry(channel.clone()).or_default();
        assert_eq!(epoch, self.epoch, "a mark of another epoch");
        assert!(mark.seq.max(mark.delivered) <= chan.head_seq(), "a mark above the head");
        let user = self.users[&connection].clone();
        let read_ms = mark.read.map_or(0, |read| read.time_ms());
        assert!(read_ms <= self.now_ms + FUTURE_MS_MAX, "something was read in the future");
        let state = chan.reads.entry(user.clone()).or_default();
        if !state.merge(&mark) {
            return Vec::new();
        }
        let state = state.clone();
        let to = self.open.iter().filter(|(_, open)| open.contains(&channel));
        let frame = |to: &u64| marks_frame(&channel, &user, &state, self.users[to] == user);
        to.map(|(to, _)| (*to, frame(to))).collect()
    }

    fn push(
        &mut self,
        connection: u64,
        reference: u64,
        channel: String,
        target: (Window, u32, DocKind),
        chunks: &[Vec<u8>],
    ) -> Out {
        let (mut seqs, mut events, mut refused) = (Vec::new(), Vec::new(), None);
        for (index, chunk) in chunks.iter().enumerate() {
            match self.store(connection, &channel, target, chunk) {
                Ok((seq, event)) => {
                    seqs.push(seq);
                    events.extend(event);
                }
                Err(code) => {
                    refused = Some((u32::try_from(index).expect("small"), code));
                    break;
                }
            }
        }
        let mut out = Vec::new();
        if !seqs.is_empty() {
            let ack = RelayFrame::Ack { reference, channel: channel.clone(), seqs };
            out.push((connection, ack));
        }
        if let Some((chunk_index, code)) = refused {
            let text = String::new();
            let channel = channel.clone();
            out.push((
                connection,
                RelayFrame::Nack { reference, channel, chunk_index, code, text },
            ));
        }
        for stored in events {
            for (connection, open) in &self.open {
                if open.contains(&channel) {
                    out.push((*connection, stored.to_frame(&channel)));
                }
            }
        }
        out
    }

    /// Stores one chunk: its first seq, and the change if it is new.
    fn store(
        &mut self,
        connection: u64,
        channel: &str,
        (window, generation, doc): (Window, u32, DocKind),
        chunk: &[u8],
    ) -> Result<(u64, Option<Stored>), Code> {
        let chan = self.channels.entry(channel.to_owned()).or_default();
        let view = ChangeView::read(chunk, window, doc).map_err(|_| Code::BadChange)?;
        if let Some(seq) = chan.hashes.get(&view.hash) {
            return Ok((*seq, None));
        }
        let actor = chan.actors.get(&(window, doc, view.actor));
        let dep_max_op = |hash: &ChangeHash| chan.max_ops.get(&(window, *hash)).copied();
        let has_op = |key: &str, counter: u64, actor: &ActorId16| {
            chan.ops.contains(&(window, key.to_owned(), counter, *actor))
        };
        check_header(&view, actor, dep_max_op, has_op).map_err(|_| Code::BadChange)?;
        let ops = match &view.body {
            ChangeBody::Messages(ops) => ops,
            ChangeBody::Annotations(ops) => {
                for op in ops {
                    chan.check_annotation(window, &self.users[&connection], &op.target)?;
                }
                return Ok(chan.append_annotations(&view, window, generation, chunk));
            }
        };
        let mut ops = ops.clone();
        ops.sort_by_key(|op| op.id);
        for op in &ops {
            if let Some((_, _, stored)) = chan.messages.get(&op.id) {
                return Err(if *stored == op.content { Code::Duplicate } else { Code::IdTaken });
            }
            if op.id.time_ms() > self.now_ms + FUTURE_MS_MAX {
                return Err(Code::FutureId);
            }
            if let Some(code) = self.refused_texts.get(&op.content.text) {
                return Err(code.clone());
            }
        }
        if self.full.contains(&window) {
            return Err(Code::WindowFull);
        }
        Ok(chan.append(&view, window, generation, doc, chunk))
    }
}

impl Chan {
    pub(crate) fn head_seq(&self) -> u64 {
        self.log.last().map_or(0, |stored| stored.last_seq)
    }

    fn cursor_at(&self, epoch: Epoch, seq: u64) -> Cursor {
        let stored = self.log.iter().find(|stored| stored.last_seq == seq);
        Cursor { epoch, seq, hash: stored.map_or(ChangeHash([0; 32]), |stored| stored.hash) }
    }

    fn append(
        &mut self,
        view: &ChangeView,
        window: Window,
        generation: u32,
        doc: DocKind,
        chunk: &[u8],
    ) -> (u64, Option<Stored>) {
        let ChangeBody::Messages(ops) = &view.body else { panic!("no annotations are sent") };
        let mut ops = ops.clone();
        ops.sort_by_key(|op| op.id);
        let seq = self.head_seq() + 1;
        let mut entry = self.directory.get(window).copied();
        let mut late_bits = Vec::new();
        for (op, seq) in ops.iter().zip(seq..) {
            let time_ms = op.id.time_ms();
            let late = self.newest_ms > time_ms + LATE_AFTER_MS;
            late_bits.push(late);
            self.newest_ms = self.newest_ms.max(time_ms);
            self.messages.insert(op.id, (seq, late, op.content.clone()));
            self.homes.insert(op.id, window);
            let bytes = op.body.len() as u64;
            match &mut entry {
                Some(entry) => entry.add_message(time_ms, bytes),
                None => entry = Some(Entry::one(generation, time_ms, bytes)),
            }
        }
        let last_seq = seq + view.ops_len - 1;
        let mut entry = entry.expect("a change has messages");
        entry.message_doc.record(last_seq, &view.hash);
        self.directory.set(window, entry);
        self.actors.insert((window, doc, view.actor), view.actor_state());
        self.hashes.insert(view.hash, seq);
        let (hash, chunk, late) = (view.hash, chunk.to_vec(), encode_late(late_bits));
        let stored = Stored { seq, last_seq, window, generation, doc, hash, chunk, late };
        self.log.push(stored.clone());
        (seq, Some(stored))
    }

    /// Late messages after a seq, those with no other message between them as one run.
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

    fn newest_windows(&self, newest: u32) -> Vec<Window> {
        let newest = usize::try_from(newest).expect("small");
        let first = self
            .messages
            .keys()
            .rev()
            .nth(newest.saturating_sub(1))
            .or(self.messages.keys().next());
        let Some(from_ms) = first.map(|id| id.time_ms()) else { return Vec::new() };
        let overlaps =
            |(window, entry): (Window, &Entry)| (entry.last_ms >= from_ms).then_some(window);
        self.directory.iter().filter_map(overlaps).collect()
    }

    fn segment(&self, reference: u64, channel: &str, have: &Have) -> RelayFrame {
        let window = have.window;
        let of_window = |stored: &&Stored| stored.window == window;
        let of_messages = |stored: &&Stored| stored.doc == DocKind::Messages;
        let changes: Vec<_> = self.log.iter().filter(of_window).filter(of_messages).collect();
        let (annotations, annotation_tail) = self.annotations_of(have, self.saved_upto);
        let saved_upto = if have.messages_seq > 0 { 0 } else { self.saved_upto };
        let mut document = SegmentDoc::new(window, DocKind::Messages);
        let saved: Vec<_> = changes.iter().filter(|c| c.last_seq <= saved_upto).collect();
        let chunks: Vec<_> = saved.iter().map(|stored| &stored.chunk).collect();
        document.apply(&chunks).expect("what is stored applies");
        let of_saved: Vec<_> = document.messages().map(|(id, _)| &self.messages[&id]).collect();
        let tail = changes.iter().filter(|c| c.seq > saved_upto.max(have.messages_seq));
        let tail = tail.map(|stored| Tail {
            seq: stored.seq,
            chunk: stored.chunk.clone(),
            late: stored.late.clone(),
        });
        let entry = self.directory.get(window);
        RelayFrame::Segment {
            reference,
            channel: channel.to_owned(),
            window,
            as_of: self.head_seq(),
            entry: entry.map_or(Vec::new(), |entry| Directory::of_one(window, *entry).encode()),
            messages: (!saved.is_empty())
                .then(|| SavedDoc { upto_seq: saved_upto, bytes: document.save() }),
            seqs: encode_seqs(of_saved.iter().map(|(seq, _, _)| *seq)),
            late: encode_late(of_saved.iter().map(|(_, late, _)| *late)),
            message_tail: tail.collect(),
            annotations,
            annotation_tail,
        }
    }
}

fn marks_frame(channel: &str, user: &str, state: &ReadState, is_own: bool) -> RelayFrame {
    RelayFrame::Marks {
        channel: channel.to_owned(),
        user: user.to_owned(),
        seq: state.seq,
        read: state.read,
        delivered: (state.delivered > 0).then_some(state.delivered),
        unseen_late: if is_own { state.unseen_late.clone() } else { Vec::new() },
    }
}

impl Stored {
    fn to_frame(&self, channel: &str) -> RelayFrame {
        RelayFrame::Changes {
            channel: channel.to_owned(),
            seq: self.seq,
            window: self.window,
            generation: self.generation,
            doc: self.doc,
            chunk: self.chunk.clone(),
            late: self.late.clone(),
        }
    }
}
