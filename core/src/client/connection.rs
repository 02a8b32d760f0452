//! The connection: its phases, when to try again, and when to give it up.

use super::{Client, Event, Now, SlotStage};
use crate::limits::{FETCH_WINDOWS_MAX, PUSH_CHUNKS_MAX};
use crate::wire::{
    Assembler, ClientFrame, CloseCode, PROTOCOL_VERSION, Token, WireLimits, encode_client,
};

/// The longest delays before the first attempts to reconnect, in ms; later ones have the last. The
/// delay is drawn uniformly below (full jitter), so that clients of a restarted relay spread.
const BACKOFF_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];

/// The shortest delay, in ms: a relay that closes at once is not asked in a tight loop.
const BACKOFF_MS_MIN: u64 = 50;

/// How long a connection holds, from the first channel that is open, before the delays begin anew
/// with its loss, in ms: a relay that refuses what comes next is not well.
const USEFUL_MS: u64 = 5_000;

/// How long a relay may take to say the next thing it owes, in ms.
const ANSWER_MS_MAX: u64 = 30_000;

/// How the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// No connection; the next attempt is not due yet, or none is wanted.
    Offline,
    /// On the way to a connection.
    Connecting,
    /// Connected; some channel is not up to date yet.
    Syncing,
    /// Every open channel is up to date and told of each change.
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not wanted.
    Stopped,
    /// The next attempt is due at this time, in steady ms.
    Waiting { until_ms: u64 },
    /// The host was asked to connect.
    Connecting,
    /// `hello` is sent.
    Greeting,
    /// `welcome` came.
    Ready,
}

/// The state of the connection, in steady ms.
#[derive(Debug)]
pub(super) struct Connection {
    phase: Phase,
    attempts: usize,
    /// When the first channel of this connection was open.
    opened_ms: Option<u64>,
    /// When the last thing was heard, or asked for while nothing else was owed.
    heard_ms: u64,
    pub(super) push_chunks_max: usize,
    pub(super) fetch_windows_max: usize,
    pub(super) assembler: Assembler,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Waiting { until_ms: 0 },
            attempts: 0,
            opened_ms: None,
            heard_ms: 0,
            push_chunks_max: PUSH_CHUNKS_MAX,
            fetch_windows_max: FETCH_WINDOWS_MAX,
            assembler: Assembler::new(),
        }
    }

    pub(super) const fn state(&self, synced: bool) -> ConnectionState {
        match self.phase {
            Phase::Stopped | Phase::Waiting { .. } => ConnectionState::Offline,
            Phase::Connecting | Phase::Greeting => ConnectionState::Connecting,
            Phase::Ready if synced => ConnectionState::Live,
            Phase::Ready => ConnectionState::Syncing,
        }
    }

    /// Whether frames may come.
    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Ready)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Something was achieved: the next loss begins with short delays.
    pub(super) const fn did_well(&mut self) {
        self.attempts = 0;
    }

    /// Notes that something is asked for.
    pub(super) const fn asked(&mut self, steady_ms: u64) {
        self.heard_ms = steady_ms;
    }

    pub(super) const fn timeout(&self, awaiting: bool) -> Option<u64> {
        match self.phase {
            Phase::Waiting { until_ms } => Some(until_ms),
            Phase::Connecting | Phase::Greeting => Some(self.heard_ms + ANSWER_MS_MAX),
            Phase::Ready if awaiting => Some(self.heard_ms + ANSWER_MS_MAX),
            Phase::Ready | Phase::Stopped => None,
        }
    }

    pub(super) fn is_overdue(&self, steady_ms: u64, awaiting: bool) -> bool {
        let waits = !matches!(self.phase, Phase::Waiting { .. });
        waits && self.timeout(awaiting).is_some_and(|at_ms| at_ms <= steady_ms)
    }

    /// Goes on to connecting if an attempt is due.
    pub(super) fn wants_connect(&mut self, steady_ms: u64) -> bool {
        let due = matches!(self.phase, Phase::Waiting { until_ms } if until_ms <= steady_ms);
        if due {
            self.phase = Phase::Connecting;
            self.heard_ms = steady_ms;
        }
        due
    }
}

impl Client {
    /// The connection is open: says hello, with the credential if there is one.
    pub fn handle_connected(&mut self, token: Option<String>, now: Now) {
        if self.connection.phase != Phase::Connecting {
            return;
        }
        self.connection.phase = Phase::Greeting;
        self.connection.heard_ms = now.steady_ms;
        self.connection.assembler = Assembler::new();
        self.frames.clear();
        let hello = ClientFrame::Hello {
            version: PROTOCOL_VERSION,
            user: self.options.user.clone(),
            token: token.map(Token),
        };
        self.frames.push_back(encode_client(&hello));
        self.settle(now);
    }

    /// The connection is closed, or could not be opened: tries again after a while, unless the
    /// WebSocket's close code says that it would be in vain.
    pub fn handle_closed(&mut self, close_code: Option<u16>, now: Now) {
        if matches!(self.connection.phase, Phase::Stopped | Phase::Waiting { .. }) {
            return;
        }
        self.lose(now);
        if let Some(number) = close_code.filter(|number| CloseCode::is_terminal(*number)) {
            self.connection.phase = Phase::Stopped;
            let code = match CloseCode::from_u16(number) {
                Some(CloseCode::Unauthorized) => "unauthorized",
                Some(CloseCode::Version) => "version",
                _ => "bad_protocol",
            };
            let text = "the relay closed the connection for good".to_owned();
            self.events.push_back(Event::Error { code: code.to_owned(), text });
        }
        self.settle(now);
    }

    /// The host believes that the network is there: an attempt that waits is made at once.
    pub fn handle_online(&mut self, now: Now) {
        if matches!(self.connection.phase, Phase::Stopped | Phase::Waiting { .. }) {
            self.connection.phase = Phase::Waiting { until_ms: now.steady_ms };
            self.connection.attempts = 0;
        }
        self.handle_timeout(now);
    }

    /// Closes the connection and makes no other, until [`Client::handle_online`].
    pub fn stop(&mut self, now: Now) {
        if !matches!(self.connection.phase, Phase::Stopped | Phase::Waiting { .. }) {
            self.events.push_back(Event::Disconnect { code: "stopped" });
            self.lose(now);
        }
        self.connection.phase = Phase::Stopped;
        self.settle(now);
    }

    /// Gives the connection up, for a reason of this side.
    pub(super) fn disconnect(&mut self, code: &'static str, now: Now) {
        self.events.push_back(Event::Disconnect { code });
        self.lose(now);
    }

    fn lose(&mut self, now: Now) {
        let relay_ms = self.clock.relay_ms(now);
        for slot in self.slots.values_mut() {
            if slot.stage == SlotStage::Open {
                slot.replica.disconnected(relay_ms);
            }
            slot.stage = SlotStage::Closed;
            slot.expecting_until_ms = None;
        }
        self.pushes.clear();
        self.frames.clear();
        let opened_ms = self.connection.opened_ms.take();
        if opened_ms.is_some_and(|opened_ms| now.steady_ms.saturating_sub(opened_ms) >= USEFUL_MS) {
            self.connection.did_well();
        }
        let last = BACKOFF_MS.len() - 1;
        let longest = BACKOFF_MS.get(self.connection.attempts.min(last)).copied();
        let delay_ms =
            self.entropy.jitter_ms(longest.unwrap_or(BACKOFF_MS_MIN)).max(BACKOFF_MS_MIN);
        self.connection.attempts += 1;
        self.connection.phase = Phase::Waiting { until_ms: now.steady_ms + delay_ms };
    }

    /// The relay answered `hello`.
    pub(super) fn welcomed(&mut self, server_time_ms: u64, limits: &WireLimits, now: Now) {
        if self.connection.phase != Phase::Greeting {
            return self.disconnect("unexpected", now);
        }
        self.connection.phase = Phase::Ready;
        self.clock.set(server_time_ms, now);
        let within = |limit: u32, own: usize| usize::try_from(limit).unwrap_or(own).clamp(1, own);
        self.connection.push_chunks_max = within(limits.push_chunks, PUSH_CHUNKS_MAX);
        self.connection.fetch_windows_max = within(limits.fetch_windows, FETCH_WINDOWS_MAX);
        self.open_all(now);
        self.ask_channels();
    }

    /// A channel is open.
    pub(super) fn useful(&mut self, now: Now) {
        self.connection.opened_ms.get_or_insert(now.steady_ms);
    }

    /// Opens every channel that is not, from where its replica stands.
    pub(super) fn open_all(&mut self, now: Now) {
        if !self.connection.is_ready() {
            return;
        }
        for (name, slot) in &mut self.slots {
            if slot.stage != SlotStage::Closed || slot.is_loading() {
                continue;
            }
            slot.stage = SlotStage::Opening;
            let cursor = slot.replica.head().copied();
            // Views that outlive a reconnect ask for what they need themselves.
            let newest = if cursor.is_none() { self.options.newest } else { 0 };
            let open = ClientFrame::Open { channel: name.clone(), cursor, newest };
            self.frames.push_back(encode_client(&open));
            self.connection.asked(now.steady_ms);
        }
    }

    /// Whether the relay owes an answer.
    pub(super) fn is_awaiting(&self) -> bool {
        let waits = |slot: &super::Slot| {
            slot.stage == SlotStage::Opening || slot.replica.fetching_len() > 0
        };
        !self.pushes.is_empty() || self.slots.values().any(waits)
    }

    /// Something came.
    pub(super) const fn heard(&mut self, now: Now) {
        self.connection.heard_ms = now.steady_ms;
    }
}
