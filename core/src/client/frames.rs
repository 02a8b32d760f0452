//! What the relay says: frames taken apart and handed to where they belong.

use super::{Client, Event, Now, Slot, SlotStage};
use crate::channel::{
    Answer, AnswerTail, Arrival, Channel, ChannelError, Opened, SavedAnswer, UnseenRun,
};
use crate::directory::Directory;
use crate::read_state::ReadState;
use crate::wire::encode_client;
use crate::wire::{ChannelInfo, ClientFrame, Code, LateRun, RelayFrame, SavedDoc, Tail};

/// The bytes are no frame.
const BAD_FRAME: &str = "bad_frame";
/// A frame came where it has no place, or changes are missing: a resume by cursor repairs it.
const OUT_OF_STEP: &str = "out_of_step";
/// The relay could not take a frame now.
const RELAY_BUSY: &str = "relay_busy";

impl Client {
    /// Takes in bytes of the connection: one frame, or a part of one.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Now) {
        if !self.connection.is_connected() {
            return;
        }
        self.heard(now);
        match self.connection.assembler.read(bytes) {
            Ok(Some(frame)) => self.handle_frame(frame, now),
            // A part, or a frame of a later version that may be skipped.
            Ok(None) => {}
            Err(_) => self.disconnect(BAD_FRAME, now),
        }
        self.settle(now);
    }

    fn handle_frame(&mut self, frame: RelayFrame, now: Now) {
        match frame {
            RelayFrame::Welcome { server_time_ms, limits, .. } => {
                self.welcomed(server_time_ms, &limits, now);
            }
            RelayFrame::Opened {
                channel, head, resumed, directory, late, late_complete, ..
            } => {
                let run = |run: LateRun| UnseenRun {
                    first: run.first,
                    last: run.last,
                    count: u64::from(run.count),
                };
                let late = late.into_iter().map(run).collect();
                let Some(directory) = directory_of(&directory) else {
                    return self.disconnect(BAD_FRAME, now);
                };
                let opened = Opened { head, resumed, directory, late, late_complete };
                self.opened(&channel, opened, now);
            }
            RelayFrame::Segment { ref channel, .. } => {
                self.marks_are_told(channel);
                self.segment(frame, now);
            }
            RelayFrame::Changes { channel, seq, window, generation, doc, chunk, late } => {
                self.marks_are_told(&channel);
                let arrival = Arrival { seq, window, generation, doc, chunk, late };
                self.changes(&channel, arrival, now);
            }
            RelayFrame::Ack { reference, seqs, .. } => self.acked(reference, &seqs),
            RelayFrame::Nack { reference, chunk_index, code, .. } => {
                let index = usize::try_from(chunk_index).unwrap_or(usize::MAX);
                self.nacked(reference, index, code.as_str(), now);
            }
            RelayFrame::Error { code, text, reference, channel } => {
                self.refused(&code, text, reference, channel.as_deref(), now);
            }
            RelayFrame::Channels { list, more } => self.channels_came(list, more),
            RelayFrame::Entries { channel, directory } => self.entries(&channel, &directory, now),
            RelayFrame::Marks { channel, user, seq, read, delivered, unseen_late } => {
                let delivered = delivered.unwrap_or(0);
                let marks = ReadState { read, seq, delivered, unseen_late };
                self.marks_came(&channel, user, &marks);
            }
            RelayFrame::Ephemeral { channel, user, payload } => {
                self.ephemeral_came(channel, user, payload);
            }
            // Parts were put together before.
            _ => {}
        }
    }

    fn opened(&mut self, channel: &str, opened: Opened, now: Now) {
        // Unasked, a relay tells so of windows that it dropped: what follows on all that came before.
        // Anything else that comes to an open channel came before as well.
        let (head, resumed) = (opened.head, opened.resumed);
        let is_news = |replica: &Channel| {
            let known = replica.head();
            !resumed && known.is_some_and(|known| known.epoch == head.epoch && known.seq < head.seq)
        };
        let is_taken = |slot: &&mut Slot| match slot.stage {
            SlotStage::Opening => true,
            SlotStage::Open => is_news(&slot.replica),
            SlotStage::Closed | SlotStage::Refused => false,
        };
        let Some(slot) = self.slots.get_mut(channel).filter(is_taken) else { return };
        let first_time = slot.replica.head().is_none();
        slot.replica.opened(opened, self.clock.relay_ms(now));
        slot.stage = SlotStage::Open;
        slot.hungry = true;
        self.useful(now);
        if first_time {
            self.expect_newest(channel, now);
        }
        self.place_unread(channel);
    }

    fn changes(&mut self, channel: &str, arrival: Arrival, now: Now) {
        let Some(slot) = opened_slot(&mut self.slots, channel, SlotStage::Open) else { return };
        match slot.replica.change(arrival, now.wall_ms) {
            Ok(()) if self.options.delivered => slot.replica.received_more(),
            Ok(()) => {}
            // Nothing of a change that cannot be read may be skipped: its seqs would be missing.
            Err(ChannelError::Gap { .. } | ChannelError::NotOpen) => {
                self.disconnect(OUT_OF_STEP, now);
            }
            Err(_) => self.disconnect(BAD_FRAME, now),
        }
    }

    fn segment(&mut self, frame: RelayFrame, now: Now) {
        let RelayFrame::Segment {
            channel,
            window,
            as_of,
            entry,
            messages,
            seqs,
            late,
            message_tail,
            annotations,
            annotation_tail,
            ..
        } = frame
        else {
            return;
        };
        let Some(slot) = opened_slot(&mut self.slots, &channel, SlotStage::Open) else { return };
        let Some(entries) = directory_of(&entry) else { return self.disconnect(BAD_FRAME, now) };
        let messages = messages.map(|SavedDoc { bytes, .. }| SavedAnswer { bytes, seqs, late });
        let answer = Answer {
            window,
            as_of,
            entry: entries.get(window).copied(),
            messages,
            message_tail: message_tail.into_iter().map(AnswerTail::from).collect(),
            annotations: annotations.map(|saved| saved.bytes),
            annotation_tail: annotation_tail.into_iter().map(|tail| tail.chunk).collect(),
        };
        // What does not load is reported by the replica, and left a hole.
        let _ = slot.replica.answer(answer);
        slot.hungry = true;
        if slot.replica.fetching_len() == 0 {
            slot.expecting_until_ms = None;
        }
    }

    /// An erasure raised generations: what there is of these windows is void.
    fn entries(&mut self, channel: &str, directory: &[u8], now: Now) {
        let Some(slot) = opened_slot(&mut self.slots, channel, SlotStage::Open) else { return };
        match directory_of(directory) {
            Some(entries) => slot.replica.replace_entries(&entries),
            None => return self.disconnect(BAD_FRAME, now),
        }
        slot.hungry = true;
    }

    fn channels_came(&mut self, list: Vec<ChannelInfo>, more: bool) {
        let after = list.last().map(|info| info.name.clone());
        self.channels_coming.extend(list);
        if more && after.is_some() {
            self.frames.push_back(encode_client(&ClientFrame::Channels { after }));
            return;
        }
        self.channels = std::mem::take(&mut self.channels_coming);
        self.events.push_back(Event::Channels);
    }

    /// The relay refused a frame of this client.
    fn refused(
        &mut self,
        code: &Code,
        text: String,
        reference: Option<u64>,
        channel: Option<&str>,
        now: Now,
    ) {
        self.events.push_back(Event::Error { code: code.as_str().to_owned(), text });
        if matches!(code, Code::Retry | Code::RateLimited | Code::NotOpen) {
            // It may be taken later; the reconnect's delay spreads the load.
            return self.disconnect(RELAY_BUSY, now);
        }
        let is_push = reference.is_some_and(|reference| self.pushes.contains_key(&reference));
        if let Some(reference) = reference {
            self.nacked(reference, 0, code.as_str(), now);
        }
        let Some(slot) = channel.and_then(|channel| self.slots.get_mut(channel)) else { return };
        if slot.stage == SlotStage::Open && reference.is_some() && !is_push {
            // The same again would be refused again.
            slot.replica.fetches_refused();
            slot.hungry = true;
        }
        if slot.stage == SlotStage::Opening {
            slot.replica.fetches_failed();
            // Refused, not lost: it is opened again after the next reconnect.
            slot.stage = SlotStage::Refused;
            slot.refusal = Some(code.as_str().to_owned());
            self.events.push_back(Event::Connection);
        }
    }
}

/// A channel of this client, if it is at `stage`: answers may come for one that was closed.
fn opened_slot<'a>(
    slots: &'a mut std::collections::BTreeMap<String, Slot>,
    channel: &str,
    stage: SlotStage,
) -> Option<&'a mut Slot> {
    slots.get_mut(channel).filter(|slot| slot.stage == stage)
}

/// A directory from a frame, where no bytes stand for none.
fn directory_of(bytes: &[u8]) -> Option<Directory> {
    if bytes.is_empty() { Some(Directory::new()) } else { Directory::decode(bytes).ok() }
}

impl From<Tail> for AnswerTail {
    fn from(tail: Tail) -> Self {
        Self { seq: tail.seq, chunk: tail.chunk, late: tail.late }
    }
}
