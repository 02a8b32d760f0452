//! Messages of JSON clients: given an id and a window, gathered into few changes, authored by the
//! relay, then checked and put like any change.

use super::channel::Channel;
use super::check::{Author, Stop, Target, chain, check_future, message};
use super::command::{Code, Refusal, Sent};
use super::damage;
use super::writer::{Answer, ReadySend, Reply, Work};
use crate::index::{content_of, is_erased};
use crate::limits::{GROUP_BYTES_MAX, GROUP_MESSAGES_MAX, IDEMPOTENCY_MS};
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{IdempotencyRow, Row};
use crate::store::txn::Txn;
use backscroll_core::change::DocKind;
use backscroll_core::message::{MessageId, TIME_MS_MAX};
use backscroll_core::window::{Fill, Knowledge, Window, home_of};
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

/// Sends that wait to become changes: one group per channel and window.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<(ChannelId, Window), Group>,
    ids: HashSet<(ChannelId, MessageId)>,
    /// How many groups there were.
    begun: u64,
}

#[derive(Debug)]
struct Group {
    channel: String,
    /// Groups are stored in the order in which their first messages came.
    order: u64,
    now_ms: u64,
    fill: Fill,
    body_bytes: usize,
    messages: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: MessageId,
    body: Vec<u8>,
    reply: Reply<Result<Sent, Refusal>>,
}

/// How a send goes on.
enum Place {
    /// It is stored already.
    Known(Sent),
    /// It is new, and gets this id.
    New(MessageId),
}

impl Groups {
    /// The channels with sends that wait, and the time of one of them.
    pub(super) fn channels(&self) -> Vec<(String, u64)> {
        let mut channels: Vec<_> =
            self.groups.values().map(|group| (group.channel.clone(), group.now_ms)).collect();
        channels.dedup_by(|a, b| a.0 == b.0);
        channels
    }

    /// Takes a send; its answer is put off until its group is stored.
    pub(super) fn add(
        &mut self,
        work: &mut Work<'_>,
        channel: &mut Channel,
        send: ReadySend,
        reply: Reply<Result<Sent, Refusal>>,
    ) -> Result<(), StoreError> {
        let id = match self.place(work, channel, &send) {
            Ok(Place::New(id)) => id,
            Ok(Place::Known(sent)) => {
                work.answers.push(Answer::Send(reply, Ok(sent)));
                return Ok(());
            }
            Err(stop) => return refuse(work, channel, stop, reply),
        };
        let window = match self.home(work, channel, id) {
            Ok(window) => window,
            Err(error) => return refuse(work, channel, error.into(), reply),
        };
        if let Some(digest) = &send.idempotency {
            let key = keys::idempotency(channel.number, digest);
            let row = IdempotencyRow { at_ms: send.now_ms, id };
            work.txn.put(Family::Idempotency, key, row.encode());
        }
        let key = (channel.number, window);
        let is_over = self.groups.get(&key).is_some_and(|group| {
            group.messages.len() >= GROUP_MESSAGES_MAX
                || group.body_bytes + send.body.len() > GROUP_BYTES_MAX
        });
        if is_over && let Some(group) = self.groups.remove(&key) {
            self.store(work, channel, window, group)?;
        }
        self.ids.insert((channel.number, id));
        let (time_ms, bytes) = (id.time_ms(), send.body.len());
        let waiting = Waiting { id, body: send.body, reply };
        match self.groups.get_mut(&key) {
            Some(group) => {
                group.fill = group.fill.with(time_ms, bytes as u64);
                group.body_bytes += bytes;
                group.messages.push(waiting);
            }
            None => {
                self.begun += 1;
                let group = Group {
                    channel: send.request.channel,
                    order: self.begun,
                    now_ms: send.now_ms,
                    fill: Fill::one(time_ms, bytes as u64),
                    body_bytes: bytes,
                    messages: vec![waiting],
                };
                self.groups.insert(key, group);
            }
        }
        Ok(())
    }

    /// Finds out whether the message is known, and its id if not.
    fn place(
        &mut self,
        work: &mut Work<'_>,
        channel: &mut Channel,
        send: &ReadySend,
    ) -> Result<Place, Stop> {
        if let Some(sent) = self.earlier(work, channel, send)? {
            return Ok(Place::Known(sent));
        }
        let message_of = &send.request.message;
        let id = match (message_of.id, message_of.sent_at) {
            (Some(id), Some(time)) if time != id.time_ms() => {
                let text = "sent_at is another time than the id's";
                return Err(Refusal::new(Code::BadRequest, text).into());
            }
            (Some(id), _) => id,
            (None, Some(time)) if time > TIME_MS_MAX => {
                return Err(Refusal::new(Code::BadRequest, "sent_at is beyond any id").into());
            }
            (None, Some(time)) => {
                check_future(time, send.now_ms)?;
                channel.ids.make_at(time, send.entropy)
            }
            (None, None) => channel.ids.make(send.now_ms, send.entropy),
        };
        check_future(id.time_ms(), send.now_ms)?;
        if self.ids.contains(&(channel.number, id)) {
            self.flush(work, channel, send.now_ms)?;
        }
        let Some(row) = message(&work.txn, channel, id)? else {
            return Ok(Place::New(id));
        };
        let (stored, content) = (content_of(&row)?, &message_of.content);
        let is_same = stored.text == content.text || is_erased(&stored, &row.annotations);
        if stored.from == content.from && is_same {
            return Ok(Place::Known(Sent { id, seq: row.seq, duplicate: true }));
        }
        let text = format!("another message has the id {id}");
        Err(Refusal::new(Code::IdTaken, text).into())
    }

    /// The message that was sent before under the same idempotency key.
    fn earlier(
        &mut self,
        work: &mut Work<'_>,
        channel: &mut Channel,
        send: &ReadySend,
    ) -> Result<Option<Sent>, StoreError> {
        let Some(digest) = &send.idempotency else { return Ok(None) };
        let key = keys::idempotency(channel.number, digest);
        let Some(row) = work.txn.get(Family::Idempotency, &key)? else { return Ok(None) };
        let row = IdempotencyRow::decode(&row)?;
        if send.now_ms.saturating_sub(row.at_ms) >= IDEMPOTENCY_MS {
            return Ok(None);
        }
        if self.ids.contains(&(channel.number, row.id)) {
            self.flush(work, channel, send.now_ms)?;
        }
        let stored = message(&work.txn, channel, row.id)?;
        Ok(stored.map(|stored| Sent { id: row.id, seq: stored.seq, duplicate: true }))
    }

    /// The window for a new message: the relay knows all that is stored and all that waits.
    fn home(
        &self,
        work: &Work<'_>,
        channel: &mut Channel,
        id: MessageId,
    ) -> Result<Window, StoreError> {
        let mut failed = None;
        let window = home_of(id.time_ms(), Knowledge::FULL, |window| {
            let stored = channel.window(&work.txn, window).unwrap_or_else(|error| {
                failed = Some(error);
                None
            });
            let waiting = self.groups.get(&(channel.number, window)).map(|group| group.fill);
            match (stored.map(|row| row.entry.fill()), waiting) {
                (Some(stored), Some(waiting)) => Some(Fill {
                    messages: stored.messages + waiting.messages,
                    bytes: stored.bytes + waiting.bytes,
                    oldest_ms: stored.oldest_ms.min(waiting.oldest_ms),
                    newest_ms: stored.newest_ms.max(waiting.newest_ms),
                }),
                (stored, waiting) => stored.or(waiting),
            }
        });
        failed.map_or(Ok(window), Err)
    }

    /// Stores what waits in a channel.
    pub(super) fn flush(
        &mut self,
        work: &mut Work<'_>,
        channel: &mut Channel,
        _now_ms: u64,
    ) -> Result<(), StoreError> {
        let first = (channel.number, Window::covering(0, 0));
        let next = (channel.number.saturating_add(1), Window::covering(0, 0));
        let waiting = self.groups.range(first..next).map(|(key, group)| (group.order, *key));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        for (_, key) in waiting {
            if let Some(group) = self.groups.remove(&key) {
                self.store(work, channel, key.1, group)?;
            }
        }
        Ok(())
    }

    /// Authors a group as one change and stores it.
    fn store(
        &mut self,
        work: &mut Work<'_>,
        channel: &mut Channel,
        window: Window,
        group: Group,
    ) -> Result<(), StoreError> {
        let Group { mut messages, now_ms, .. } = group;
        messages.sort_unstable_by_key(|waiting| waiting.id);
        for waiting in &messages {
            self.ids.remove(&(channel.number, waiting.id));
        }
        let mut replies = Vec::with_capacity(messages.len());
        let mut entries = Vec::with_capacity(messages.len());
        for Waiting { id, body, reply } in messages {
            replies.push((id, reply));
            entries.push((id, body));
        }
        let stored = write(work, channel, window, &entries, now_ms);
        let first_seq = damage::answer_to(&channel.name, stored)?;
        if first_seq.is_err() {
            // The author is now ahead of the store: it must not write again.
            channel.retire_author(window);
        }
        for (position, (id, reply)) in (0..).zip(replies) {
            let sent = match &first_seq {
                Ok(first) => Ok(Sent { id, seq: first + position, duplicate: false }),
                Err(refusal) => Err(refusal.clone()),
            };
            work.answers.push(Answer::Send(reply, sent));
        }
        Ok(())
    }
}

/// Answers a send that gets no place.
fn refuse(
    work: &mut Work<'_>,
    channel: &Channel,
    stop: Stop,
    reply: Reply<Result<Sent, Refusal>>,
) -> Result<(), StoreError> {
    let answer = damage::answer_to(&channel.name, Err(stop))?;
    work.answers.push(Answer::Send(reply, answer));
    Ok(())
}

/// Authors messages as one change and stores it; gives its first seq.
fn write(
    work: &mut Work<'_>,
    channel: &mut Channel,
    window: Window,
    entries: &[(MessageId, Vec<u8>)],
    now_ms: u64,
) -> Result<u64, Stop> {
    let generation = channel.generation(&work.txn, window)?;
    let target = Target { window, generation, doc: DocKind::Messages };
    let authored = channel.author(window)?.write(entries);
    let authored = authored.map_err(|error| Refusal::new(Code::BadChange, chain(&error)))?;
    work.store(channel, target, Author::RELAY, &authored.chunk.into(), now_ms)
}

/// Forgets idempotency keys older than `before_ms`.
///
/// # Complexity
/// O(keys of the last day, over all channels).
pub(super) fn expire(txn: &mut Txn<'_>, before_ms: u64) -> Result<(), StoreError> {
    let mut old = Vec::new();
    let range = keys::everything();
    txn.scan(Family::Idempotency, keys::bounds(&range), Direction::Forward, &mut |key, row| {
        if IdempotencyRow::decode(row).is_ok_and(|row| row.at_ms < before_ms) {
            old.push(key.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    for key in old {
        txn.delete(Family::Idempotency, key);
    }
    Ok(())
}
