//! The channels by number, and rows that belong to none.

use super::Problem;
use crate::commit::writer::next_number;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Families whose keys start with a channel's number.
const OF_CHANNELS: [Family; 13] = [
    Family::Log,
    Family::WindowLog,
    Family::Docs,
    Family::Directory,
    Family::Actors,
    Family::Index,
    Family::Members,
    Family::Late,
    Family::Annotations,
    Family::Hashes,
    Family::Ranks,
    Family::Idempotency,
    Family::Reads,
];

/// The channels, by number. Names and numbers that do not fit, and rows of channels that are not
/// there, are problems.
pub(super) fn channels(
    rows: &dyn Snapshot,
    problems: &mut Vec<Problem>,
) -> Result<BTreeMap<ChannelId, String>, StoreError> {
    let mut problem = |channel: &str, what: String| {
        problems.push(Problem { channel: channel.to_owned(), what });
    };
    let mut channels = BTreeMap::new();
    let range = keys::channel_names();
    rows.scan(Family::Meta, bounds(&range), Direction::Forward, &mut |key, number| {
        match (keys::name_of(key), <[u8; 8]>::try_from(number).map(ChannelId::from_be_bytes)) {
            (Some(name), Ok(number)) => {
                if let Some(other) = channels.insert(number, name.to_owned()) {
                    problem(name, format!("its number is that of the channel {other}"));
                }
            }
            (name, _) => {
                problem(name.unwrap_or_default(), "its name or its number is damaged".to_owned());
            }
        }
        ControlFlow::Continue(())
    })?;
    match next_number(rows) {
        Ok(next) => {
            if let Some((_, name)) = channels.range(next..).next() {
                problem(name, format!("its number is to be given again: the next is {next}"));
            }
        }
        Err(StoreError::Damaged { what, .. }) => problem("", what.to_owned()),
        Err(error) => return Err(error),
    }
    for family in OF_CHANNELS {
        for number in numbers(rows, family)? {
            if !channels.contains_key(&number) {
                let what = format!("rows of kind {} of no channel, {number}", family.name());
                problem("", what);
            }
        }
    }
    Ok(channels)
}

/// The numbers that keys of a family start with; one short scan for each.
fn numbers(rows: &dyn Snapshot, family: Family) -> Result<Vec<ChannelId>, StoreError> {
    let mut numbers = Vec::new();
    let mut range = keys::everything();
    loop {
        let mut next = None;
        rows.scan(family, bounds(&range), Direction::Forward, &mut |key, _| {
            next = keys::channel_of(key);
            ControlFlow::Break(())
        })?;
        let Some(number) = next else { return Ok(numbers) };
        numbers.push(number);
        range.start = keys::channel(number).end;
    }
}
