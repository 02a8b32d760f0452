//! Erasure and retention: what is gone is gone everywhere, and everything else stays as it was.

use super::*;
use crate::commit::Mark;
use crate::commit::erase::{Erase, ErasedWindow};
use crate::commit::retain::{DropWindows, DroppedWindows};
use crate::index::MessageRow;
use crate::reader::HaveSeqs;
use backscroll_core::change::ChangeHash;
use backscroll_core::late::Unseen;
use backscroll_core::wire::LateRun;
use std::collections::BTreeSet;

/// A text of which no part comes about by chance, so short that nothing is deflated.
const MARKER: &str = "zqXkWjVvPpTt";

fn window() -> Window {
    Window::covering(0, T0)
}

fn nth(i: u64) -> MessageId {
    id(T0 + i * 1_000, 1)
}

fn draw() -> [u8; 16] {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).unwrap();
    bits
}

impl Relay {
    fn generation(&self, window: Window) -> u32 {
        self.reader().view().directory("c").unwrap().get(window).unwrap().generation
    }

    fn erase(&mut self, ids: &[MessageId]) -> (ErasedWindow, Vec<Committed>) {
        let window = self.reader().view().window_of("c", ids[0]).unwrap().unwrap();
        let (reply, mut answer) = oneshot::channel();
        let actors = [ActorId16(draw()), ActorId16(draw())];
        let ids = ids.iter().copied().collect();
        let erase = Box::new(Erase { channel: "c".to_owned(), window, ids, actors });
        let done = self.writer.commit(vec![Command::Erase { erase, reply }]).unwrap();
        (answer.try_recv().unwrap().unwrap(), done.events)
    }

    fn drop_windows(&mut self, windows: Vec<Window>) -> (DroppedWindows, Vec<Committed>) {
        let directory = self.reader().view().directory("c").unwrap();
        let known = |window| (window, directory.get(window).map_or(0, |entry| entry.latest_seq()));
        let windows = windows.into_iter().map(known).collect();
        let (reply, mut answer) = oneshot::channel();
        let hash = ChangeHash([9; 32]);
        let windows = Box::new(DropWindows { channel: "c".to_owned(), windows, hash });
        let done = self.writer.commit(vec![Command::Drop { windows, reply }]).unwrap();
        (answer.try_recv().unwrap().unwrap(), done.events)
    }

    /// Writes a message into a window, by an actor of its own.
    fn write(&mut self, window: Window, id: MessageId, text: &str) -> (u64, Vec<u8>) {
        let mut author = MessageAuthor::new(window, ActorId16(draw()));
        let chunk = author.write(&[(id, body("ada", text))]).unwrap().chunk;
        let generation =
            self.reader().view().directory("c").unwrap().get(window).map_or(0, |e| e.generation);
        let push =
            Push { generation, ..push("ada", window, DocKind::Messages, vec![chunk.clone()]) };
        let (outcome, _) = self.push(push);
        assert_eq!(outcome.refused, None);
        (outcome.stored[0], chunk)
    }

    /// Says something of messages, over what the relay has of the window.
    fn annotate(&mut self, window: Window, entries: &[(AnnotationKey, AnnotationValue)]) -> Push {
        let [_, mut document] = self.documents(window);
        let chunk = document.author(ActorId16(draw()), entries).unwrap().chunk;
        let generation = self.generation(window);
        let push = push("ada", window, DocKind::Annotations, vec![chunk]);
        let push = Push { generation, ..push };
        let (outcome, _) = self.push(push.clone());
        assert_eq!(outcome.refused, None);
        push
    }

    /// What a new client loads of a window.
    fn documents(&self, window: Window) -> [SegmentDoc; 2] {
        let answer = self.reader().view().segment("c", window, HaveSeqs::default()).unwrap();
        let load = |doc, saved: Option<backscroll_core::wire::SavedDoc>, tail: Vec<_>| {
            let mut document = match saved {
                Some(saved) => SegmentDoc::load(window, doc, &saved.bytes).unwrap(),
                None => SegmentDoc::new(window, doc),
            };
            let chunk = |tail: backscroll_core::wire::Tail| tail.chunk;
            let chunks: Vec<_> = tail.into_iter().map(chunk).collect();
            document.apply(&chunks).unwrap();
            document
        };
        [
            load(DocKind::Messages, answer.messages, answer.message_tail),
            load(DocKind::Annotations, answer.annotations, answer.annotation_tail),
        ]
    }

    /// Whether a text is in any row.
    fn has(&self, text: &str) -> bool {
        let is_in = |value: &[u8]| value.windows(text.len()).any(|part| part == text.as_bytes());
        self.dump().iter().any(|(_, key, value)| is_in(key) || is_in(value))
    }

    /// Places in the log where a client may stand.
    fn cursors(&self) -> Vec<(u64, ChangeHash)> {
        let changes = self.reader().view().changes("c", 0, usize::MAX).unwrap();
        changes.iter().map(|one| (one.row.last_seq(one.first_seq), one.row.hash)).collect()
    }
}

fn edit(id: MessageId, text: &str) -> (AnnotationKey, AnnotationValue) {
    let edit = Edit::text(text, T0);
    (AnnotationKey::Edit { id }, AnnotationValue::Edit(edit))
}

fn reaction(id: MessageId) -> (AnnotationKey, AnnotationValue) {
    let key = AnnotationKey::Reaction { id, user: "ada".to_owned(), emoji: "+".to_owned() };
    (key, AnnotationValue::Reaction(true))
}

/// Ten messages of which the fourth and its edit hold the marker.
fn relay_with_marker() -> Relay {
    let mut relay = Relay::new();
    for i in (0..10).filter(|i| *i != 1) {
        let text = if i == 4 { format!("before {MARKER} after") } else { format!("number {i}") };
        relay.write(window(), nth(i), &text);
    }
    relay.write(window(), nth(1), "late");
    relay.annotate(window(), &[edit(nth(4), &format!("edited {MARKER}")), reaction(nth(4))]);
    relay.annotate(window(), &[edit(nth(6), "stays"), reaction(nth(7))]);
    relay
}

fn texts(rows: &[MessageRow]) -> Vec<String> {
    let text = |row: &MessageRow| {
        let edit = row.annotations.edit.as_ref().and_then(|edit| edit.text.clone());
        edit.unwrap_or_else(|| row.content.text.clone())
    };
    rows.iter().map(text).collect()
}

#[test]
fn an_erased_text_is_in_no_row_and_all_else_stays() {
    for fold in [false, true] {
        let mut relay = relay_with_marker();
        if fold {
            relay.compact(IfDue::Any);
        }
        let before = relay.all();
        assert!(relay.has(MARKER), "the search finds what is there");
        let (erased, events) = relay.erase(&[nth(4)]);
        assert_eq!(erased.erased, 1);
        assert!(!relay.has(MARKER));
        relay.assert_sound();
        let after = relay.all();
        assert_eq!((after.total, after.seq), (before.total, before.seq + 1));
        for (then, now) in before.messages.iter().zip(&after.messages) {
            assert_eq!((now.id, now.seq, now.late), (then.id, then.seq, then.late));
            if now.id == nth(4) {
                assert_eq!(now.content, Content::text("ada", ""));
                assert!(now.annotations.deleted && now.annotations.reactions.is_empty());
            } else {
                assert_eq!(now, then);
            }
        }
        // First the entry of the new generation, then the change that is on top of it.
        let [Committed::Entry(entry), Committed::Change(change)] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!((entry.entry.generation, change.generation), (1, 1));
        assert_eq!((entry.seq, change.first_seq), (before.seq + 1, before.seq + 1));
        assert_eq!(change.updates[0].row, after.messages[4]);
        let [segment, annotations] = relay.documents(window());
        assert_eq!(segment.message(nth(4)).unwrap(), Content::text("ada", ""));
        assert!(annotations.summary(nth(4)).deleted);
        assert_eq!(annotations.summary(nth(7)), after.messages[7].annotations);
    }
}

#[test]
fn a_rewritten_window_goes_on_and_is_rewritten_again() {
    let mut relay = relay_with_marker();
    for round in 0..3 {
        relay.erase(&[nth(4 + round), nth(0)]);
        relay.write(window(), id(T0 + 50_000 + round, 1), "more");
        relay.annotate(window(), &[edit(nth(8), &format!("round {round}")), reaction(nth(9))]);
        relay.sends(vec![send("bob", "sent", Some(id(T0 + 60_000 + round, 1)), None)]);
        if round == 1 {
            relay.compact(IfDue::Any);
            relay.restart();
        }
        relay.assert_sound();
        assert_eq!(relay.generation(window()), u32::try_from(round).unwrap() + 1);
    }
    assert_eq!(texts(&relay.all().messages)[8], "round 2");
    let nothing = relay.erase(&[nth(0)]).0;
    assert_eq!(nothing.erased, 0, "what is erased is not rewritten again");
    assert!(!nothing.ranges.is_empty(), "but may be purged again");
    assert_eq!(relay.generation(window()), 3);
}

#[test]
fn cursors_before_during_and_after_an_erasure_resume() {
    let mut relay = relay_with_marker();
    let before = relay.cursors();
    let late = |relay: &Relay, seq| relay.reader().view().late_since("c", seq).unwrap();
    let late_before: Vec<_> = before.iter().map(|(seq, _)| late(&relay, *seq)).collect();
    assert!(late_before.iter().any(|late| late.runs.iter().any(|run| run.first == nth(1))));
    relay.erase(&[nth(4)]);
    relay.write(window(), nth(20), "after");
    let after = relay.cursors();
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!(&after[..before.len()], &before[..]);
    let reader = relay.reader();
    let view = reader.view();
    for (at, (seq, hash)) in after.iter().enumerate() {
        assert!(view.cursor_matches("c", *seq, hash).unwrap(), "{seq}");
        let difference = view.directory_since("c", *seq).unwrap();
        assert_eq!(difference.len(), usize::from(at + 1 < after.len()), "the window is news");
    }
    for ((seq, _), late_before) in before.iter().zip(late_before) {
        assert_eq!(late(&relay, *seq), late_before);
    }
}

#[test]
fn what_is_of_an_older_generation_is_refused() {
    let mut relay = relay_with_marker();
    let mut author = MessageAuthor::new(window(), ActorId16([5; 16]));
    let first = author.write(&[(nth(30), body("ada", "first"))]).unwrap().chunk;
    let first = push("ada", window(), DocKind::Messages, vec![first]);
    let seq = relay.push(first.clone()).0.stored[0];
    let second = author.write(&[(nth(31), body("ada", "second"))]).unwrap().chunk;
    let old = push("ada", window(), DocKind::Messages, vec![second.clone()]);
    let [_, mut annotations] = relay.documents(window());
    let said = annotations.author(ActorId16([6; 16]), &[edit(nth(30), "x")]).unwrap().chunk;
    relay.erase(&[nth(4)]);
    assert_eq!(relay.push(first).0.stored, [seq], "what is stored under its hash is acknowledged");
    assert_eq!(code_of(&relay.push(old.clone()).0), Some(Code::StaleGeneration));
    let current = Push { generation: 1, ..old };
    let outcome = relay.push(current).0;
    assert_eq!(code_of(&outcome), Some(Code::StaleGeneration), "what it depends on is erased");
    let said = push("ada", window(), DocKind::Annotations, vec![said]);
    assert_eq!(code_of(&relay.push(said).0), Some(Code::StaleGeneration));
    relay.write(window(), nth(31), "second");
    relay.assert_sound();
}

#[test]
fn an_erased_message_does_not_come_back() {
    let mut relay = relay_with_marker();
    relay.erase(&[nth(4)]);
    let text = format!("before {MARKER} after");
    let mut author = MessageAuthor::new(window(), ActorId16([5; 16]));
    let chunk = author.write(&[(nth(4), body("ada", &text))]).unwrap().chunk;
    let again = push("ada", window(), DocKind::Messages, vec![chunk]);
    let outcome = relay.push(Push { generation: 1, ..again }).0;
    assert_eq!(code_of(&outcome), Some(Code::Duplicate), "its author is told that it was taken");
    let (sent, _) = relay.sends(vec![send("ada", &text, Some(nth(4)), None)]);
    assert!(sent[0].as_ref().unwrap().duplicate);
    let (sent, _) = relay.sends(vec![send("eve", &text, Some(nth(4)), None)]);
    assert_eq!(sent[0].as_ref().unwrap_err().code, Code::IdTaken);
    assert!(!relay.has(MARKER));
    relay.assert_sound();
}

/// Messages every 80 seconds in windows of two levels, oldest first.
fn relay_with_windows() -> (Relay, Vec<Window>) {
    let mut relay = Relay::new();
    let mut windows = BTreeSet::new();
    for i in 0..120 {
        let level = if i % 3 == 0 { 4 } else { 5 };
        let window = Window::covering(level, nth(i * 80).time_ms());
        relay.write(window, nth(i * 80), &format!("number {i}"));
        windows.insert((window.start_ms(), window));
    }
    (relay, windows.into_iter().map(|(_, window)| window).collect())
}

#[test]
fn dropped_windows_are_gone_and_what_is_kept_counts() {
    let (mut relay, windows) = relay_with_windows();
    relay.annotate(windows[0], &[reaction(relay_first(&relay, windows[0]))]);
    relay.compact(IfDue::Any);
    let before = relay.all();
    let gone: Vec<_> = windows[..windows.len() / 2].to_vec();
    let is_gone = |row: &MessageRow| {
        gone.contains(&relay.reader().view().window_of("c", row.id).unwrap().unwrap())
    };
    let kept: Vec<_> = before.messages.iter().filter(|row| !is_gone(row)).cloned().collect();
    assert!(!kept.is_empty() && kept.len() < before.messages.len());
    let cursors = relay.cursors();
    let (dropped, events) = relay.drop_windows(gone.clone());
    assert_eq!(dropped.messages, before.total - kept.len() as u64);
    relay.assert_sound();
    let after = relay.all();
    assert_eq!(
        (&after.messages, after.total, after.seq),
        (&kept, kept.len() as u64, before.seq + 1)
    );
    let [Committed::Dropped(told)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((told.seq, told.total), (after.seq, after.total));
    assert_eq!(*told.directory, relay.reader().view().directory("c").unwrap());
    let reader = relay.reader();
    let view = reader.view();
    for (seq, hash) in cursors {
        assert!(!view.cursor_matches("c", seq, &hash).unwrap(), "{seq}: no difference tells that");
    }
    assert!(view.cursor_matches("c", told.seq, &told.hash).unwrap());
    for (index, row) in kept.iter().enumerate() {
        let query = Query { at: At::Id(row.id), before: 0, after: 1 };
        assert_eq!(view.history("c", &query).unwrap().start, index as u64);
    }
    assert_eq!(relay.drop_windows(gone).0, DroppedWindows::default(), "nothing is left to drop");
}

/// Late messages of eve's that bob has not seen, with what he has seen last.
fn unseen(relay: &Relay, since: Option<(u64, Unseen)>) -> Vec<(MessageId, MessageId, u64)> {
    let reader = relay.reader();
    let view = reader.view();
    let unseen = match since {
        None => view.unseen_of("c", "bob").unwrap(),
        Some((seq, mut unseen)) => {
            view.add_late_since("c", seq, Some("bob"), &mut unseen).unwrap();
            unseen
        }
    };
    unseen.runs().map(|run| (run.first, run.last, run.count)).collect()
}

impl Relay {
    /// Has bob mark what he has read, with the late messages that he has not seen.
    fn mark(&mut self, seq: u64, unseen_late: Vec<LateRun>) {
        let (reply, mut answer) = oneshot::channel();
        let (user, channel, epoch) = ("bob".to_owned(), "c".to_owned(), self.store.epoch());
        let mark = Mark { user, channel, epoch, seq, read: None, delivered: None, unseen_late };
        self.writer.commit(vec![Command::Mark { mark, reply }]).unwrap();
        answer.try_recv().unwrap().unwrap();
    }
}

#[test]
fn regression_late_messages_are_told_after_what_came_between_them_is_erased() {
    let mut relay = Relay::new();
    for i in [0, 100, 10, 12] {
        relay.write(window(), nth(i), "x");
    }
    let seq = relay.all().seq;
    let (first, last) = (nth(10), nth(12));
    relay.mark(seq, vec![LateRun { first, last, count: 2 }]);
    let mut told = Unseen::default();
    told.came(first, 3, [None; 2]);
    told.came(last, 4, [Some(first), None]);
    assert_eq!(unseen(&relay, Some((seq, told.clone()))), [(first, last, 2)]);
    // What bob wrote parts the two, and its change is erased.
    relay.sends(vec![send("bob", MARKER, Some(nth(11)), None)]).0.remove(0).unwrap();
    relay.erase(&[nth(11)]);
    let parted = [(first, first, 1), (last, last, 1)];
    assert_eq!(unseen(&relay, Some((seq, told))), parted);
    assert_eq!(unseen(&relay, None), parted);
    relay.assert_sound();
}

#[test]
fn regression_late_messages_that_were_dropped_are_not_unseen() {
    let (mut relay, windows) = relay_with_windows();
    let late: Vec<_> = [windows[0], windows[1], windows[windows.len() - 1]]
        .iter()
        .zip(1..)
        .map(|(window, i)| (*window, id(window.start_ms() + i, 9)))
        .collect();
    for (window, id) in &late {
        relay.write(*window, *id, "late");
    }
    let seq = relay.all().seq;
    let ids: Vec<_> = late.iter().map(|(_, id)| *id).collect();
    let run = |id: MessageId| LateRun { first: id, last: id, count: 1 };
    relay.mark(seq, vec![LateRun { first: ids[0], last: ids[1], count: 2 }, run(ids[2])]);
    let mut told = Unseen::default();
    for (id, seq) in ids.iter().zip(seq - 2..) {
        told.came(*id, seq, [None; 2]);
    }
    assert_eq!(unseen(&relay, None).iter().map(|run| run.2).sum::<u64>(), 3);
    relay.drop_windows(windows[..windows.len() / 2].to_vec());
    let left = [(ids[2], ids[2], 1)];
    assert_eq!(unseen(&relay, None), left);
    assert_eq!(unseen(&relay, Some((seq, told.clone()))), left);
    relay.drop_windows(windows);
    assert_eq!(unseen(&relay, None), []);
    assert_eq!(unseen(&relay, Some((seq, told))), []);
}

fn relay_first(relay: &Relay, window: Window) -> MessageId {
    *relay.documents(window)[0].ids().first().unwrap()
}

#[test]
fn a_channel_goes_on_after_all_of_it_was_dropped() {
    let (mut relay, windows) = relay_with_windows();
    let seq = relay.all().seq;
    // Of what is known to the reader's cache, nothing may be answered afterwards.
    let reader = relay.reader();
    let at = Query { at: At::Index(60), before: 5, after: 5 };
    assert_eq!(reader.view().history("c", &at).unwrap().messages.len(), 10);
    relay.drop_windows(windows.clone());
    assert_eq!((relay.all().total, relay.all().seq), (0, seq + 1));
    relay.assert_sound();
    for i in 0..120 {
        let window = windows[i % windows.len()];
        let id = id(window.start_ms() + 7 + i as u64, 3);
        relay.write(window, id, "new");
    }
    relay.restart();
    relay.assert_sound();
    let rows = reader.view().history("c", &at).unwrap().messages;
    assert_eq!(rows, relay.all().messages[55..65], "as many as before, and others");
}

#[test]
fn a_window_that_changed_since_it_was_found_due_stays() {
    let (mut relay, windows) = relay_with_windows();
    let (reply, mut answer) = oneshot::channel();
    let request = DropWindows {
        channel: "c".to_owned(),
        windows: vec![(windows[0], 0)],
        hash: ChangeHash([1; 32]),
    };
    let before = relay.dump();
    relay.writer.commit(vec![Command::Drop { windows: Box::new(request), reply }]).unwrap();
    assert_eq!(answer.try_recv().unwrap().unwrap(), DroppedWindows::default());
    assert!(relay.dump() == before);
}

#[test]
fn a_window_that_was_dropped_begins_again_above_what_it_was() {
    let (mut relay, windows) = relay_with_windows();
    let window = windows[0];
    let time_ms = relay_first(&relay, window).time_ms();
    relay.erase(&[relay_first(&relay, window)]);
    // Ada has written to it, and has all of it.
    let mut ada = MessageAuthor::new(window, ActorId16([7; 16]));
    let mut by_ada = |i: u64, generation| {
        let chunk = ada.write(&[(id(time_ms + i, 40), body("ada", "by ada"))]).unwrap().chunk;
        Push { generation, ..push("ada", window, DocKind::Messages, vec![chunk]) }
    };
    let first = by_ada(1, 1);
    assert_eq!(relay.push(first.clone()).0.refused, None);
    let answer = relay.reader().view().segment("c", window, HaveSeqs::default()).unwrap();
    let had = answer.entry.unwrap();
    assert_eq!(had.generation, 1);
    for generation in 2..4 {
        relay.drop_windows(vec![window]);
        // Bob does not know that there ever was one, or what it was.
        let text = format!("by bob {generation}");
        let mut bob = MessageAuthor::new(window, ActorId16(draw()));
        let late = id(time_ms + 500, u128::from(generation));
        let chunk = bob.write(&[(late, body("bob", &text))]).unwrap().chunk;
        let late = push("bob", window, DocKind::Messages, vec![chunk]);
        let (outcome, events) = relay.push(late);
        assert_eq!(outcome.refused, None);
        let [Committed::Change(told)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((told.generation, relay.generation(window)), (generation, generation));
        // Bob, who heard that, goes on.
        let chunk = bob.write(&[(id(time_ms + 501, 9), body("bob", "more"))]).unwrap().chunk;
        let more = push("bob", window, DocKind::Messages, vec![chunk]);
        assert_eq!(relay.push(Push { generation, ..more }).0.refused, None);
        // Ada's documents are of what is gone: what she has is no part of what there is.
        let have = HaveSeqs {
            generation: had.generation,
            messages: had.message_doc.last_seq,
            annotations: had.annotation_doc.last_seq,
        };
        let answer = relay.reader().view().segment("c", window, have).unwrap();
        let ids = relay.documents(window)[0].ids().to_vec();
        assert_eq!(ids.len(), 2, "{ids:?}");
        let tail: usize = answer.message_tail.len();
        assert!(answer.messages.is_some() || tail == 2, "all of it is sent");
        for generation in [0, 1, generation] {
            let code = code_of(&relay.push(by_ada(10, generation)).0);
            assert_eq!(code, Some(Code::StaleGeneration), "{generation}");
        }
        relay.restart();
        relay.assert_sound();
    }
    relay.drop_windows(vec![window]);
    let (sent, _) = relay.sends(vec![send("eve", "by eve", Some(id(time_ms, 77)), None)]);
    sent[0].as_ref().unwrap();
    let at = relay.reader().view().window_of("c", id(time_ms, 77)).unwrap().unwrap();
    assert_eq!(relay.generation(at), if at == window { 4 } else { 0 });
    relay.assert_sound();
}

#[test]
fn a_push_that_begins_a_dropped_window_is_stored_whole() {
    let (mut relay, windows) = relay_with_windows();
    let window = windows[0];
    let time_ms = relay_first(&relay, window).time_ms();
    relay.drop_windows(vec![window]);
    let mut bob = MessageAuthor::new(window, ActorId16([8; 16]));
    let mut by_bob =
        |i: u64| bob.write(&[(id(time_ms + i, 40), body("bob", "by bob"))]).unwrap().chunk;
    let chunks = vec![by_bob(1), by_bob(2), by_bob(3)];
    let late = push("bob", window, DocKind::Messages, chunks.clone());
    let (outcome, _) = relay.push(late.clone());
    assert_eq!((outcome.refused, outcome.stored.len()), (None, 3));
    assert_eq!(relay.generation(window), 1);
    // Again it begins nothing.
    let (again, _) = relay.push(late);
    assert_eq!((again.refused, again.stored), (None, outcome.stored));
    let later = push("bob", window, DocKind::Messages, vec![by_bob(4)]);
    assert_eq!(code_of(&relay.push(later).0), Some(Code::StaleGeneration));
    relay.assert_sound();
}

#[test]
fn erased_windows_are_dropped_like_others() {
    let (mut relay, windows) = relay_with_windows();
    let first = relay_first(&relay, windows[0]);
    relay.erase(&[first]);
    relay.erase(&[relay_first(&relay, windows[1])]);
    relay.drop_windows(vec![windows[0]]);
    relay.assert_sound();
    assert_eq!(relay.reader().view().message("c", first).unwrap(), None);
}
