//! What `open` is answered with, all of one snapshot: `opened`, marks of users, and windows
//! of the newest messages. Of many windows the later ones follow as the client takes them.

use super::outgoing::{self, PartIds};
use super::segment;
use crate::limits::OPEN_BYTES;
use crate::reader::{LateSince, View};
use crate::reads::Unread;
use backscroll_core::change::ChangeHash;
use backscroll_core::directory::Directory;
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::read_state::ReadState;
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use backscroll_core::wire::{Cursor, Epoch, Have, RelayFrame};
use std::cmp::Reverse;
use tokio_tungstenite::tungstenite::Message;

/// A client that opens a channel.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) epoch: Epoch,
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) cursor: Option<Cursor>,
    pub(super) newest: u32,
}

/// The frames that answer, and the seq after which live delivery begins.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head_seq: u64,
    pub(super) resumed: bool,
    pub(super) frames: Vec<Message>,
    /// Windows that are not in the frames, to be sent after them.
    pub(super) more: Vec<Have>,
}

/// Answers from one snapshot.
pub(super) fn answer(
    view: &View<'_>,
    question: &Question,
    parts: &PartIds,
) -> Result<Answer, Unread> {
    let Question { epoch, channel, cursor, .. } = question;
    let head = view.head(channel)?;
    let known = match cursor {
        Some(cursor) if cursor.epoch == *epoch => {
            let matches = view.cursor_matches(channel, cursor.seq, &cursor.hash)?;
            matches.then_some(cursor.seq)
        }
        _ => None,
    };
    let (directory, late) = match known {
        Some(seq) => (view.directory_since(channel, seq)?, view.late_since(channel, seq)?),
        // What was there before the first look is not news.
        None => (view.directory(channel)?, LateSince { runs: Vec::new(), is_complete: true }),
    };
    let mut frames = parts.messages(&RelayFrame::Opened {
        channel: channel.clone(),
        head: Cursor { epoch: *epoch, seq: head.seq, hash: ChangeHash(head.hash) },
        resumed: known.is_some(),
        directory: directory.encode(),
        total: head.total,
        late: late.runs,
        late_complete: late.is_complete,
    });
    frames.extend(marks(view, question)?);
    let mut more = Vec::new();
    if question.newest > 0 && head.total > 0 {
        let whole;
        let directory = match known {
            Some(_) => {
                whole = view.directory(channel)?;
                &whole
            }
            None => &directory,
        };
        for window in newest_windows(view, question, directory)? {
            let have = Have { window, generation: 0, messages_seq: 0, annotations_seq: 0 };
            if frames.iter().map(Message::len).sum::<usize>() < OPEN_BYTES {
                frames.extend(segment::frames(view, channel, 0, &have, parts)?);
            } else {
                more.push(have);
            }
        }
    }
    Ok(Answer { head_seq: head.seq, resumed: known.is_some(), frames, more })
}

/// The windows that hold the newest messages, the newest window first.
fn newest_windows(
    view: &View<'_>,
    question: &Question,
    directory: &Directory,
) -> Result<Vec<Window>, Unread> {
    let newest = u64::from(question.newest).min(ROWS_MAX).min(directory.total());
    // The oldest of them alone: its time tells which windows reach that far.
    let oldest = Query { at: At::Index(directory.total() - newest), before: 0, after: 1 };
    let history = view.history(&question.channel, &oldest)?;
    let since_ms = history.messages.first().map_or(0, |row| row.id.time_ms());
    let mut windows: Vec<_> = directory
        .iter()
        .filter(|(_, entry)| entry.last_ms >= since_ms)
        .map(|(window, entry)| (Reverse(entry.last_ms), window))
        .collect();
    windows.sort_unstable();
    Ok(windows.into_iter().map(|(_, window)| window).collect())
}

/// What the user has read, for a device that does not know, and what others have.
fn marks(view: &View<'_>, question: &Question) -> Result<Vec<Message>, Unread> {
    let Question { channel, user, .. } = question;
    let own = view.read_state(channel, user).map_err(Unread::Read)?;
    let others = view.other_read_states(channel, user).map_err(Unread::Read)?;
    // Which late messages someone did not see is for that user's devices alone.
    let others = others
        .into_iter()
        .map(|(user, state)| (user, ReadState { unseen_late: Vec::new(), ..state }));
    let own = own.map(|state| (user.clone(), state));
    let frame = |(user, state): (String, ReadState)| {
        outgoing::message(&RelayFrame::Marks {
            channel: channel.clone(),
            user,
            seq: state.seq,
            read: state.read,
            delivered: (state.delivered > 0).then_some(state.delivered),
            unseen_late: state.unseen_late,
        })
    };
    Ok(own.into_iter().chain(others).map(frame).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::Import;
    use crate::reader::Reader;
    use crate::store::Store;
    use backscroll_core::message::{Content, MessageId};

    #[test]
    fn one_answer_holds_a_bounded_part_of_many_windows() {
        let store = Store::in_memory().unwrap();
        let mut import = Import::begin(&store, "c", 1_000_000).unwrap();
        let mut state = 1_u64;
        for n in 0..100 {
            // Saved documents are deflated: no text of a pattern.
            let mut letter = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
                char::from(b'!' + u8::try_from(state >> 58).unwrap())
            };
            let text: String = (0..60_000).map(&mut letter).collect();
            let body = Content::text("ada", &text).to_body().unwrap();
            import.add(MessageId::from_parts(n * 1_000, 1), body).unwrap();
        }
        import.finish().unwrap();
        let question = |newest| Question {
            epoch: Epoch(store.epoch()),
            channel: "c".to_owned(),
            user: "ada".to_owned(),
            cursor: None,
            newest,
        };
        let reader = Reader::new(store.clone(), std::sync::Arc::default());
        let ask = |newest| {
            answer(&reader.view(), &question(newest), &PartIds::default()).map_err(|_| ()).unwrap()
        };
        assert!(ask(3).more.is_empty());
        let all = ask(100);
        let bytes: usize = all.frames.iter().map(Message::len).sum();
        let windows = reader.view().directory("c").unwrap().len();
        assert!(
            !all.more.is_empty() && all.more.len() < windows,
            "{} of {windows}",
            all.more.len()
        );
        // One window beyond the bound, at most four times full.
        assert!((OPEN_BYTES..OPEN_BYTES + (400 << 10)).contains(&bytes), "{bytes}");
    }
}
