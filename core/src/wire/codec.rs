//! Frames to bytes and back, within bounds: nothing is reserved before it is known to be there.

use super::check::{check_client, check_relay};
use super::code::Code;
use super::frames::{ClientFrame, RelayFrame};
use super::parts::PartError;
use crate::limits::{FRAME_BYTES_MAX, PARTED_BYTES_MAX};
use crate::message::ContentError;
use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, decode};

/// Frames of this type and above may be skipped by who does not know them.
const SKIPPABLE_MIN: u64 = 128;

/// Containers in containers in a frame: body, list, list item, window; and room for what comes.
const DEPTH_MAX: u32 = 8;

/// Why bytes are no frame, or a frame out of bounds. [`WireError::code`] says what to answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame is larger than any may be.
    #[error("the frame has {len} bytes, {max} are allowed")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The bytes are not the CBOR of a frame.
    #[error("the frame is malformed: {0}")]
    Malformed(#[from] decode::Error),
    /// A frame type below 128 that does not exist in this direction.
    #[error("there is no frame of type {0}")]
    UnknownType(u64),
    /// A name is empty or too long.
    #[error(transparent)]
    Name(#[from] ContentError),
    /// A field is out of its bounds.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// A part of a large frame does not fit to those before it.
    #[error(transparent)]
    Part(#[from] PartError),
}

impl WireError {
    /// The code to answer with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Malformed(_) | Self::Part(_) => Code::BadFrame,
            Self::UnknownType(_) | Self::Bounds(_) => Code::BadRequest,
            Self::Name(
                ContentError::Empty { field: "channel" }
                | ContentError::TooLarge { field: "channel", .. },
            ) => Code::BadChannel,
            Self::Name(_) => Code::BadRequest,
        }
    }
}

/// The bytes of a client's frame.
#[must_use]
pub fn encode_client(frame: &ClientFrame) -> Vec<u8> {
    to_bytes(frame)
}

/// The bytes of a relay's frame, which [`super::into_parts`] cuts if they are too many.
#[must_use]
pub fn encode_relay(frame: &RelayFrame) -> Vec<u8> {
    to_bytes(frame)
}

fn to_bytes(frame: &impl Encode<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a vector cannot fail, and no frame has what CBOR lacks.
    let written = minicbor::encode(frame, &mut bytes);
    debug_assert!(written.is_ok());
    bytes
}

/// Reads a client's frame; `None` if it is of a later version and may be skipped.
///
/// # Errors
/// The bytes are too many, no frame, or a frame out of bounds.
///
/// # Complexity
/// O(length); allocates at most about twice the length.
pub fn decode_client(bytes: &[u8]) -> Result<Option<ClientFrame>, WireError> {
    let Some(frame) = from_bytes::<ClientFrame>(bytes, FRAME_BYTES_MAX, 1..=8)? else {
        return Ok(None);
    };
    check_client(&frame)?;
    Ok(Some(frame))
}

/// Reads a relay's frame as it came; `None` if it is of a later version and may be skipped.
///
/// A client reads through [`super::Assembler`], which also puts parts together.
///
/// # Errors
/// As [`decode_client`].
pub fn decode_relay(bytes: &[u8]) -> Result<Option<RelayFrame>, WireError> {
    decode_relay_within(bytes, FRAME_BYTES_MAX)
}

/// Reads a relay's frame that was put together from parts.
pub(super) fn decode_assembled(bytes: &[u8]) -> Result<Option<RelayFrame>, WireError> {
    decode_relay_within(bytes, PARTED_BYTES_MAX)
}

fn decode_relay_within(bytes: &[u8], max: usize) -> Result<Option<RelayFrame>, WireError> {
    let Some(frame) = from_bytes::<RelayFrame>(bytes, max, 16..=27)? else {
        return Ok(None);
    };
    check_relay(&frame)?;
    Ok(Some(frame))
}

fn from_bytes<'b, F: Decode<'b, ()>>(
    bytes: &'b [u8],
    max: usize,
    known: std::ops::RangeInclusive<u64>,
) -> Result<Option<F>, WireError> {
    if bytes.len() > max {
        return Err(WireError::TooLarge { len: bytes.len(), max });
    }
    let mut d = Decoder::new(bytes);
    let items = d.array()?;
    let frame_type = d.u64()?;
    if frame_type >= SKIPPABLE_MIN {
        return Ok(None);
    }
    if items != Some(2) {
        return Err(malformed("a frame is an array of a type and a body").into());
    }
    if !known.contains(&frame_type) {
        return Err(WireError::UnknownType(frame_type));
    }
    // Shape first: what follows may then skip unknown fields without bounds of its own.
    check_item(&mut d, 0)?;
    if d.position() != bytes.len() {
        return Err(malformed("bytes after the frame").into());
    }
    Ok(Some(decode(bytes)?))
}

pub(super) fn malformed(reason: &'static str) -> decode::Error {
    decode::Error::message(reason)
}

/// Walks over one item: definite lengths, no tags, bounded nesting, ascending integer keys.
fn check_item(d: &mut Decoder<'_>, depth: u32) -> Result<(), decode::Error> {
    if depth > DEPTH_MAX {
        return Err(malformed("nested too deep"));
    }
    match d.datatype()? {
        Type::Bytes => d.bytes().map(drop),
        Type::String => d.str().map(drop),
        Type::Array => {
            let len = d.array()?.unwrap_or(0);
            (0..len).try_for_each(|_| check_item(d, depth + 1))
        }
        Type::Map => {
            let len = d.map()?.unwrap_or(0);
            let mut key_min = Some(0);
            for _ in 0..len {
                let key = d.u64()?;
                if key_min.is_none_or(|min| key < min) {
                    return Err(malformed("keys do not ascend"));
                }
                key_min = key.checked_add(1);
                check_item(d, depth + 1)?;
            }
            Ok(())
        }
        Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef => {
            Err(malformed("lengths must be given"))
        }
        Type::Tag | Type::Break | Type::Unknown(_) => Err(malformed("not in a frame")),
        _ => d.skip(),
    }
}
