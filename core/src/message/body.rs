//! The CBOR form of a message's content: the bytes behind a key of a segment (RFC 8949).
//!
//! A map with text keys: `from`, `text`, and where there are any `reply_to` (16 bytes),
//! `attachments` (an array of maps) and `data` (the application's JSON as CBOR). Readers take keys in
//! any order, skip unknown ones and refuse one that comes twice.

use super::{Attachment, Content, ContentError, Data, MessageId, TIME_MS_MAX};
use crate::limits::{ATTACHMENTS_MAX, BODY_BYTES_MAX, DATA_DEPTH_MAX};
use minicbor::data::Type;
use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder, decode, encode};

/// Why bytes are no message body, or a message is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The bytes are larger than any body may be.
    #[error("the message body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The bytes are not the CBOR of a body.
    #[error("the message body is malformed")]
    Malformed(#[from] decode::Error),
    /// A field that every message has is missing.
    #[error("the message body has no {0}")]
    Missing(&'static str),
    /// Something follows the body.
    #[error("the message body is followed by other bytes")]
    Trailing,
    /// A field is out of its bounds.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The sent time, in ms since the Unix epoch, is beyond the last one that an id can carry.
    #[error("the sent time {0} ms lies beyond {TIME_MS_MAX} ms")]
    SentAt(u64),
}

type Encoded<E> = Result<(), encode::Error<E>>;

impl Content {
    /// The body: this content as CBOR.
    ///
    /// # Errors
    /// The content is out of its bounds, or larger than a body may be.
    ///
    /// # Complexity
    /// O(size of the content).
    pub fn to_body(&self) -> Result<Vec<u8>, BodyError> {
        self.check()?;
        let mut body = Vec::with_capacity(self.text.len() + self.from.len() + 16);
        // Writing to a vector cannot fail, and a checked content has nothing that CBOR lacks.
        let written = encode_content(&mut Encoder::new(&mut body), self);
        debug_assert!(written.is_ok());
        if body.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        Ok(body)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The bytes are too large, malformed, incomplete, or hold a field out of its bounds.
    ///
    /// # Complexity
    /// O(length); allocates about twice the length at most.
    pub fn from_body(body: &[u8]) -> Result<Self, BodyError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let mut d = Decoder::new(body);
        let content = decode_content(&mut d)?;
        if d.position() != body.len() {
            return Err(BodyError::Trailing);
        }
        content.check()?;
        Ok(content)
    }
}

fn encode_content<W: Write>(e: &mut Encoder<W>, content: &Content) -> Encoded<W::Error> {
    let Content { from, text, reply_to, attachments, data } = content;
    let fields = 2
        + u64::from(reply_to.is_some())
        + u64::from(!attachments.is_empty())
        + u64::from(data.is_some());
    e.map(fields)?.str("from")?.str(from)?.str("text")?.str(text)?;
    if let Some(id) = reply_to {
        e.str("reply_to")?.bytes(&id.to_bytes())?;
    }
    if !attachments.is_empty() {
        e.str("attachments")?.array(attachments.len() as u64)?;
        attachments.iter().try_for_each(|attachment| encode_attachment(e, attachment))?;
    }
    if let Some(data) = data {
        e.str("data")?;
        data.encode(e)?;
    }
    Ok(())
}

/// Writes one file of a message.
pub(crate) fn encode_attachment<W: Write>(
    e: &mut Encoder<W>,
    attachment: &Attachment,
) -> Encoded<W::Error> {
    let Attachment { name, media_type, size, url, sha256 } = attachment;
    e.map(3 + u64::from(url.is_some()) + u64::from(sha256.is_some()))?;
    e.str("name")?.str(name)?.str("media_type")?.str(media_type)?.str("size")?.u64(*size)?;
    if let Some(url) = url {
        e.str("url")?.str(url)?;
    }
    if let Some(sha256) = sha256 {
        e.str("sha256")?.str(sha256)?;
    }
    Ok(())
}

fn decode_content(d: &mut Decoder<'_>) -> Result<Content, BodyError> {
    let (mut from, mut text, mut reply_to, mut attachments, mut data) =
        (None, None, None, None, None);
    for_each_field(d, |key, d| match key {
        "from" => once(&mut from, d.str()?.to_owned(), key),
        "text" => once(&mut text, d.str()?.to_owned(), key),
        "reply_to" => once(&mut reply_to, decode_id(d)?, key),
        "attachments" => once(&mut attachments, decode_attachments(d)?, key),
        "data" => once(&mut data, Data::decode(d)?, key),
        _ => skip_item(d, DATA_DEPTH_MAX),
    })?;
    Ok(Content {
        from: from.ok_or(BodyError::Missing("from"))?,
        text: text.ok_or(BodyError::Missing("text"))?,
        reply_to,
        attachments: attachments.unwrap_or_default(),
        data,
    })
}

/// Calls `field` with each key of a map, definite or not; it must read the value.
pub(crate) fn for_each_field<'b>(
    d: &mut Decoder<'b>,
    mut field: impl FnMut(&'b str, &mut Decoder<'b>) -> Result<(), decode::Error>,
) -> Result<(), decode::Error> {
    let mut left = d.map()?;
    while more(&mut left, d)? {
        let key = d.str()?;
        field(key, d)?;
    }
    Ok(())
}

/// Whether a container of known (`left`) or unknown length has another item.
pub(super) fn more(left: &mut Option<u64>, d: &mut Decoder<'_>) -> Result<bool, decode::Error> {
    match left {
        Some(0) => Ok(false),
        Some(n) => {
            *n -= 1;
            Ok(true)
        }
        None if d.datatype()? == Type::Break => {
            d.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

/// Passes over any item, at most `depth` levels deep. The decoder's own way notes a length for each
/// level, eight times the bytes that make it.
pub(crate) fn skip_item(d: &mut Decoder<'_>, depth: usize) -> Result<(), decode::Error> {
    let deeper = || depth.checked_sub(1).ok_or_else(|| decode::Error::message("nested too deep"));
    match d.datatype()? {
        Type::Array | Type::ArrayIndef => {
            let (depth, mut left) = (deeper()?, d.array()?);
            while more(&mut left, d)? {
                skip_item(d, depth)?;
            }
            Ok(())
        }
        Type::Map | Type::MapIndef => {
            let (depth, mut left) = (deeper()?, d.map()?);
            while more(&mut left, d)? {
                skip_item(d, depth)?;
                skip_item(d, depth)?;
            }
            Ok(())
        }
        Type::Tag => {
            d.tag()?;
            skip_item(d, deeper()?)
        }
        Type::Break => Err(decode::Error::message("a break where an item is due")),
        _ => d.skip(),
    }
}

/// Fills a field that must not come twice.
pub(crate) fn once<T>(slot: &mut Option<T>, value: T, key: &str) -> Result<(), decode::Error> {
    if slot.replace(value).is_some() {
        return Err(decode::Error::message(format!("{key} comes twice")));
    }
    Ok(())
}

fn decode_id(d: &mut Decoder<'_>) -> Result<MessageId, decode::Error> {
    let bytes = d.bytes()?;
    let bytes = bytes.try_into().map_err(|_| decode::Error::message("an id has 16 bytes"))?;
    MessageId::from_bytes(bytes).map_err(|e| decode::Error::message(e.to_string()))
}

/// Reads the files of a message, at most as many as one may have.
pub(crate) fn decode_attachments(d: &mut Decoder<'_>) -> Result<Vec<Attachment>, decode::Error> {
    let mut attachments = Vec::new();
    let mut left = d.array()?;
    while more(&mut left, d)? {
        if attachments.len() == ATTACHMENTS_MAX {
            return Err(decode::Error::message("too many attachments"));
        }
        attachments.push(decode_attachment(d)?);
    }
    Ok(attachments)
}

fn decode_attachment(d: &mut Decoder<'_>) -> Result<Attachment, decode::Error> {
    let (mut name, mut media_type, mut size, mut url, mut sha256) = (None, None, None, None, None);
    for_each_field(d, |key, d| match key {
        "name" => once(&mut name, d.str()?.to_owned(), key),
        "media_type" => once(&mut media_type, d.str()?.to_owned(), key),
        "size" => once(&mut size, d.u64()?, key),
        "url" => once(&mut url, d.str()?.to_owned(), key),
        "sha256" => once(&mut sha256, d.str()?.to_owned(), key),
        _ => skip_item(d, DATA_DEPTH_MAX),
    })?;
    let missing = |field| decode::Error::message(format!("an attachment has no {field}"));
    Ok(Attachment {
        name: name.ok_or_else(|| missing("name"))?,
        media_type: media_type.ok_or_else(|| missing("media_type"))?,
        size: size.ok_or_else(|| missing("size"))?,
        url,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn full() -> Content {
        Content {
            reply_to: Some(MessageId::from_parts(1_700_000_000_000, 42)),
            attachments: vec![Attachment {
                name: "a.png".to_owned(),
                media_type: "image/png".to_owned(),
                size: 1 << 40,
                url: Some("https://example.org/a.png".to_owned()),
                sha256: Some("0f".repeat(32)),
            }],
            data: Some(
                json!({"n": -3, "f": 0.5, "big": u64::MAX, "list": [null, true, {"x": ""}]}).into(),
            ),
            ..Content::text("ada", "hello")
        }
    }

    #[test]
    fn plain_body_has_these_bytes() {
        let body = Content::text("ada", "hi").to_body().unwrap();
        let golden = [
            &[0xa2][..], // map of 2
            &[0x64],
            b"from", // text(4)
            &[0x63],
            b"ada", // text(3)
            &[0x64],
            b"text", // text(4)
            &[0x62],
            b"hi", // text(2)
        ]
        .concat();
        assert_eq!(body, golden);
    }

    #[test]
    fn every_field_comes_back() {
        let content = full();
        assert_eq!(Content::from_body(&content.to_body().unwrap()).unwrap(), content);
    }

    #[test]
    fn other_writers_may_order_keys_and_add_fields() {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.begin_map().unwrap().str("text").unwrap().str("hi").unwrap();
        e.str("later").unwrap().array(2).unwrap().u8(1).unwrap().u8(2).unwrap();
        e.str("from").unwrap().str("ada").unwrap().end().unwrap();
        assert_eq!(Content::from_body(&bytes).unwrap(), Content::text("ada", "hi"));
    }

    #[test]
    fn malformed_bodies_are_refused_with_what_is_wrong() {
        let error = |bytes: &[u8]| Content::from_body(bytes).unwrap_err().to_string();
        assert_eq!(error(&[0xa0]), "the message body has no from");
        assert_eq!(error(&[]), "the message body is malformed");
        let mut body = Content::text("ada", "hi").to_body().unwrap();
        body.push(0);
        assert_eq!(error(&body), "the message body is followed by other bytes");
        assert!(error(&vec![0; BODY_BYTES_MAX + 1]).contains("larger"));
        let twice = [&[0xa3][..], b"\x64from\x61a", b"\x64from\x61b", b"\x64text\x60"].concat();
        assert!(matches!(Content::from_body(&twice), Err(BodyError::Malformed(_))));
        let nameless = [&[0xa2][..], b"\x64from\x60", b"\x64text\x60"].concat();
        assert_eq!(error(&nameless), "from is empty");
    }

    #[test]
    fn deep_nesting_is_refused_before_it_recurses() {
        let mut bytes = [&[0xa3][..], b"\x64from\x61a", b"\x64text\x60", b"\x64data"].concat();
        bytes.extend(vec![0x81; 100_000]);
        bytes.push(0xf6);
        assert!(Content::from_body(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(content) = Content::from_body(&bytes) {
                let again = content.to_body().unwrap();
                prop_assert_eq!(Content::from_body(&again).unwrap(), content);
            }
        }

        #[test]
        fn any_text_comes_back(from in "\\PC{1,60}", text in any::<String>()) {
            let content = Content::text(&from, &text);
            prop_assert_eq!(Content::from_body(&content.to_body().unwrap()).unwrap(), content);
        }
    }
}
