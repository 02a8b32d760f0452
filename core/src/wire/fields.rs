//! Values of frames as CBOR: ids, windows, codes, and lists that reserve only what can be there.

use super::code::Code;
use super::codec::malformed;
use super::frames::{ChannelInfo, Epoch, Have, LateRun, Tail};
use crate::change::{ChangeHash, DocKind};
use crate::directory::{number_of, window_of};
use crate::limits::{
    CHANNELS_PAGE_MAX, CHUNK_BYTES_MIN, FETCH_WINDOWS_MAX, LATE_RUNS_MAX, PARTED_BYTES_MAX,
    PUSH_CHUNKS_MAX,
};
use crate::message::MessageId;
use crate::window::Window;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

type Encoded<W> = Result<(), encode::Error<<W as Write>::Error>>;
type Decoded<T> = Result<T, decode::Error>;

/// Items of a list in a frame: how many there may be, and how few bytes each can take.
pub(super) trait Listed {
    const LEN_MAX: usize;
    const BYTES_MIN: usize;
}

impl Listed for u64 {
    const LEN_MAX: usize = PUSH_CHUNKS_MAX;
    const BYTES_MIN: usize = 1;
}

impl Listed for Have {
    const LEN_MAX: usize = FETCH_WINDOWS_MAX;
    const BYTES_MIN: usize = 11;
}

impl Listed for LateRun {
    const LEN_MAX: usize = LATE_RUNS_MAX;
    const BYTES_MIN: usize = 39;
}

impl Listed for ChannelInfo {
    const LEN_MAX: usize = CHANNELS_PAGE_MAX;
    const BYTES_MIN: usize = 8;
}

impl Listed for Tail {
    // A window of the last level has no bound of its own; the answer's size has.
    const LEN_MAX: usize = PARTED_BYTES_MAX / Self::BYTES_MIN;
    const BYTES_MIN: usize = CHUNK_BYTES_MIN + 6;
}

/// The length of a list, if it is within `max` and so many items can be in what is left.
fn list_len(d: &mut Decoder<'_>, max: usize, item_bytes_min: usize) -> Decoded<usize> {
    let len = d.array()?.ok_or_else(|| malformed("lengths must be given"))?;
    let left = d.input().len().saturating_sub(d.position());
    usize::try_from(len)
        .ok()
        .filter(|len| *len <= max && *len <= left / item_bytes_min)
        .ok_or_else(|| malformed("a list is too long"))
}

/// Lists of bounded length, for `#[cbor(with)]`.
pub(super) mod list {
    use super::{Decode, Decoded, Decoder, Encode, Encoded, Encoder, Listed, Write, list_len};

    pub(crate) fn encode<C, T: Encode<C>, W: Write>(
        items: &[T],
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Encoded<W> {
        e.array(items.len() as u64)?;
        items.iter().try_for_each(|item| item.encode(e, ctx))
    }

    pub(crate) fn decode<'b, C, T: Decode<'b, C> + Listed>(
        d: &mut Decoder<'b>,
        ctx: &mut C,
    ) -> Decoded<Vec<T>> {
        let len = list_len(d, T::LEN_MAX, T::BYTES_MIN)?;
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(T::decode(d, ctx)?);
        }
        Ok(items)
    }
}

/// Change chunks, for `#[cbor(with)]`.
pub(super) mod chunks {
    use super::{
        CHUNK_BYTES_MIN, Decoded, Decoder, Encoded, Encoder, PUSH_CHUNKS_MAX, Write, list_len,
    };

    pub(crate) fn encode<C, W: Write>(
        chunks: &[Vec<u8>],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Encoded<W> {
        e.array(chunks.len() as u64)?;
        chunks.iter().try_for_each(|chunk| e.bytes(chunk).map(drop))
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Decoded<Vec<Vec<u8>>> {
        let len = list_len(d, PUSH_CHUNKS_MAX, CHUNK_BYTES_MIN)?;
        (0..len).map(|_| Ok(d.bytes()?.to_vec())).collect()
    }
}

/// Writes and reads a type as CBOR bytes of a fixed length.
macro_rules! as_bytes {
    ($($type:ty, $of:expr, $to:expr;)*) => {$(
        impl<C> Encode<C> for $type {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Encoded<W> {
                let to: fn(&$type) -> _ = $to;
                e.bytes(&to(self))?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $type {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
                let bytes = d.bytes()?.try_into();
                $of(bytes.map_err(|_| malformed("bytes of another length"))?)
            }
        }
    )*};
}

as_bytes! {
    Epoch, |bytes| Ok(Self(bytes)), |epoch| epoch.0;
    ChangeHash, |bytes| Ok(Self(bytes)), |hash| hash.0;
    MessageId,
        |bytes| Self::from_bytes(bytes).map_err(|_| malformed("not a UUID of version 7")),
        |id| id.to_bytes();
}

impl<C> Encode<C> for Window {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.array(2)?.u8(self.level())?.u64(number_of(*self))?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Window {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        if d.array()? != Some(2) {
            return Err(malformed("a window is an array of level and number"));
        }
        let (level, number) = (d.u8()?, d.u64()?);
        window_of(level, number).map_err(|_| malformed("there is no such window"))
    }
}

impl<C> Encode<C> for DocKind {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        let number = match self {
            Self::Messages => 0,
            Self::Annotations => 1,
        };
        e.u8(number)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for DocKind {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        match d.u8()? {
            0 => Ok(Self::Messages),
            1 => Ok(Self::Annotations),
            _ => Err(malformed("a document is 0 or 1")),
        }
    }
}

impl<C> Encode<C> for Code {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Code {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let Ok(code) = d.str()?.parse();
        Ok(code)
    }
}
