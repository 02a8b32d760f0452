//! Commands of `/ws` as JSON: what is asked, or why that is not a request (design 8.2).
//!
//! Fields that no command has are ignored, and `null` is as good as absent; a field of another type
//! than it must have is `bad_request`.

use crate::access::Access;
use crate::commit::{Identity, NewMessage, Note};
use crate::refused::{Code, Refused};
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::message::{
    Attachment, Content, Data, MessageId, check_channel, check_emoji, check_message_text,
};
use backscroll_core::viewport::{At, Query};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Rows of a history that does not say how many (design 8.2 and 8.3).
pub(crate) const ROWS_DEFAULT: u64 = 50;

/// What a JSON client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// The newest messages, then all that come.
    Subscribe { channel: String, last: u64 },
    /// No more of what comes.
    Unsubscribe { channel: String },
    /// A message to store.
    Send { channel: String, message: NewMessage },
    /// Messages of a viewport.
    History { channel: String, query: Query },
    /// A live viewport, for a user.
    View { channel: String, query: Query, user: String },
    /// No more of a live viewport.
    Unview { channel: String },
    /// An edit, a deletion or a reaction.
    Annotate { channel: String, id: MessageId, note: Note },
    /// The newest message that a user had in view.
    Mark { channel: String, read: MessageId, user: String },
}

/// A frame that was read: what it asks for, and the reference that its answer bears.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) reference: Option<String>,
    pub(super) command: Result<Command, Refused>,
}

impl Request {
    /// Reads a text frame.
    pub(super) fn read(text: &str, access: &Access, user: &Identity) -> Self {
        let fields = match object(text) {
            Ok(fields) => Fields(fields),
            Err(refused) => return Self { reference: None, command: Err(refused) },
        };
        match fields.text("ref") {
            Ok(reference) => {
                let reference = reference.map(str::to_owned);
                Self { reference, command: Command::read(&fields, access, user) }
            }
            Err(refused) => Self { reference: None, command: Err(refused) },
        }
    }
}

/// Reads a JSON object.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, Refused> {
    let bad_json = |what: String| Refused::new(Code::BadJson, what);
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(bad_json("a JSON object is expected".to_owned())),
        Err(error) => Err(bad_json(format!("not JSON: {error}"))),
    }
}

impl Command {
    fn read(fields: &Fields, access: &Access, user: &Identity) -> Result<Self, Refused> {
        match fields.0.get("command").and_then(Value::as_str) {
            Some("subscribe") => {
                let channel = fields.channel()?;
                let last = fields.count("last")?.unwrap_or(ROWS_DEFAULT);
                if last > ROWS_MAX {
                    return Err(Refused::bad_request(format!("last may be {ROWS_MAX} at most")));
                }
                Ok(Self::Subscribe { channel, last })
            }
            Some("unsubscribe") => Ok(Self::Unsubscribe { channel: fields.channel()? }),
            Some("send") => {
                let channel = fields.channel()?;
                Ok(Self::Send { channel, message: fields.message(access, user)? })
            }
            Some("history") => {
                let channel = fields.channel()?;
                Ok(Self::History { channel, query: fields.query()? })
            }
            Some("view") => {
                let (channel, query) = (fields.channel()?, fields.query()?);
                Ok(Self::View { channel, query, user: fields.sender(access, user)? })
            }
            Some("unview") => Ok(Self::Unview { channel: fields.channel()? }),
            Some("edit") => {
                let (channel, id) = (fields.channel()?, fields.named_id("id")?);
                let text = fields.needed("text")?.to_owned();
                check_message_text(&text)?;
                Ok(Self::Annotate { channel, id, note: Note::Edit { text } })
            }
            Some("delete") => {
                let (channel, id) = (fields.channel()?, fields.named_id("id")?);
                Ok(Self::Annotate { channel, id, note: Note::Delete })
            }
            Some("react") => {
                let (channel, id) = (fields.channel()?, fields.named_id("id")?);
                let emoji = fields.needed("emoji")?.to_owned();
                check_emoji(&emoji).map_err(|error| Refused::bad_request(error.to_string()))?;
                let (user, on) = (fields.sender(access, user)?, fields.flag("on")?);
                Ok(Self::Annotate { channel, id, note: Note::React { user, emoji, on } })
            }
            Some("mark") => {
                let (channel, read) = (fields.channel()?, fields.named_id("read")?);
                Ok(Self::Mark { channel, read, user: fields.sender(access, user)? })
            }
            Some(other) => {
                let known: String = other.chars().take(64).collect();
                Err(Refused::new(Code::UnknownCommand, format!("there is no command {known:?}")))
            }
            None => Err(Refused::new(Code::UnknownCommand, "there is no command")),
        }
    }
}

/// Reads the message in the body of a POST (design 8.3).
pub(crate) fn message(
    fields: Map<String, Value>,
    access: &Access,
    user: &Identity,
) -> Result<NewMessage, Refused> {
    Fields(fields).message(access, user)
}

/// Refuses a channel name that is empty or too long.
pub(crate) fn checked_channel(name: &str) -> Result<String, Refused> {
    match check_channel(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(error) => Err(Refused::new(Code::BadChannel, error.to_string())),
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refused::bad_request(format!("{name} must be a string"))),
        }
    }

    fn count(&self, name: &str) -> Result<Option<u64>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => {
                    Err(Refused::bad_request(format!("{name} must be an integer of 0 or more")))
                }
            },
        }
    }

    fn id(&self, name: &str) -> Result<Option<MessageId>, Refused> {
        let bad_id = |what: &str| Refused::new(Code::BadId, format!("{name}: {what}"));
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => match text.parse() {
                Ok(id) => Ok(Some(id)),
                Err(error) => Err(bad_id(&format!("{error}"))),
            },
            Some(_) => Err(bad_id("not a UUID")),
        }
    }

    fn needed(&self, name: &str) -> Result<&str, Refused> {
        self.text(name)?.ok_or_else(|| Refused::bad_request(format!("there is no {name}")))
    }

    fn named_id(&self, name: &str) -> Result<MessageId, Refused> {
        self.id(name)?.ok_or_else(|| Refused::bad_request(format!("there is no {name}")))
    }

    fn flag(&self, name: &str) -> Result<bool, Refused> {
        match self.get(name) {
            Some(Value::Bool(flag)) => Ok(*flag),
            _ => Err(Refused::bad_request(format!("{name} must be true or false"))),
        }
    }

    /// Whom the command names as its user, if it may.
    fn sender(&self, access: &Access, user: &Identity) -> Result<String, Refused> {
        access.sender(user, self.text("from")?)
    }

    fn channel(&self) -> Result<String, Refused> {
        match self.text("channel")? {
            Some(name) => checked_channel(name),
            None => Err(Refused::bad_request("there is no channel")),
        }
    }

    fn query(&self) -> Result<Query, Refused> {
        let at = match self.get("at") {
            Some(value) => At::from_json(value)?,
            None => At::Latest,
        };
        query_of(at, self.count("before")?, self.count("after")?)
    }

    fn message(&self, access: &Access, user: &Identity) -> Result<NewMessage, Refused> {
        let Some(text) = self.text("text")? else {
            return Err(Refused::bad_request("there is no text"));
        };
        let id = self.id("id")?;
        let sent_at = self.count("sent_at")?;
        let content = Content {
            from: self.sender(access, user)?,
            text: text.to_owned(),
            reply_to: self.id("reply_to")?,
            attachments: self.attachments()?,
            data: self.get("data").map(Data::from),
        };
        content.check()?;
        if id.is_some_and(|id| sent_at.is_some_and(|sent_at| sent_at != id.time_ms())) {
            return Err(Refused::bad_request("sent_at is not the time of the id"));
        }
        Ok(NewMessage { id, sent_at, content })
    }

    fn attachments(&self) -> Result<Vec<Attachment>, Refused> {
        match self.get("attachments") {
            None => Ok(Vec::new()),
            Some(list) => Vec::deserialize(list)
                .map_err(|error| Refused::bad_request(format!("attachments: {error}"))),
        }
    }
}

/// The rows around a place: one number left out is 0; with both left out they are the 50 that whoever
/// names the place wants to see.
pub(crate) fn query_of(at: At, before: Option<u64>, after: Option<u64>) -> Result<Query, Refused> {
    let (before, after) = match (before, after, at) {
        (None, None, At::Latest) => (ROWS_DEFAULT, 0),
        (None, None, At::Oldest) => (0, ROWS_DEFAULT),
        (None, None, _) => (ROWS_DEFAULT / 2, ROWS_DEFAULT / 2),
        (before, after, _) => (before.unwrap_or(0), after.unwrap_or(0)),
    };
    if before.checked_add(after).is_none_or(|rows| rows > ROWS_MAX) {
        let text = format!("before and after may be {ROWS_MAX} together at most");
        return Err(Refused::bad_request(text));
    }
    Ok(Query { at, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018bcfe5-6800-7000-8000-00000000004d";

    fn read(text: &str) -> Request {
        Request::read(text, &Access::open(), &Identity::user("anonymous"))
    }

    fn command(text: &str) -> Command {
        read(text).command.unwrap()
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "codes are written in place")]
    fn refused(text: &str, code: Code) {
        assert_eq!(read(text).command.unwrap_err().code, code, "{text}");
    }

    #[test]
    fn commands_are_read_with_their_defaults() {
        let channel = "c".to_owned();
        assert_eq!(
            command(r#"{"command":"subscribe","channel":"c","colour":"red"}"#),
            Command::Subscribe { channel: channel.clone(), last: 50 }
        );
        assert_eq!(
            command(r#"{"command":"history","channel":"c","at":{"index":3},"after":7,"before":0}"#),
            Command::History {
                channel: channel.clone(),
                query: Query { at: At::Index(3), before: 0, after: 7 }
            }
        );
        let Command::Send { message, .. } =
            command(r#"{"command":"send","channel":"c","text":"","from":null,"data":{"a":1}}"#)
        else {
            panic!("not a send");
        };
        assert_eq!(message.content.from, "anonymous");
        assert_eq!(message.content.data, Some(serde_json::json!({"a": 1}).into()));
        assert_eq!((message.id, message.sent_at), (None, None));
    }

    #[test]
    fn the_reference_comes_back_with_a_refusal_as_well() {
        let request = read(r#"{"command":"dance","ref":"r1"}"#);
        assert_eq!(request.reference.as_deref(), Some("r1"));
        assert_eq!(request.command.unwrap_err().code, Code::UnknownCommand);
    }

    #[test]
    fn each_fault_has_its_code() {
        for text in ["", "{", "[]", "1", "null", r#""x""#, r#"{"command":"\ud800"}"#] {
            refused(text, Code::BadJson);
        }
        for text in ["{}", r#"{"command":1}"#, r#"{"command":"fly","channel":""}"#] {
            refused(text, Code::UnknownCommand);
        }
        let long = "x".repeat(300);
        for channel in ["", &long] {
            for command in [
                "subscribe",
                "unsubscribe",
                "send",
                "history",
                "view",
                "unview",
                "edit",
                "delete",
                "react",
                "mark",
            ] {
                let text = format!(r#"{{"command":"{command}","channel":"{channel}","text":""}}"#);
                refused(&text, Code::BadChannel);
            }
        }
        let ids = [r#""""#, r#""x""#, "5", r#""9b2c1a52-3a44-4f6e-8a55-0d3c6f7a1b2c""#];
        for id in ids {
            let text = format!(r#"{{"command":"send","channel":"c","text":"","id":{id}}}"#);
            refused(&text, Code::BadId);
            for command in ["history", "view"] {
                let at = format!(r#"{{"command":"{command}","channel":"c","at":{{"id":{id}}}}}"#);
                refused(&at, Code::BadId);
            }
            for command in ["edit", "delete", "react"] {
                let text = format!(r#"{{"command":"{command}","channel":"c","id":{id}}}"#);
                refused(&text, Code::BadId);
            }
            refused(&format!(r#"{{"command":"mark","channel":"c","read":{id}}}"#), Code::BadId);
        }
        let text = "x".repeat(65_537);
        let send = format!(r#"{{"command":"send","channel":"c","text":"{text}"}}"#);
        refused(&send, Code::TooLarge);
        let edit = format!(r#"{{"command":"edit","channel":"c","id":"{ID}","text":"{text}"}}"#);
        refused(&edit, Code::TooLarge);
    }

    #[test]
    fn malformed_fields_are_bad_requests() {
        for fields in [
            r#""command":"send","text":"x""#,
            r#""command":"send","channel":1,"text":"x""#,
            r#""command":"send","channel":"c""#,
            r#""command":"send","channel":"c","text":1"#,
            r#""command":"send","channel":"c","text":"x","from":"""#,
            r#""command":"send","channel":"c","text":"x","sent_at":-1"#,
            r#""command":"send","channel":"c","text":"x","sent_at":"1""#,
            r#""command":"send","channel":"c","text":"x","attachments":{}"#,
            r#""command":"send","channel":"c","text":"x","attachments":[{"name":"a"}]"#,
            r#""command":"send","channel":"c","text":"x","ref":1"#,
            r#""command":"subscribe","channel":"c","last":-1"#,
            r#""command":"subscribe","channel":"c","last":5001"#,
            r#""command":"history","channel":"c","at":"newest""#,
            r#""command":"history","channel":"c","at":{"index":-1}"#,
            r#""command":"history","channel":"c","at":{"index":1.5}"#,
            r#""command":"history","channel":"c","at":{"fraction":1.01}"#,
            r#""command":"history","channel":"c","at":{"fraction":-0.1}"#,
            r#""command":"history","channel":"c","before":2501,"after":2500"#,
            r#""command":"history","channel":"c","before":-1"#,
            r#""command":"view","channel":"c","at":"newest""#,
            r#""command":"view","channel":"c","before":2501,"after":2500"#,
            r#""command":"view","channel":"c","from":"""#,
            r#""command":"unview""#,
            r#""command":"edit","channel":"c","text":"x""#,
            r#""command":"delete","channel":"c""#,
            r#""command":"react","channel":"c","emoji":"x","on":true"#,
            r#""command":"mark","channel":"c""#,
        ] {
            refused(&format!("{{{fields}}}"), Code::BadRequest);
        }
        for fields in [
            r#""command":"edit""#,
            r#""command":"edit","text":1"#,
            r#""command":"react","on":true"#,
            r#""command":"react","emoji":"","on":true"#,
            r#""command":"react","emoji":"x""#,
            r#""command":"react","emoji":"x","on":"yes""#,
            r#""command":"react","emoji":"x","on":true,"from":"""#,
        ] {
            let text = format!(r#"{{"channel":"c","id":"{ID}",{fields}}}"#);
            refused(&text, Code::BadRequest);
        }
        let emoji = "x".repeat(65);
        let text = format!(
            r#"{{"command":"react","channel":"c","id":"{ID}","emoji":"{emoji}","on":true}}"#
        );
        refused(&text, Code::BadRequest);
    }

    #[test]
    fn a_sent_at_beside_an_id_must_agree() {
        let time_ms = ID.parse::<MessageId>().unwrap().time_ms();
        let send = |sent_at: u64| {
            format!(
                r#"{{"command":"send","channel":"c","text":"","id":"{ID}","sent_at":{sent_at}}}"#
            )
        };
        assert!(matches!(command(&send(time_ms)), Command::Send { .. }));
        refused(&send(time_ms + 1), Code::BadRequest);
    }
}
