//! One line of JSON as a message (design 8.1): its fields, its bounds, its place in the sort.

use super::sort::Order;
use backscroll_core::limits::FUTURE_MS_MAX;
use backscroll_core::message::{
    self, Attachment, BodyError, Content, ContentError, Data, MessageId,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// What import holds lines to.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The channel for every line, whatever the line says.
    pub(super) channel: Option<String>,
    /// The importer's clock, in ms since the Unix epoch.
    pub(super) now_ms: u64,
}

/// A good line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedLine<'a> {
    /// Its channel.
    pub(super) channel: Cow<'a, str>,
    /// Its id, or its time where it has none.
    pub(super) order: Order,
    /// The message's body, behind the content's hash where the line has no id.
    pub(super) payload: Vec<u8>,
}

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum LineError {
    /// Not JSON, or a field is missing or of another type.
    #[error("{}", without_line(.0))]
    Json(#[source] serde_json::Error),
    /// A name is out of its bounds.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The message is out of its bounds.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No channel in the line, none on the command line.
    #[error("no channel (name one with --channel)")]
    NoChannel,
    /// Neither id nor time.
    #[error("neither sent_at nor id")]
    NoTime,
    /// Two times.
    #[error("sent_at is not the time of the id, {id_ms}")]
    TwoTimes {
        /// The id's.
        id_ms: u64,
    },
    /// The time has not come.
    #[error("sent_at {0} lies in the future")]
    Future(u64),
    /// Over the bound of lines.
    #[error("the line is longer than {} bytes", super::lines::LINE_BYTES_MAX)]
    TooLong,
}

/// serde_json counts lines of its own, of which there is only one here.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace("at line 1 column", "at column")
}

/// The fields import reads; others (as export writes them) are passed over.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
    sent_at: Option<u64>,
    id: Option<MessageId>,
    reply_to: Option<MessageId>,
    attachments: Option<Vec<Attachment>>,
    data: Option<Data>,
}

impl Rules {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// Why it is no message.
    ///
    /// # Complexity
    /// O(length).
    pub(super) fn parse<'a>(&'a self, line: &'a [u8]) -> Result<ParsedLine<'a>, LineError> {
        let fields: Fields<'a> = serde_json::from_slice(line).map_err(LineError::Json)?;
        let channel = match &self.channel {
            Some(channel) => Cow::Borrowed(channel.as_str()),
            None => fields.channel.ok_or(LineError::NoChannel)?,
        };
        message::check_channel(&channel)?;
        let time_ms = time_of(fields.id, fields.sent_at)?;
        if time_ms > self.now_ms.saturating_add(FUTURE_MS_MAX) {
            return Err(LineError::Future(time_ms));
        }
        let content = Content {
            from: fields.from.into_owned(),
            text: fields.text.into_owned(),
            reply_to: fields.reply_to,
            attachments: fields.attachments.unwrap_or_default(),
            data: fields.data,
        };
        let body = content.to_body()?;
        let (order, payload) = match fields.id {
            Some(id) => (Order::of_id(id), body),
            None => (Order::of_time(time_ms), hashed(&channel, body)),
        };
        Ok(ParsedLine { channel, order, payload })
    }
}

fn time_of(id: Option<MessageId>, sent_at: Option<u64>) -> Result<u64, LineError> {
    match (id.map(MessageId::time_ms), sent_at) {
        (Some(id_ms), Some(sent_at)) if id_ms != sent_at => Err(LineError::TwoTimes { id_ms }),
        (Some(time_ms), _) | (None, Some(time_ms)) => Ok(time_ms),
        (None, None) => Err(LineError::NoTime),
    }
}

/// The body behind eight bytes of the hash of channel and content, of which the id is made.
fn hashed(channel: &str, body: Vec<u8>) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(channel.as_bytes());
    hash.update([0]);
    hash.update(&body);
    let mut payload = Vec::with_capacity(body.len() + 8);
    payload.extend(hash.finalize().iter().take(8));
    payload.extend(body);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn rules(channel: Option<&str>) -> Rules {
        Rules { channel: channel.map(str::to_owned), now_ms: NOW }
    }

    fn content(line: &str) -> Content {
        let rules = rules(None);
        let parsed = rules.parse(line.as_bytes()).unwrap();
        let start = if parsed.order.is_derived() { 8 } else { 0 };
        Content::from_body(&parsed.payload[start..]).unwrap()
    }

    fn refused(line: &str) -> String {
        rules(None).parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn white_space_and_control_characters_are_a_message() {
        for text in ["", " ", "\\n", "\\u0000\\u0007", "\\u2028", "\\ud83d\\ude00", "🙂"] {
            let line = format!(r#"{{"channel":"c","from":"a","text":"{text}","sent_at":5}}"#);
            let expected: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(content(&line).text, expected);
        }
    }

    #[test]
    fn all_fields_are_read_and_unknown_ones_passed_over() {
        let id = "018bcfe5-6800-7000-8000-000000000001";
        let line = format!(
            r#"{{"channel":"c","from":"a","text":"t","id":"{id}","seq":4,"late":true,"reply_to":"{id}",
               "attachments":[{{"name":"n","media_type":"m","size":1,"url":"u"}}],"data":{{"k":[1]}}}}"#
        );
        let content = content(&line);
        assert_eq!(content.reply_to.unwrap().to_string(), id);
        assert_eq!(content.attachments.len(), 1);
        assert_eq!(content.data, Some(serde_json::json!({"k": [1]}).into()));
    }

    #[test]
    fn bad_lines_say_why() {
        let refusals = [
            (r#"{"channel""#, "EOF while parsing an object at column 10"),
            (r#"{"from":"a","text":"t","sent_at":1}"#, "no channel (name one with --channel)"),
            (r#"{"channel":"c","text":"t","sent_at":1}"#, "missing field `from` at column 38"),
            (r#"{"channel":"","from":"a","text":"t","sent_at":1}"#, "channel is empty"),
            (r#"{"channel":"c","from":"","text":"t","sent_at":1}"#, "from is empty"),
            (r#"{"channel":"c","from":"a","text":"t"}"#, "neither sent_at nor id"),
            (
                r#"{"channel":"c","from":"a","text":"t","sent_at":1700000120001}"#,
                "sent_at 1700000120001 lies in the future",
            ),
            (
                r#"{"channel":"c","from":"a","text":"t","sent_at":7,"id":"018bcfe5-6800-7000-8000-000000000001"}"#,
                "sent_at is not the time of the id, 1700000000000",
            ),
        ];
        for (line, why) in refusals {
            assert_eq!(refused(line), why);
        }
        for field in [r#""sent_at":-1"#, r#""sent_at":"x""#, r#""sent_at":1.5"#, r#""id":"x""#] {
            refused(&format!(r#"{{"channel":"c","from":"a","text":"t",{field}}}"#));
        }
        let long = "x".repeat(65_537);
        let line = format!(r#"{{"channel":"c","from":"a","text":"{long}","sent_at":1}}"#);
        assert_eq!(refused(&line), "text is larger than 65536 bytes");
        assert!(rules(None).parse(b"{\"channel\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_named_channel_takes_every_line() {
        let rules = rules(Some("#here"));
        for channel in ["", r#""channel":"there","#, r#""channel":null,"#] {
            let line = format!(r#"{{{channel}"from":"a","text":"t","sent_at":1}}"#);
            assert_eq!(rules.parse(line.as_bytes()).unwrap().channel, "#here");
        }
    }
}
