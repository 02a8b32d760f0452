//! The engine's calls about messages that are there: what is said of them, who read them, which came
//! late, and who is writing.

use crate::convert::{EditIn, LateOut, ReceiptsOut, RunOut};
use crate::engine::{Engine, json, message_id, view_id};
use crate::error::Refusal;
use backscroll_core::late::{Late, LateRun, Place, Toward};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// Where the next late message is looked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TowardIn {
    Up,
    Down,
    Oldest,
}

#[wasm_bindgen]
impl Engine {
    /// Edits a message; what replaces its fields is given as JSON.
    ///
    /// # Errors
    /// The channel is not open or known not to have the message, or a field is out of its bounds.
    pub fn edit(&mut self, channel: &str, id: &str, edit: &str) -> Result<(), JsValue> {
        let edit: EditIn = serde_json::from_str(edit).map_err(Refusal::from)?;
        let edit = edit.into_edit(self.now.wall_ms);
        let told = self.client.edit(channel, message_id(id)?, edit, self.now);
        Ok(told.map_err(Refusal::from)?)
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// The channel is not open or known not to have the message.
    pub fn remove(&mut self, channel: &str, id: &str) -> Result<(), JsValue> {
        let told = self.client.delete(channel, message_id(id)?, self.now);
        Ok(told.map_err(Refusal::from)?)
    }

    /// Reacts to a message with an emoji, or no longer.
    ///
    /// # Errors
    /// The channel is not open or known not to have the message, or the emoji is out of its bounds.
    pub fn react(&mut self, channel: &str, id: &str, emoji: &str, on: bool) -> Result<(), JsValue> {
        let told = self.client.react(channel, message_id(id)?, emoji, on, self.now);
        Ok(told.map_err(Refusal::from)?)
    }

    /// Marks a channel as read up to a message, or all of it.
    ///
    /// # Errors
    /// The id is malformed.
    #[wasm_bindgen(js_name = markRead)]
    pub fn mark_read(&mut self, channel: &str, up_to: Option<String>) -> Result<(), JsValue> {
        let up_to = up_to.map(|id| message_id(&id)).transpose()?;
        self.client.mark_read(channel, up_to, self.now);
        Ok(())
    }

    /// Who received a message, and who read it: JSON.
    ///
    /// # Errors
    /// The id is malformed.
    pub fn receipts(&self, channel: &str, id: &str) -> Result<String, JsValue> {
        let id = message_id(id)?;
        let receipts = self.client.channel(channel).map(|channel| channel.receipts(id));
        Ok(json(&ReceiptsOut::from(receipts.unwrap_or_default())))
    }

    /// Tells who has the channel open something that is not kept.
    ///
    /// # Errors
    /// The channel is not open, or the text too long.
    pub fn say(&mut self, channel: &str, text: &str) -> Result<(), JsValue> {
        let told = self.client.say_ephemeral(channel, text.as_bytes());
        Ok(told.map_err(Refusal::from)?)
    }

    /// The late inbox around a view of the channel, or around none: JSON.
    ///
    /// # Errors
    /// There is no such view.
    pub fn late(&mut self, channel: &str, view: Option<f64>) -> Result<String, JsValue> {
        let late = match view {
            Some(view) => self.client.late(view_id(view)).map_err(Refusal::from)?,
            None => self
                .client
                .channel(channel)
                .map(|channel| Late::around(channel.unseen(), None, usize::MAX))
                .unwrap_or_default(),
        };
        Ok(json(&LateOut::from(late)))
    }

    /// The next late run from a view, or from none: JSON. The direction is JSON.
    ///
    /// # Errors
    /// There is no such view, or no such direction.
    #[wasm_bindgen(js_name = lateNext)]
    pub fn late_next(
        &mut self,
        channel: &str,
        view: Option<f64>,
        toward: &str,
    ) -> Result<Option<String>, JsValue> {
        let toward = match serde_json::from_str(toward).map_err(Refusal::from)? {
            TowardIn::Up => Toward::Up,
            TowardIn::Down => Toward::Down,
            TowardIn::Oldest => Toward::Oldest,
        };
        let run = match view {
            Some(view) => self.client.late_next(view_id(view), toward).map_err(Refusal::from)?,
            None => self
                .client
                .channel(channel)
                .and_then(|channel| Late::next(channel.unseen(), None, toward)),
        };
        Ok(run.map(|run| json(&RunOut::from(run))))
    }

    /// Takes late messages out of the inbox: those of a range of ids, or all.
    ///
    /// # Errors
    /// An id is malformed, or the channel not open.
    #[wasm_bindgen(js_name = lateSeen)]
    pub fn late_seen(
        &mut self,
        channel: &str,
        first: Option<String>,
        last: Option<String>,
    ) -> Result<(), JsValue> {
        let run = match first.zip(last) {
            Some((first, last)) => Some(run_of(&first, &last)?),
            None => None,
        };
        Ok(self.client.late_seen(channel, run.as_ref(), self.now).map_err(Refusal::from)?)
    }
}

/// A run by its ends, which are all that counts when it is taken out.
fn run_of(first: &str, last: &str) -> Result<LateRun, Refusal> {
    let (first, last) = (message_id(first)?, message_id(last)?);
    let (from_ms, to_ms) = (first.time_ms(), last.time_ms());
    Ok(LateRun { first, last, count: 0, from_ms, to_ms, place: Place::InView })
}
