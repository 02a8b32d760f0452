//! Read states and delivered marks (design 4.4).

use super::channel::Channel;
use super::check::{Stop, check_future};
use super::command::{Code, Mark, Refusal};
use super::event::{Committed, CommittedMark};
use super::writer::Work;
use crate::engine::now_ms;
use crate::limits::UNSEEN_RUNS_MAX;
use crate::store::keys;
use crate::store::kv::{Family, Snapshot};
use crate::store::rows::Row;
use backscroll_core::read_state::ReadState;

/// Merges a mark into the stored one by max. Marks above the head, of another epoch, or that tell of
/// reading in the future are refused.
pub(super) fn merge_mark(
    work: &mut Work<'_>,
    channel: &Channel,
    mark: &Mark,
    epoch: [u8; 16],
) -> Result<(), Stop> {
    let refuse = |text: &str| Err(Refusal::new(Code::BadRequest, text).into());
    if mark.epoch != epoch {
        return refuse("the mark is of another epoch");
    }
    if mark.seq.max(mark.delivered.unwrap_or(0)) > channel.head.seq {
        return refuse("the mark is above the channel's head");
    }
    // A client with a fast clock would have everything read that is written until then.
    let read_ms = mark.read.map_or(0, |read| read.time_ms());
    check_future(read_ms, now_ms())?;
    if mark.unseen_late.len() > UNSEEN_RUNS_MAX {
        return refuse("too many unseen late runs");
    }
    if !channel.is_stored {
        return Ok(());
    }
    let key = keys::read_state(channel.number, &mark.user);
    let before =
        work.txn.get(Family::Reads, &key)?.map(|row| ReadState::decode(&row)).transpose()?;
    let mut row = before.unwrap_or_default();
    let is_news = row.merge(&ReadState {
        read: mark.read,
        seq: mark.seq,
        delivered: mark.delivered.unwrap_or(0),
        unseen_late: mark.unseen_late.clone(),
    });
    if !is_news {
        return Ok(());
    }
    work.txn.put(Family::Reads, key, row.encode());
    work.done.events.push(Committed::Mark(CommittedMark {
        channel: channel.name.clone(),
        user: mark.user.clone(),
        seq: row.seq,
        read: row.read,
        delivered: row.delivered,
        unseen_late: row.unseen_late,
    }));
    Ok(())
}
