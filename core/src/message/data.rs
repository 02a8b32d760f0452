//! The application's own JSON of a message, kept as the CBOR that stands in the message's body.
//!
//! A byte of CBOR can stand for a value that takes dozens of bytes in memory, and a chunk has up to
//! a thousand messages. So reading a message walks over its data and copies the bytes; a tree is made
//! only where one is asked for, of one message at a time.

use super::ContentError;
use super::body::more;
use crate::limits::{DATA_BYTES_MAX, DATA_DEPTH_MAX};
use minicbor::data::Type;
use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder, decode, encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};
use std::fmt;

/// JSON that belongs to a message, up to 64 KiB of it and 32 levels deep.
///
/// Two are equal if their bytes are: those made of equal JSON are.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Vec<u8>);

impl Data {
    /// How many bytes it takes.
    #[must_use]
    pub const fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// The JSON.
    ///
    /// # Complexity
    /// O(length); the tree takes up to some 60 times the bytes it is made of.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // What cannot be read was never let in.
        read(&mut Decoder::new(&self.0)).unwrap_or_default()
    }

    /// Checks nesting and size.
    pub(super) fn check(&self) -> Result<(), ContentError> {
        // What was made of JSON here has no level that cannot be counted.
        let shape = walk(&mut Decoder::new(&self.0), usize::MAX).unwrap_or_default();
        super::check_count("data nesting", shape.depth, DATA_DEPTH_MAX, "levels")?;
        super::check_count("data", shape.json_bytes, DATA_BYTES_MAX, "bytes of JSON")
    }

    /// Takes the next item: JSON as CBOR, which is checked to be that, and not built.
    pub(crate) fn decode(d: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        let from = d.position();
        walk(d, DATA_DEPTH_MAX)?;
        let bytes = d.input().get(from..d.position()).unwrap_or_default();
        Ok(Self(bytes.to_vec()))
    }

    /// Writes it as it is.
    pub(crate) fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
    ) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0).map_err(encode::Error::write)
    }
}

impl From<&Value> for Data {
    fn from(json: &Value) -> Self {
        let mut bytes = Vec::new();
        // Writing to a vector cannot fail, and JSON has nothing that CBOR lacks.
        let written = write(&mut Encoder::new(&mut bytes), json);
        debug_assert!(written.is_ok());
        Self(bytes)
    }
}

impl From<Value> for Data {
    fn from(json: Value) -> Self {
        Self::from(&json)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({})", self.to_json())
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

fn write<W: Write>(e: &mut Encoder<W>, value: &Value) -> Result<(), encode::Error<W::Error>> {
    match value {
        Value::Null => e.null()?,
        Value::Bool(bool) => e.bool(*bool)?,
        Value::String(text) => e.str(text)?,
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => e.u64(number)?,
            (None, Some(number), _) => e.i64(number)?,
            (None, None, Some(number)) => e.f64(number)?,
            (None, None, None) => e.null()?,
        },
        Value::Array(items) => {
            e.array(items.len() as u64)?;
            return items.iter().try_for_each(|item| write(e, item));
        }
        Value::Object(fields) => {
            e.map(fields.len() as u64)?;
            for (key, value) in fields {
                e.str(key)?;
                write(e, value)?;
            }
            return Ok(());
        }
    };
    Ok(())
}

/// Reads what [`walk`] has let in.
fn read(d: &mut Decoder<'_>) -> Result<Value, decode::Error> {
    Ok(match d.datatype()? {
        Type::Bool => Value::Bool(d.bool()?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Number(d.u64()?.into()),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::Number(d.i64()?.into()),
        Type::F16 | Type::F32 | Type::F64 => {
            Number::from_f64(d.f64()?).map_or(Value::Null, Value::Number)
        }
        Type::String => Value::String(d.str()?.to_owned()),
        Type::Array | Type::ArrayIndef => {
            let (mut items, mut left) = (Vec::new(), d.array()?);
            while more(&mut left, d)? {
                items.push(read(d)?);
            }
            Value::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let (mut fields, mut left) = (Map::new(), d.map()?);
            while more(&mut left, d)? {
                let key = d.str()?.to_owned();
                fields.insert(key, read(d)?);
            }
            Value::Object(fields)
        }
        _ => {
            d.skip()?;
            Value::Null
        }
    })
}

/// What bounds are about.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Arrays and objects in each other.
    depth: usize,
    /// Length as compact JSON.
    json_bytes: usize,
}

/// Passes over an item that is JSON, at most `depth` levels deep, and measures it.
fn walk(d: &mut Decoder<'_>, depth: usize) -> Result<Shape, decode::Error> {
    let scalar = |json_bytes| Ok(Shape { depth: 0, json_bytes });
    match d.datatype()? {
        Type::Null => {
            d.null()?;
            scalar(4)
        }
        Type::Bool => scalar(if d.bool()? { 4 } else { 5 }),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => scalar(digits(d.u64()?)),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
            let number = d.i64()?;
            scalar(digits(number.unsigned_abs()) + usize::from(number < 0))
        }
        Type::F16 | Type::F32 | Type::F64 => match Number::from_f64(d.f64()?) {
            Some(number) => scalar(number.to_string().len()),
            None => Err(decode::Error::message("JSON has no such number")),
        },
        Type::String => scalar(text_bytes(d.str()?)),
        container @ (Type::Array | Type::ArrayIndef | Type::Map | Type::MapIndef) => {
            let deeper = depth.checked_sub(1);
            let deeper = deeper.ok_or_else(|| decode::Error::message("nested too deep"))?;
            let is_map = matches!(container, Type::Map | Type::MapIndef);
            let mut left = if is_map { d.map()? } else { d.array()? };
            let (mut inner, mut json_bytes, mut items) = (0, 2, 0);
            while more(&mut left, d)? {
                json_bytes += usize::from(items > 0);
                items += 1;
                if is_map {
                    json_bytes += text_bytes(d.str()?) + 1;
                }
                let item = walk(d, deeper)?;
                inner = inner.max(item.depth);
                json_bytes += item.json_bytes;
            }
            Ok(Shape { depth: 1 + inner, json_bytes })
        }
        other => Err(decode::Error::message(format!("JSON has no {other}"))),
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Length of a text in JSON, quotes included.
fn text_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | 8 | b'\t' | b'\n' | 12 | b'\r' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("\\PC{0,5}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn json_comes_back_and_is_measured(json in any_json()) {
            let data = Data::from(&json);
            prop_assert_eq!(data.to_json(), json.clone());
            let shape = walk(&mut Decoder::new(&data.0), usize::MAX).unwrap();
            prop_assert_eq!(shape.json_bytes, json.to_string().len());
            prop_assert_eq!(shape.depth, depth(&json));
            prop_assert_eq!(Data::decode(&mut Decoder::new(&data.0)).unwrap(), data);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bytes in
            [&[0x41, 1][..], &[0xc1, 0], &[0xf7], &[0xf9, 0x7e, 0], &[0xa1, 1, 1], &[0x82, 1]]
        {
            assert!(Data::decode(&mut Decoder::new(bytes)).is_err(), "{bytes:?}");
        }
        let later = Data::decode(&mut Decoder::new(&[0x9f, 0xfa, 0x3f, 0x80, 0, 0, 0x18, 1, 0xff]))
            .unwrap();
        assert_eq!(later.to_json(), json!([1.0, 1]), "other writers may spell it otherwise");
    }
}
