//! The engine object: each method one call of the facade.

use crate::convert::{
    ChannelOut, ConnectionOut, EdgeIn, EventOut, InfoOut, MessageOut, OptionsIn, QueryIn,
    QuestionOut, SendIn, TickOut, ViewOut, channels,
};
use crate::error::Refusal;
use crate::records::{pack_batch, unpack};
use backscroll_core::channel::Channel;
use backscroll_core::client::{Client, Edge, Event, Follow, Now, Options, ViewId};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::Ranked;
use backscroll_core::window::Window;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use wasm_bindgen::prelude::wasm_bindgen;

/// Most points of one scrollbar.
const TICKS_MAX: u32 = 1_000;

/// A client without its sockets and timers, which the facade has.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    pub(crate) client: Client,
    pub(crate) now: Now,
    /// Windows, and their channels, whose answers could not be read on this connection.
    damaged: BTreeSet<(String, Window)>,
    /// The channels of the views.
    views: BTreeMap<ViewId, String>,
}

#[wasm_bindgen]
impl Engine {
    /// An engine; `options` is JSON, `seed` 32 random bytes.
    ///
    /// # Errors
    /// The options are malformed, or the seed has another length.
    #[wasm_bindgen(constructor)]
    pub fn new(options: &str, seed: &[u8]) -> Result<Self, wasm_bindgen::JsValue> {
        let options: OptionsIn = serde_json::from_str(options).map_err(Refusal::from)?;
        let seed =
            seed.try_into().map_err(|_| Refusal::new("bad_request", "a seed of 32 bytes"))?;
        let mut set_up = Options::new(&options.user);
        set_up.newest = options.newest.unwrap_or(set_up.newest);
        set_up.segment_bytes_max = options.memory_bytes.unwrap_or(set_up.segment_bytes_max);
        set_up.storage = options.storage;
        set_up.delivered = options.receipts;
        let client = Client::new(set_up, seed).map_err(Refusal::from)?;
        let (now, damaged, views) = (Now::default(), BTreeSet::new(), BTreeMap::new());
        Ok(Self { client, now, damaged, views })
    }

    /// Tells the time, before any other call that needs it: the device's clock and a steady one, in
    /// ms.
    pub fn at(&mut self, wall_ms: f64, steady_ms: f64) {
        self.now = Now { wall_ms: ms(wall_ms), steady_ms: ms(steady_ms) };
    }

    /// The connection is open.
    pub fn connected(&mut self, token: Option<String>) {
        self.damaged.clear();
        self.client.handle_connected(token, self.now);
    }

    /// The connection is closed, or could not be opened.
    pub fn closed(&mut self, close_code: Option<u16>) {
        self.client.handle_closed(close_code, self.now);
    }

    /// A binary message of the connection came.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.client.handle_bytes(bytes, self.now);
    }

    /// The network is believed to be there.
    pub fn online(&mut self) {
        self.client.handle_online(self.now);
    }

    /// No connection is wanted any more.
    pub fn stop(&mut self) {
        self.client.stop(self.now);
    }

    /// Time passed.
    pub fn tick(&mut self) {
        self.client.handle_timeout(self.now);
    }

    /// When to call [`Engine::tick`], by the steady clock.
    #[wasm_bindgen(js_name = pollTimeout)]
    #[expect(clippy::cast_precision_loss, reason = "a time of a device fits")]
    pub fn poll_timeout(&self) -> Option<f64> {
        self.client.poll_timeout(self.now).map(|at_ms| at_ms as f64)
    }

    /// The next frame to send.
    #[wasm_bindgen(js_name = pollFrame)]
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.client.poll_frame()
    }

    /// What happened since the last call: a JSON array, or nothing.
    #[wasm_bindgen(js_name = pollEvents)]
    pub fn poll_events(&mut self) -> Option<String> {
        let mut events = Vec::new();
        while let Some(event) = self.client.poll_event() {
            if let Event::Problem { channel, problem } = &event
                && problem.hash.is_none()
            {
                self.damaged.insert((channel.clone(), problem.window));
            }
            events.push(EventOut::from(event));
        }
        (!events.is_empty()).then(|| json(&events))
    }

    /// The state of the connection: JSON.
    pub fn connection(&self) -> String {
        json(&ConnectionOut::of(&self.client))
    }

    /// The channels known: JSON.
    pub fn channels(&self) -> String {
        let lines: Vec<ChannelOut> = channels(&self.client);
        json(&lines)
    }

    /// Asks the relay for its list of channels.
    #[wasm_bindgen(js_name = askChannels)]
    pub fn ask_channels(&mut self) {
        self.client.ask_channels();
    }

    /// Opens a channel.
    ///
    /// # Errors
    /// The name is out of its bounds.
    #[wasm_bindgen(js_name = openChannel)]
    pub fn open_channel(&mut self, channel: &str) -> Result<(), wasm_bindgen::JsValue> {
        Ok(self.client.open_channel(channel, self.now).map_err(Refusal::from)?)
    }

    /// Closes a channel, unless messages of it wait; whether it did.
    #[wasm_bindgen(js_name = closeChannel)]
    pub fn close_channel(&mut self, channel: &str) -> bool {
        self.client.close_channel(channel, self.now)
    }

    /// What is known of an open channel: JSON.
    pub fn info(&self, channel: &str) -> Option<String> {
        self.client.channel(channel).map(|channel| json(&InfoOut::of(channel)))
    }

    /// Writes a message, given as JSON; its id.
    ///
    /// # Errors
    /// The channel is not open, or the message is malformed or out of its bounds.
    pub fn send(&mut self, channel: &str, message: &str) -> Result<String, wasm_bindgen::JsValue> {
        let message: SendIn = serde_json::from_str(message).map_err(Refusal::from)?;
        let sent_at = message.sent_at;
        let content = message.into_content(self.client.user());
        let id = self.client.send(channel, content, sent_at, self.now).map_err(Refusal::from)?;
        Ok(id.to_string())
    }

    /// Sends a failed message again.
    ///
    /// # Errors
    /// The id is malformed.
    pub fn retry(&mut self, channel: &str, id: &str) -> Result<bool, wasm_bindgen::JsValue> {
        Ok(self.client.retry(channel, message_id(id)?, self.now))
    }

    /// Drops a failed message.
    ///
    /// # Errors
    /// The id is malformed.
    pub fn discard(&mut self, channel: &str, id: &str) -> Result<bool, wasm_bindgen::JsValue> {
        Ok(self.client.discard(channel, message_id(id)?, self.now))
    }

    /// A message that this engine holds: JSON.
    ///
    /// # Errors
    /// The id is malformed.
    pub fn message(
        &self,
        channel: &str,
        id: &str,
    ) -> Result<Option<String>, wasm_bindgen::JsValue> {
        let id = message_id(id)?;
        let found = self.client.channel(channel).and_then(|of| of.get(id));
        Ok(found.map(|row| json(&MessageOut::from(row))))
    }

    /// The row of an id: how many messages stand before it.
    ///
    /// # Errors
    /// The id is malformed.
    #[wasm_bindgen(js_name = indexOf)]
    #[expect(clippy::cast_precision_loss, reason = "no channel has 2^53 messages")]
    pub fn index_of(&self, channel: &str, id: &str) -> Result<f64, wasm_bindgen::JsValue> {
        let id = message_id(id)?;
        Ok(self.client.channel(channel).map_or(0, |channel| channel.rank(id)) as f64)
    }

    /// The times of `count` rows, evenly spread: JSON.
    pub fn ticks(&self, channel: &str, count: u32) -> String {
        let Some(channel) = self.client.channel(channel) else { return "[]".to_owned() };
        let total = channel.total();
        let count = u64::from(count.min(TICKS_MAX)).min(total);
        let tick = |i: u64| {
            let index = i * (total - 1) / (count - 1).max(1);
            Some(TickOut { index, time: channel.time_of_row(index)? })
        };
        let ticks: Vec<_> = (0..count).filter_map(tick).collect();
        json(&ticks)
    }

    /// Opens a live view; its number. The query is JSON.
    ///
    /// # Errors
    /// The channel's name or the query is out of bounds.
    #[wasm_bindgen(js_name = openView)]
    #[expect(clippy::cast_precision_loss, reason = "views are counted from 1")]
    pub fn open_view(&mut self, channel: &str, query: &str) -> Result<f64, wasm_bindgen::JsValue> {
        let query: QueryIn = serde_json::from_str(query).map_err(Refusal::from)?;
        let view = self.client.open_view(channel, query.into(), self.now);
        let view = view.map_err(Refusal::from)?;
        self.views.insert(view, channel.to_owned());
        Ok(view.0 as f64)
    }

    /// Moves a view. The query is JSON.
    ///
    /// # Errors
    /// There is no such view, or the query is out of bounds.
    #[wasm_bindgen(js_name = moveView)]
    pub fn move_view(&mut self, view: f64, query: &str) -> Result<(), wasm_bindgen::JsValue> {
        let query: QueryIn = serde_json::from_str(query).map_err(Refusal::from)?;
        let moved = self.client.move_view(view_id(view), query.into(), self.now);
        Ok(moved.map_err(Refusal::from)?)
    }

    /// Ends a view.
    #[wasm_bindgen(js_name = closeView)]
    pub fn close_view(&mut self, view: f64) {
        self.views.remove(&view_id(view));
        self.client.close_view(view_id(view));
    }

    /// What changed in a view since the last call, nothing if nothing did: JSON. At first, and where
    /// that is less, all of its rows.
    ///
    /// # Errors
    /// There is no such view.
    #[wasm_bindgen(js_name = pollView)]
    pub fn poll_view(&mut self, view: f64) -> Result<Option<String>, wasm_bindgen::JsValue> {
        let update = self.client.poll_view(view_id(view)).map_err(Refusal::from)?;
        Ok(update.map(|update| json(&ViewOut::from(update))))
    }

    /// Whether all that a view's rows lack came damaged, and nothing more is on its way.
    ///
    /// # Errors
    /// There is no such view.
    #[wasm_bindgen(js_name = isDamaged)]
    pub fn is_damaged(&mut self, view: f64) -> Result<bool, wasm_bindgen::JsValue> {
        let channel = self.views.get(&view_id(view)).filter(|_| !self.damaged.is_empty());
        let Some(channel) = channel else { return Ok(false) };
        let needed = self.client.needed(view_id(view)).map_err(Refusal::from)?;
        let is_damaged = |window| self.damaged.contains(&(channel.clone(), window));
        Ok(!needed.is_empty()
            && self.client.channel(channel).map_or(0, Channel::fetching_len) == 0
            && needed.into_iter().all(is_damaged))
    }

    /// Tells what a reader sees of a view: `edges` is a JSON array of the first and the last row,
    /// each an id or an index.
    ///
    /// # Errors
    /// There is no such view, or the edges are malformed.
    #[wasm_bindgen(js_name = setVisible)]
    pub fn set_visible(
        &mut self,
        view: f64,
        edges: &str,
        at_end: bool,
    ) -> Result<(), wasm_bindgen::JsValue> {
        let (first, last): (EdgeIn, EdgeIn) = serde_json::from_str(edges).map_err(Refusal::from)?;
        let follow = if at_end { Follow::End } else { Follow::Stay };
        let (first, last) = (edge(first), edge(last));
        let told = self.client.set_visible(view_id(view), first, last, follow, self.now);
        Ok(told.map_err(Refusal::from)?)
    }

    /// What to write to the store next, all of it or nothing: the batch's number as `f64`, then
    /// records as `records.rs` lays them out.
    #[wasm_bindgen(js_name = pollStorage)]
    pub fn poll_storage(&mut self) -> Option<Vec<u8>> {
        self.client.poll_storage().map(|batch| pack_batch(&batch))
    }

    /// A batch outlives a crash from now on.
    pub fn stored(&mut self, batch: f64) {
        self.client.handle_stored(ms(batch), self.now);
    }

    /// A batch could not be written.
    #[wasm_bindgen(js_name = storageFailed)]
    pub fn storage_failed(&mut self, batch: f64, text: &str) {
        self.client.handle_storage_failed(ms(batch), text, self.now);
    }

    /// What to read from the store: JSON.
    #[wasm_bindgen(js_name = pollRead)]
    pub fn poll_read(&mut self) -> Option<String> {
        self.client.poll_read().map(|question| json(&QuestionOut::from(question)))
    }

    /// Whether the store's answers may still bring rows of a channel.
    #[wasm_bindgen(js_name = isReading)]
    pub fn is_reading(&self, channel: &str) -> bool {
        self.client.is_reading(channel)
    }

    /// The records that were asked for.
    ///
    /// # Errors
    /// They are not laid out as records.
    pub fn records(&mut self, question: f64, records: &[u8]) -> Result<(), wasm_bindgen::JsValue> {
        let records = unpack(records)?;
        self.client.handle_read(ms(question), records, self.now);
        Ok(())
    }

    /// The records that were asked for could not be read.
    #[wasm_bindgen(js_name = readFailed)]
    pub fn read_failed(&mut self, question: f64, text: &str) {
        self.client.handle_read_failed(ms(question), text, self.now);
    }

    /// Another client of the same store wrote these keys.
    ///
    /// # Errors
    /// They are not laid out as records.
    #[wasm_bindgen(js_name = writtenElsewhere)]
    pub fn written_elsewhere(&mut self, keys: &[u8]) -> Result<(), wasm_bindgen::JsValue> {
        let keys: Vec<_> = unpack(keys)?.into_iter().map(|record| record.key).collect();
        self.client.handle_foreign(&keys, self.now);
        Ok(())
    }

    /// Writes everything now.
    pub fn save(&mut self) {
        self.client.save(self.now);
    }

    /// Whether nothing waits to be written, and all that was is stored.
    #[wasm_bindgen(js_name = isSaved)]
    pub fn is_saved(&self) -> bool {
        self.client.is_saved()
    }
}

/// JSON of our own types: maps with text keys, finite numbers.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) fn message_id(text: &str) -> Result<MessageId, Refusal> {
    text.parse().map_err(|error| Refusal::new("bad_id", error))
}

const fn edge(edge: EdgeIn) -> Edge {
    match edge {
        EdgeIn::Index(index) => Edge::Index(index),
        EdgeIn::Id(id) => Edge::Id(id),
    }
}

/// A time of JavaScript, in whole ms; what is no time is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn ms(number: f64) -> u64 {
    number as u64
}

/// A view's number; one that is none names no view.
pub(crate) const fn view_id(number: f64) -> ViewId {
    ViewId(ms(number))
}
