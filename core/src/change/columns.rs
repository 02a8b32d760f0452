//! The op columns of a change: the eight that our documents use, decoded row by row.
//!
//! Columns are run-length encoded, so a few bytes can stand for any number of rows: every decoder
//! here stops at the bound of what it is asked for and allocates nothing for runs.

use super::container::{Header, Reader};
use super::{ActorId16, ChangeError};
use crate::limits::CHANGE_OPS_MAX;
use automerge::{ScalarValue, legacy};

/// Most ops that one change may replace: as many as may be concurrent.
pub(super) const PREDS_MAX: usize = 4_096;

/// A column's specification: its id, then 4 bits of kind (automerge 0.12, `columns/`).
mod spec {
    pub(super) const DEFLATED: u32 = 0b1000;
    pub(super) const KEY_TEXT: u32 = 1 << 4 | 5;
    pub(super) const INSERT: u32 = 3 << 4 | 4;
    pub(super) const ACTION: u32 = 4 << 4 | 2;
    pub(super) const VALUE_META: u32 = 5 << 4 | 6;
    pub(super) const VALUE: u32 = 5 << 4 | 7;
    pub(super) const PRED_COUNT: u32 = 7 << 4;
    pub(super) const PRED_ACTOR: u32 = 7 << 4 | 1;
    pub(super) const PRED_COUNTER: u32 = 7 << 4 | 3;
}

const ACTION_SET: u64 = 1;

/// A `set` under a key of the root map; borrows from its chunk.
#[derive(Debug)]
pub(super) struct Op<'a> {
    pub(super) key: &'a str,
    pub(super) value: OpValue<'a>,
    /// The ops it replaces, ascending.
    pub(super) preds: Vec<(u64, ActorId16)>,
}

/// The values that our documents have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpValue<'a> {
    Bytes(&'a [u8]),
    Bool(bool),
}

impl Op<'_> {
    pub(super) fn to_automerge(&self) -> legacy::Op {
        let value = match self.value {
            OpValue::Bytes(bytes) => ScalarValue::Bytes(bytes.to_vec()),
            OpValue::Bool(bool) => ScalarValue::Boolean(bool),
        };
        set_op(self.key, value, &self.preds)
    }
}

/// `set` under `key` of the root map.
pub(super) fn set_op(key: &str, value: ScalarValue, preds: &[(u64, ActorId16)]) -> legacy::Op {
    let pred = |(counter, actor): &(u64, ActorId16)| legacy::OpId(*counter, actor.to_automerge());
    legacy::Op {
        action: legacy::OpType::Put(value),
        obj: legacy::ObjectId::Root,
        key: legacy::Key::Map(key.into()),
        pred: preds.iter().map(pred).collect(),
        insert: false,
    }
}

/// The columns by name; one that is not there is empty.
#[derive(Default)]
struct Columns<'a> {
    key: &'a [u8],
    insert: &'a [u8],
    action: &'a [u8],
    value_meta: &'a [u8],
    value: &'a [u8],
    pred_count: &'a [u8],
    pred_actor: &'a [u8],
    pred_counter: &'a [u8],
}

impl<'a> Columns<'a> {
    fn sort(header: &Header<'a>) -> Result<Self, ChangeError> {
        let mut columns = Self::default();
        for (spec, content) in &header.columns {
            if spec & spec::DEFLATED != 0 {
                return Err(ChangeError::Malformed("a column is deflated"));
            }
            let slot = match *spec {
                spec::KEY_TEXT => &mut columns.key,
                spec::INSERT => &mut columns.insert,
                spec::ACTION => &mut columns.action,
                spec::VALUE_META => &mut columns.value_meta,
                spec::VALUE => &mut columns.value,
                spec::PRED_COUNT => &mut columns.pred_count,
                spec::PRED_ACTOR => &mut columns.pred_actor,
                spec::PRED_COUNTER => &mut columns.pred_counter,
                0x01 | 0x02 => return Err(ChangeError::Shape("an op on an object")),
                0x11 | 0x13 => return Err(ChangeError::Shape("an op on a list")),
                0x94 | 0xa5 => return Err(ChangeError::Shape("a mark")),
                _ => return Err(ChangeError::Malformed("it has an unknown column")),
            };
            *slot = content;
        }
        Ok(columns)
    }
}

/// Reads all ops of a change: at least one, at most as many as a change may have.
pub(super) fn read_ops<'a>(header: &Header<'a>) -> Result<Vec<Op<'a>>, ChangeError> {
    let columns = Columns::sort(header)?;
    let len = count_sets(columns.action)?;
    check_inserts(columns.insert, len)?;
    let mut keys = Runs::new(columns.key, read_text);
    let mut metas = Runs::new(columns.value_meta, Reader::unsigned);
    let mut values = Reader::new(columns.value);
    let mut preds = Preds::new(&columns, &header.actors);
    let mut ops = Vec::with_capacity(len);
    for _ in 0..len {
        let key = keys.row()?;
        if keys.is_repeated() {
            // Refused before its copies are made: a run of a long key stands for far more bytes.
            return Err(ChangeError::Shape("a key that comes twice"));
        }
        let value = read_value(metas.row()?, &mut values)?;
        ops.push(Op { key, value, preds: preds.row()? });
    }
    let all_used = keys.is_done() && metas.is_done() && values.is_empty() && preds.is_done();
    if !all_used {
        return Err(ChangeError::Malformed("a column has more rows than there are ops"));
    }
    Ok(ops)
}

fn count_sets(column: &[u8]) -> Result<usize, ChangeError> {
    let mut actions = Runs::new(column, Reader::unsigned);
    let mut len = 0;
    while !actions.is_done() {
        if len == CHANGE_OPS_MAX {
            return Err(ChangeError::TooMany { what: "ops", max: CHANGE_OPS_MAX });
        }
        match actions.row()? {
            ACTION_SET => len += 1,
            3 => return Err(ChangeError::Shape("a delete op")),
            5 => return Err(ChangeError::Shape("an increment op")),
            7 => return Err(ChangeError::Shape("a mark")),
            0 | 2 | 4 | 6 => return Err(ChangeError::Shape("an op that makes an object")),
            _ => return Err(ChangeError::Shape("an unknown op")),
        }
    }
    if len == 0 { Err(ChangeError::Malformed("it has no ops")) } else { Ok(len) }
}

/// The insert column counts false and true in turn; no op of ours inserts.
fn check_inserts(column: &[u8], len: usize) -> Result<(), ChangeError> {
    let mut r = Reader::new(column);
    let all_false = r.length()? == len && r.is_empty();
    if all_false { Ok(()) } else { Err(ChangeError::Shape("an insert")) }
}

fn read_text<'a>(r: &mut Reader<'a>) -> Result<&'a str, ChangeError> {
    let len = r.length()?;
    std::str::from_utf8(r.take(len)?).map_err(|_| ChangeError::Malformed("a key is not UTF-8"))
}

/// A value's row: length and, in the low 4 bits, type; then that many bytes.
fn read_value<'a>(meta: u64, values: &mut Reader<'a>) -> Result<OpValue<'a>, ChangeError> {
    match (meta, meta & 0xf) {
        (1, _) => Ok(OpValue::Bool(false)),
        (2, _) => Ok(OpValue::Bool(true)),
        (_, 7) => {
            let len = usize::try_from(meta >> 4)
                .map_err(|_| ChangeError::Malformed("a value is cut short"))?;
            values.take(len).map(OpValue::Bytes)
        }
        (_, 6) => Err(ChangeError::Shape("a text value")),
        (_, 8) => Err(ChangeError::Shape("a counter")),
        _ => Err(ChangeError::Shape("a value that is neither bytes nor a boolean")),
    }
}

/// The ops that each op replaces: a count per op, and an actor and a counter for each replaced op.
struct Preds<'a> {
    counts: Runs<'a, u64>,
    actors: Runs<'a, u64>,
    counters: Runs<'a, i64>,
    counter: i64,
    names: &'a [ActorId16],
    total: usize,
}

impl<'a> Preds<'a> {
    fn new(columns: &Columns<'a>, names: &'a [ActorId16]) -> Self {
        Self {
            counts: Runs::new(columns.pred_count, Reader::unsigned),
            actors: Runs::new(columns.pred_actor, Reader::unsigned),
            counters: Runs::new(columns.pred_counter, Reader::signed),
            counter: 0,
            names,
            total: 0,
        }
    }

    fn row(&mut self) -> Result<Vec<(u64, ActorId16)>, ChangeError> {
        let too_many = ChangeError::TooMany { what: "replaced ops", max: PREDS_MAX };
        let Some(count) = usize::try_from(self.counts.row()?).ok().filter(|n| *n <= PREDS_MAX)
        else {
            return Err(too_many);
        };
        self.total += count;
        if self.total > PREDS_MAX {
            return Err(too_many);
        }
        let mut preds = Vec::with_capacity(count);
        for _ in 0..count {
            let pred = self.next_pred()?;
            if preds.last().is_some_and(|last| *last >= pred) {
                return Err(ChangeError::Malformed("replaced ops are not in ascending order"));
            }
            preds.push(pred);
        }
        Ok(preds)
    }

    fn next_pred(&mut self) -> Result<(u64, ActorId16), ChangeError> {
        let actor = usize::try_from(self.actors.row()?).ok().and_then(|i| self.names.get(i));
        let actor =
            actor.ok_or(ChangeError::Malformed("an op names an actor that is not there"))?;
        // Counters are stored as differences.
        self.counter = self
            .counter
            .checked_add(self.counters.row()?)
            .filter(|counter| *counter > 0)
            .ok_or(ChangeError::Malformed("a replaced op's counter is out of range"))?;
        Ok((self.counter.unsigned_abs(), *actor))
    }

    fn is_done(&self) -> bool {
        self.counts.is_done() && self.actors.is_done() && self.counters.is_done()
    }
}

/// A run-length encoded column: (n > 0, value) is a run, (-n, n values) are single ones, (0, n) is a
/// run of nulls, which our columns never have.
struct Runs<'a, T> {
    bytes: Reader<'a>,
    read: fn(&mut Reader<'a>) -> Result<T, ChangeError>,
    left: u64,
    /// The value of a run; none among single values.
    run: Option<T>,
}

impl<'a, T: Copy> Runs<'a, T> {
    const fn new(column: &'a [u8], read: fn(&mut Reader<'a>) -> Result<T, ChangeError>) -> Self {
        Self { bytes: Reader::new(column), read, left: 0, run: None }
    }

    const fn is_done(&self) -> bool {
        self.left == 0 && self.bytes.is_empty()
    }

    /// Whether the value of the row before comes again.
    const fn is_repeated(&self) -> bool {
        self.run.is_some() && self.left > 0
    }

    fn row(&mut self) -> Result<T, ChangeError> {
        if self.left == 0 {
            if self.bytes.is_empty() {
                return Err(ChangeError::Malformed("a column has fewer rows than there are ops"));
            }
            let len = self.bytes.signed()?;
            if len == 0 {
                return Err(ChangeError::Malformed("a column has empty rows"));
            }
            self.run = if len > 0 { Some((self.read)(&mut self.bytes)?) } else { None };
            self.left = len.unsigned_abs();
        }
        self.left -= 1;
        match self.run {
            Some(value) => Ok(value),
            None => (self.read)(&mut self.bytes),
        }
    }
}
