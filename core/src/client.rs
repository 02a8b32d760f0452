//! The client's sync state machine, without I/O (design 6).
//!
//! Methods are of four kinds, told by their names. `handle_*` takes in what happened: the
//! connection opened or closed, bytes came, time passed. Commands ([`Client::send`],
//! [`Client::open_channel`], [`Client::move_view`], ...) are what the application wants. `poll_*`
//! gives what the host has to do. The rest are getters.
//!
//! After each `handle_*` and each command the host calls [`Client::poll_event`] until it is None,
//! then [`Client::poll_storage`], [`Client::poll_read`] and [`Client::poll_frame`] until each is None,
//! then arranges to call [`Client::handle_timeout`] at
//! [`Client::poll_timeout`]. Nothing is lost if it does so late.
//!
//! The conversation: `hello` is answered by `welcome`; then each channel is opened from its cursor,
//! `opened` brings the directory (or what changed in it), `changes` follow live. Views ask for the
//! windows they need by `fetch`, newest request first, each window once. What was written goes out
//! by `push`, one push per own-document at a time, and again after each reconnect until it is
//! acknowledged or refused.
//!
//! With [`Options::storage`] what outlives the program comes out as batches of records
//! ([`Client::poll_storage`]), and what a store has is asked for ([`Client::poll_read`]); see
//! [`crate::storage`]. A message is pushed once its record is stored.
//!
//! Time comes as [`Now`], randomness as one seed: a run repeats with its inputs.

mod annotate;
mod clock;
mod connection;
mod fetches;
mod frames;
mod live;
mod marks;
mod pushes;
mod reads;
mod storage;
mod views;

pub use clock::Now;
pub use connection::ConnectionState;
pub use live::{ViewDelta, ViewUpdate};
pub use storage::StoredChannel;
pub use views::{Edge, Follow, ViewId};

use crate::channel::{Channel, Problem, Refusal, Repush, WritingTime};
use crate::entropy::Entropy;
use crate::limits::ROWS_MAX;
use crate::message::{BodyError, Content, ContentError, MessageId, check_channel, check_user};
use crate::wire::{ChannelInfo, ClientFrame, encode_client};
use clock::RelayClock;
use connection::Connection;
use reads::Loading;
use std::collections::{BTreeMap, VecDeque};
use storage::Storage;
use views::LiveView;

pub use crate::channel::Changed;

/// How a client is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The user's name, 1-255 bytes; a credential may prescribe it.
    pub user: String,
    /// How many newest messages to ask for with the first `open` of a channel; more than
    /// [`ROWS_MAX`] counts as that.
    pub newest: u32,
    /// Loaded windows are dropped, least recently viewed first, beyond this estimate of their
    /// memory, in bytes.
    pub segment_bytes_max: u64,
    /// Whether the host has a store. Without one nothing is emitted for it, and nothing waits.
    pub storage: bool,
    /// Whether the relay is told how far this device has received, for receipts of others, and rows say
    /// how far they got with others.
    pub delivered: bool,
}

impl Options {
    /// The usual set-up: the newest 50 messages, 64 MB of loaded windows, no store, no delivered marks.
    #[must_use]
    pub fn new(user: &str) -> Self {
        let (newest, segment_bytes_max, storage) = (50, 64 << 20, false);
        let user = user.to_owned();
        Self { user, newest, segment_bytes_max, storage, delivered: false }
    }
}

/// What the host should know or do.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Connect to the relay, then call [`Client::handle_connected`] or [`Client::handle_closed`].
    Connect,
    /// Close the connection; [`Client::handle_closed`] need not be called for it.
    Disconnect {
        /// A stable word for the reason.
        code: &'static str,
    },
    /// The state of the connection or the number of waiting messages changed, or the relay refused to
    /// open a channel.
    Connection,
    /// The relay's list of channels came.
    Channels,
    /// The rows of a channel changed.
    Changed {
        /// Its name.
        channel: String,
        /// Why.
        changed: Changed,
    },
    /// The relay refused something other than a push.
    Error {
        /// Its stable code.
        code: String,
        /// Its words.
        text: String,
    },
    /// What another user tells those who have the channel open: presence, typing.
    Ephemeral {
        /// The channel.
        channel: String,
        /// Who.
        user: String,
        /// The application's bytes.
        payload: Vec<u8>,
    },
    /// The relay refused what was said of a message: it is shown as it was before.
    Refused {
        /// The channel.
        channel: String,
        /// The message that was to be edited, deleted or reacted to.
        id: MessageId,
        /// The relay's stable code, or `not_found`.
        code: String,
    },
    /// Something the relay passed on could not be used; it was left out.
    Problem {
        /// The channel.
        channel: String,
        /// What went wrong.
        problem: Problem,
    },
    /// The store failed: nothing is written to it any more, and messages do not wait for it.
    StorageFailed {
        /// What the host said of it.
        text: String,
    },
    /// A record of the store cannot be read, or a read failed; the client goes on without it.
    BadRecord {
        /// The record's key, or the first key that was asked for.
        key: Vec<u8>,
        /// What went wrong, for a log.
        text: String,
    },
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No such channel is open here.
    #[error("channel {0:?} is not open")]
    NoChannel(String),
    /// No such view is open.
    #[error("the view is closed")]
    NoView,
    /// A name is out of its bounds.
    #[error(transparent)]
    Name(#[from] ContentError),
    /// A message is out of its bounds.
    #[error(transparent)]
    Message(#[from] BodyError),
    /// More bytes than a relay passes on.
    #[error("more than {bytes_max} bytes")]
    TooLarge {
        /// The most there may be.
        bytes_max: usize,
    },
    /// The channel has no such message.
    #[error("channel {0:?} has no message {1}")]
    NoMessage(String, MessageId),
    /// A query is out of its bounds.
    #[error(transparent)]
    Query(#[from] crate::viewport::QueryError),
}

/// An open channel.
#[derive(Debug, Default)]
struct Slot {
    replica: Channel,
    stage: SlotStage,
    /// Views may want windows that were not asked for.
    hungry: bool,
    /// The code of the relay's refusal, at the stage of that name.
    refusal: Option<String>,
    /// When windows that come with `opened` are asked for one by one, in steady ms.
    expecting_until_ms: Option<u64>,
    /// What of it comes from the store, before it is opened at the relay.
    loading: Option<Loading>,
    /// When what changed is to be written to the store, in steady ms.
    write_at_ms: Option<u64>,
    /// When the relay is to be told what was read, in steady ms.
    mark_at_ms: Option<u64>,
    /// Whether the host opened it; others are open until their messages are sent.
    is_wanted: bool,
}

impl Slot {
    const fn is_loading(&self) -> bool {
        self.loading.is_some()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SlotStage {
    #[default]
    Closed,
    Opening,
    Open,
    /// The relay refused to open it on this connection.
    Refused,
}

/// A client of one relay.
#[derive(Debug)]
pub struct Client {
    options: Options,
    entropy: Entropy,
    clock: RelayClock,
    connection: Connection,
    slots: BTreeMap<String, Slot>,
    views: BTreeMap<ViewId, LiveView>,
    next_view: u64,
    next_reference: u64,
    /// The channels of pushes on their way, by reference.
    pushes: BTreeMap<u64, String>,
    channels: Vec<ChannelInfo>,
    /// Pages of the list that is coming.
    channels_coming: Vec<ChannelInfo>,
    storage: Storage,
    frames: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    /// What `Event::Connection` told last.
    told: (ConnectionState, usize),
}

impl Client {
    /// A client that wants to be connected from the start; `seed` is 32 random bytes.
    ///
    /// # Errors
    /// The user's name is empty or too long.
    pub fn new(mut options: Options, seed: [u8; 32]) -> Result<Self, ContentError> {
        check_user(&options.user)?;
        // A relay refuses an `open` that asks for more.
        options.newest = options.newest.min(u32::try_from(ROWS_MAX).unwrap_or(u32::MAX));
        let is_on = options.storage;
        let mut client = Self {
            options,
            entropy: Entropy::new(seed),
            clock: RelayClock::default(),
            connection: Connection::new(),
            slots: BTreeMap::new(),
            views: BTreeMap::new(),
            next_view: 1,
            next_reference: 1,
            pushes: BTreeMap::new(),
            channels: Vec::new(),
            channels_coming: Vec::new(),
            storage: Storage::new(is_on),
            frames: VecDeque::new(),
            events: VecDeque::new(),
            told: (ConnectionState::Offline, 0),
        };
        if is_on {
            client.ask_start();
        }
        Ok(client)
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.options.user
    }

    /// A channel opened here.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.slots.get(name).map(|slot| &slot.replica)
    }

    /// The channels opened here, by name.
    pub fn open_channels(&self) -> impl Iterator<Item = (&str, &Channel)> {
        self.slots.iter().map(|(name, slot)| (name.as_str(), &slot.replica))
    }

    /// The relay's list of channels, as it was last told.
    #[must_use]
    pub fn channels(&self) -> &[ChannelInfo] {
        &self.channels
    }

    /// The relay's stable code if it refused to open a channel on this connection: nothing comes for
    /// it until the next one. [`Event::Connection`] tells of it.
    #[must_use]
    pub fn refusal(&self, channel: &str) -> Option<&str> {
        let slot = self.slots.get(channel).filter(|slot| slot.stage == SlotStage::Refused)?;
        slot.refusal.as_deref()
    }

    /// How the connection stands; of refused channels [`Client::refusal`] tells.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        let synced = self.slots.values().all(|slot| {
            slot.stage == SlotStage::Refused
                || slot.stage == SlotStage::Open && slot.expecting_until_ms.is_none()
        });
        self.connection.state(synced)
    }

    /// Messages and annotations of this client that the relay does not have yet.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.slots.values().map(|slot| slot.replica.pending_len()).sum()
    }

    /// Whether anything waits: a message to be sent, or an answer to come.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending_len() > 0 || self.is_awaiting()
    }

    /// Opens a channel: its directory and newest messages come, and live changes from then on.
    ///
    /// # Errors
    /// The name is empty or too long.
    pub fn open_channel(&mut self, name: &str, now: Now) -> Result<(), CommandError> {
        check_channel(name)?;
        if self.open_slot(name, now) {
            self.settle(now);
        }
        if let Some(slot) = self.slots.get_mut(name) {
            slot.is_wanted = true;
        }
        Ok(())
    }

    /// Makes a channel's slot, if there is none: filled from the store, then opened at the relay.
    fn open_slot(&mut self, name: &str, now: Now) -> bool {
        if self.slots.contains_key(name) {
            return false;
        }
        let mut replica = Channel::of_user(&self.options.user);
        if self.options.delivered {
            replica.show_reach();
        }
        self.slots.insert(name.to_owned(), Slot { replica, ..Slot::default() });
        if self.storage.is_on {
            self.ask_channel(name);
        } else {
            self.open_all(now);
        }
        true
    }

    /// Closes a channel, and its views; whether it did at once. One with messages that wait to be
    /// sent, or that is being read from the store, is closed afterwards.
    pub fn close_channel(&mut self, name: &str, now: Now) -> bool {
        let Some(slot) = self.slots.get_mut(name) else { return false };
        self.views.retain(|_, view| view.channel != name);
        if slot.replica.pending_len() > 0 || slot.is_loading() {
            slot.is_wanted = false;
            return false;
        }
        self.remove_slot(name, now);
        self.settle(now);
        true
    }

    fn remove_slot(&mut self, name: &str, now: Now) {
        self.send_mark(name);
        self.keep_loose(name, now);
        let open = self.slots.remove(name).is_some_and(|slot| slot.stage != SlotStage::Closed);
        if open && self.connection.is_ready() {
            self.frames.push_back(encode_client(&ClientFrame::Close { channel: name.to_owned() }));
        }
    }

    /// Closes channels that were opened for their unsent messages only, when these are sent.
    fn close_unwanted(&mut self, now: Now) {
        let done = |slot: &Slot| {
            let sent = slot.replica.pending_len() == 0 && slot.replica.unsaved_len() == 0;
            let settled = slot.stage == SlotStage::Open && slot.expecting_until_ms.is_none();
            let repushed = matches!(slot.replica.repush(), Repush::Done | Repush::Failed);
            !slot.is_wanted && sent && settled && repushed && !slot.replica.has_urgent()
        };
        let done = self.slots.iter().filter(|(_, slot)| done(slot));
        for name in done.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.remove_slot(&name, now);
        }
    }

    /// Asks the relay for its list of channels; [`Event::Channels`] tells when it came.
    pub fn ask_channels(&mut self) {
        if self.connection.is_ready() {
            self.channels_coming.clear();
            self.frames.push_back(encode_client(&ClientFrame::Channels { after: None }));
        }
    }

    /// Writes a message. When this returns it has its final id and is in the channel's rows.
    ///
    /// # Errors
    /// The channel is not open here, the content is out of its bounds, or the time beyond what an id
    /// can carry.
    pub fn send(
        &mut self,
        channel: &str,
        content: Content,
        sent_at_ms: Option<u64>,
        now: Now,
    ) -> Result<MessageId, CommandError> {
        let time = self.writing_time(now);
        let no_channel = || CommandError::NoChannel(channel.to_owned());
        let slot = self.slots.get_mut(channel).ok_or_else(no_channel)?;
        let id = slot.replica.send(content, sent_at_ms, time, &mut self.entropy)?;
        self.note_written(channel);
        self.settle(now);
        Ok(id)
    }

    /// Sends a failed message again, under its id; false if it has not failed.
    pub fn retry(&mut self, channel: &str, id: MessageId, now: Now) -> bool {
        let relay_ms = self.clock.relay_ms(now);
        let Some(slot) = self.slots.get_mut(channel) else { return false };
        let again = slot.replica.retry(id, relay_ms, &mut self.entropy);
        self.settle(now);
        again
    }

    /// Drops a failed message; false if it has not failed.
    pub fn discard(&mut self, channel: &str, id: MessageId, now: Now) -> bool {
        let gone = self.slots.get_mut(channel).is_some_and(|slot| slot.replica.discard(id));
        self.settle(now);
        gone
    }

    /// Marks late messages as seen: those of the range, or all of the channel.
    pub fn mark_seen(&mut self, channel: &str, range: Option<(MessageId, MessageId)>, now: Now) {
        if let Some(slot) = self.slots.get_mut(channel) {
            match range {
                Some((first, last)) => slot.replica.mark_seen(first, last),
                None => slot.replica.mark_all_seen(),
            }
        }
        self.settle(now);
    }

    /// What the host should know or do next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next frame to send on the connection, in order.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// When to call [`Client::handle_timeout`], in steady ms; None if only after something happens.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<u64> {
        if self.slots.values().any(|slot| slot.replica.is_dirty()) {
            return Some(now.steady_ms);
        }
        let due = |slot: &Slot| {
            let wait_ms = slot.replica.next_due_ms()?.saturating_sub(self.clock.relay_ms(now));
            Some(now.steady_ms.saturating_add(wait_ms))
        };
        let dues = self.slots.values().filter_map(due);
        let expected = self.slots.values().filter_map(|slot| slot.expecting_until_ms);
        let connection = self.connection.timeout(self.is_awaiting());
        let marks = self.slots.values().filter_map(|slot| slot.mark_at_ms);
        let due = dues.chain(marks).chain(expected).chain(connection);
        due.chain(self.next_write_ms()).chain(self.next_rest_ms()).min()
    }

    /// Time passed: applies what waits, sends what became due, reconnects.
    pub fn handle_timeout(&mut self, now: Now) {
        for slot in self.slots.values_mut() {
            slot.replica.flush();
            if slot.expecting_until_ms.is_some_and(|until_ms| until_ms <= now.steady_ms) {
                slot.expecting_until_ms = None;
                slot.hungry = true;
                slot.replica.fetches_failed();
            }
        }
        self.send_marks(now, false);
        if self.connection.is_overdue(now.steady_ms, self.is_awaiting()) {
            self.disconnect("timeout", now);
        }
        if self.connection.wants_connect(now.steady_ms) {
            self.events.push_back(Event::Connect);
        }
        self.settle(now);
    }

    fn writing_time(&self, now: Now) -> WritingTime {
        WritingTime { local_ms: now.wall_ms, relay_ms: self.clock.relay_ms(now) }
    }

    fn next_reference(&mut self) -> u64 {
        let reference = self.next_reference;
        self.next_reference += 1;
        reference
    }

    /// After anything happened: sends what can be sent, asks for what is wanted, tells the host.
    fn settle(&mut self, now: Now) {
        self.push_all(now);
        for slot in self.slots.values_mut() {
            slot.hungry |= slot.replica.take_holes_grown();
        }
        self.look_up_all();
        self.fetch_all(now);
        self.evict();
        self.close_unwanted(now);
        self.plan_marks(now);
        self.plan_writes(now);
        let mut all_changed = Vec::new();
        for (name, slot) in &mut self.slots {
            for problem in slot.replica.take_problems() {
                self.events.push_back(Event::Problem { channel: name.clone(), problem });
            }
            for Refusal { id, code } in slot.replica.take_refusals() {
                self.events.push_back(Event::Refused { channel: name.clone(), id, code });
            }
            let changed = slot.replica.take_changed();
            if changed.any() {
                all_changed.push((name.clone(), changed));
            }
        }
        for (channel, changed) in all_changed {
            self.note_changed(&channel, changed);
            self.events.push_back(Event::Changed { channel, changed });
        }
        let tell = (self.state(), self.pending_len());
        if tell != self.told {
            self.told = tell;
            self.events.push_back(Event::Connection);
        }
    }

    /// Checks what the other methods rely on.
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    ///
    /// # Complexity
    /// O(everything held).
    pub fn check_invariants(&self) -> Result<(), String> {
        for (name, slot) in &self.slots {
            slot.replica.check_invariants().map_err(|text| format!("channel {name}: {text}"))?;
            if slot.stage != SlotStage::Closed && !self.connection.is_ready() {
                return Err(format!("channel {name} is open without a connection"));
            }
            if slot.is_loading() && slot.stage != SlotStage::Closed {
                return Err(format!("channel {name} is open before it came from the store"));
            }
        }
        Ok(())
    }
}
