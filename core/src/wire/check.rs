//! Bounds of what frames hold, beyond their shape.

use super::codec::WireError;
use super::frames::{ClientFrame, Cursor, LateRun, RelayFrame, SavedDoc, Tail, Token};
use crate::limits::{EPHEMERAL_BYTES_MAX, ROWS_MAX, SEQ_MAX, TOKEN_BYTES_MAX};
use crate::message::{check_channel, check_user};

type Checked = Result<(), WireError>;

fn within(field: &'static str, is_within: bool) -> Checked {
    if is_within { Ok(()) } else { Err(WireError::Bounds(field)) }
}

fn check_seq(seq: u64) -> Checked {
    within("seq", seq <= SEQ_MAX)
}

fn check_runs(runs: &[LateRun]) -> Checked {
    let sound = |run: &LateRun| run.count > 0 && run.first <= run.last;
    within("late run", runs.iter().all(sound))
}

/// Of a mark's runs one may also say that it is not known how many there are, if any.
fn check_mark_runs(runs: &[LateRun]) -> Checked {
    within("late run", runs.iter().all(|run| run.first <= run.last))
}

fn check_tail(tail: &[Tail]) -> Checked {
    let ascending = tail.iter().zip(tail.iter().skip(1)).all(|(one, two)| one.seq < two.seq);
    within("tail", ascending && tail.iter().all(|change| (1..=SEQ_MAX).contains(&change.seq)))
}

/// Whether every field of a client's frame is within its bounds.
pub(super) fn check_client(frame: &ClientFrame) -> Checked {
    match frame {
        ClientFrame::Hello { version: _, user, token } => {
            check_user(user)?;
            let len = token.as_ref().map_or(0, |Token(token)| token.len());
            within("token", len <= TOKEN_BYTES_MAX)
        }
        ClientFrame::Open { channel, cursor, newest } => {
            check_channel(channel)?;
            check_seq(cursor.map_or(0, |Cursor { seq, .. }| seq))?;
            within("newest", u64::from(*newest) <= ROWS_MAX)
        }
        ClientFrame::Push { reference, channel, .. } => {
            check_channel(channel)?;
            within("reference", *reference != 0)
        }
        ClientFrame::Fetch { reference, channel, .. } => {
            check_channel(channel)?;
            within("reference", *reference != 0)
        }
        ClientFrame::Mark { channel, seq, delivered, unseen_late, .. } => {
            check_channel(channel)?;
            check_seq(*seq)?;
            check_seq(delivered.unwrap_or(0))?;
            check_mark_runs(unseen_late)
        }
        ClientFrame::Ephemeral { channel, payload } => {
            check_channel(channel)?;
            within("payload", payload.len() <= EPHEMERAL_BYTES_MAX)
        }
        ClientFrame::Close { channel } => Ok(check_channel(channel)?),
        ClientFrame::Channels { after } => match after {
            Some(name) => Ok(check_channel(name)?),
            None => Ok(()),
        },
    }
}

/// Whether every field of a relay's frame is within its bounds.
pub(super) fn check_relay(frame: &RelayFrame) -> Checked {
    match frame {
        RelayFrame::Welcome { .. } | RelayFrame::Part { .. } => Ok(()),
        RelayFrame::Opened { channel, head, total, late, .. } => {
            check_channel(channel)?;
            check_seq(head.seq)?;
            within("total", *total <= SEQ_MAX)?;
            check_runs(late)
        }
        RelayFrame::Segment {
            channel,
            as_of,
            messages,
            message_tail,
            annotations,
            annotation_tail,
            ..
        } => {
            check_channel(channel)?;
            check_seq(*as_of)?;
            let saved = |doc: &Option<SavedDoc>| doc.as_ref().map_or(0, |doc| doc.upto_seq);
            within("saved seq", saved(messages).max(saved(annotations)) <= *as_of)?;
            check_tail(message_tail)?;
            check_tail(annotation_tail)
        }
        RelayFrame::Changes { channel, seq, .. } => {
            check_channel(channel)?;
            within("seq", (1..=SEQ_MAX).contains(seq))
        }
        RelayFrame::Ack { channel, seqs, .. } => {
            check_channel(channel)?;
            seqs.iter().try_for_each(|seq| check_seq(*seq))
        }
        RelayFrame::Nack { channel, .. } | RelayFrame::Entries { channel, .. } => {
            Ok(check_channel(channel)?)
        }
        RelayFrame::Marks { channel, user, seq, delivered, unseen_late, .. } => {
            check_channel(channel)?;
            check_user(user)?;
            check_seq(*seq)?;
            check_seq(delivered.unwrap_or(0))?;
            check_mark_runs(unseen_late)
        }
        RelayFrame::Ephemeral { channel, user, payload } => {
            check_channel(channel)?;
            check_user(user)?;
            within("payload", payload.len() <= EPHEMERAL_BYTES_MAX)
        }
        RelayFrame::Error { channel, .. } => match channel {
            Some(channel) => Ok(check_channel(channel)?),
            None => Ok(()),
        },
        RelayFrame::Channels { list, .. } => {
            list.iter().try_for_each(|info| Ok(check_channel(&info.name)?))
        }
    }
}
