//! One rule each.

use super::*;

fn window() -> Window {
    Window::covering(0, T0)
}

fn author(actor: u8) -> MessageAuthor {
    MessageAuthor::new(window(), ActorId16([actor; 16]))
}

fn write(author: &mut MessageAuthor, messages: &[(u64, u128, &str, &str)]) -> Vec<u8> {
    let messages: Vec<_> =
        messages.iter().map(|(t, tail, from, text)| (id(*t, *tail), body(from, text))).collect();
    author.write(&messages).unwrap().chunk
}

fn messages(chunks: Vec<Vec<u8>>) -> Push {
    push("ada", window(), DocKind::Messages, chunks)
}

#[track_caller]
fn refused(relay: &mut Relay, push: Push, code: Code) {
    let before = relay.dump();
    let (outcome, events) = relay.push(push);
    assert_eq!(code_of(&outcome), Some(code), "{outcome:?}");
    assert!(outcome.stored.is_empty() && events.is_empty());
    assert!(relay.dump() == before, "a refused change left rows");
}

#[test]
fn each_message_of_a_change_has_its_own_seq_in_id_order() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    let first = write(&mut ada, &[(T0 + 9, 1, "ada", "b"), (T0 + 3, 1, "ada", "a")]);
    let second = write(&mut ada, &[(T0 + 5, 1, "ada", "c")]);
    let (outcome, events) = relay.push(messages(vec![first.clone(), second]));
    assert_eq!(outcome, PushOutcome { stored: vec![1, 3], refused: None });
    let rows: Vec<_> =
        relay.all().messages.into_iter().map(|row| (row.content.text, row.seq)).collect();
    assert_eq!(rows, [("a".to_owned(), 1), ("c".to_owned(), 3), ("b".to_owned(), 2)]);
    let Committed::Change(change) = &events[1] else { panic!("{events:?}") };
    assert_eq!((change.first_seq, change.last_seq), (3, 3));
    assert_eq!((change.messages[0].index, change.messages[0].total), (1, 3));
    assert_eq!(relay.push(messages(vec![first])).0.stored, [1], "again under its hash");
    relay.assert_sound();
}

#[test]
fn late_is_what_comes_more_than_five_seconds_after_a_newer_one() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    let all = [T0 + 20_000, T0 + 15_000, T0 + 14_999, T0 + 20_001];
    for time in all {
        let chunk = write(&mut ada, &[(time, 1, "ada", "x")]);
        assert!(relay.push(messages(vec![chunk])).0.refused.is_none());
    }
    let late: Vec<_> = relay.all().messages.into_iter().map(|row| row.late).collect();
    assert_eq!(late, [true, false, false, false]);
    let since = relay.reader().view().late_since("c", 1).unwrap();
    assert!(since.is_complete);
    assert_eq!(
        since.runs.iter().map(|run| (run.first, run.count)).collect::<Vec<_>>(),
        [(id(T0 + 14_999, 1), 1)]
    );
}

#[test]
fn within_one_change_nothing_is_late() {
    let mut relay = Relay::new();
    let chunk = write(&mut author(1), &[(T0, 1, "ada", "a"), (T0 + 60_000, 1, "ada", "b")]);
    relay.push(messages(vec![chunk]));
    assert!(relay.all().messages.iter().all(|row| !row.late));
}

#[test]
fn a_push_is_accepted_as_a_prefix() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    let good = write(&mut ada, &[(T0, 1, "ada", "a")]);
    let lost = write(&mut ada, &[(T0, 2, "ada", "b")]);
    let after = write(&mut ada, &[(T0, 3, "ada", "c")]);
    let (outcome, events) = relay.push(messages(vec![good, after, lost]));
    assert_eq!(outcome.stored, [1]);
    assert_eq!(outcome.refused.unwrap().chunk_index, 1);
    assert_eq!(events.len(), 1);
    relay.assert_sound();
}

#[test]
fn refused_changes_leave_nothing() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    let stored = write(&mut ada, &[(T0, 1, "ada", "a")]);
    relay.push(messages(vec![stored]));
    let of = |messages: &[(u64, u128, &str, &str)]| write(&mut author(9), messages);
    let one = |chunk| messages(vec![chunk]);
    let next = write(&mut ada, &[(T0 + 1, 1, "ada", "b")]);
    let gap = write(&mut ada, &[(T0 + 2, 1, "ada", "c")]);
    refused(&mut relay, one(gap), Code::BadChange);
    refused(&mut relay, one(of(&[(T0 + 5, 1, "bob", "x")])), Code::Forbidden);
    refused(&mut relay, one(of(&[(NOW + 120_001, 1, "ada", "x")])), Code::FutureId);
    refused(&mut relay, one(of(&[(T0, 1, "ada", "other")])), Code::IdTaken);
    refused(&mut relay, one(of(&[(T0, 1, "ada", "a"), (T0, 2, "ada", "n")])), Code::Duplicate);
    refused(&mut relay, Push { from: Identity::user("bob"), ..one(next.clone()) }, Code::Forbidden);
    refused(&mut relay, Push { generation: 1, ..one(next.clone()) }, Code::StaleGeneration);
    let elsewhere = Window::covering(0, T0 - (1 << 36));
    refused(&mut relay, Push { window: elsewhere, ..one(next.clone()) }, Code::BadChange);
    refused(&mut relay, Push { doc: DocKind::Annotations, ..one(next.clone()) }, Code::BadChange);
    let nobody = Push { channel: "new".to_owned(), ..one(of(&[(T0, 7, "eve", "x")])) };
    refused(&mut relay, nobody, Code::Forbidden);
    refused(&mut relay, one(b"\x85\x6f\x4a\x83".to_vec()), Code::BadChange);
    refused(&mut relay, one(vec![0; 300_000]), Code::TooLarge);
    assert_eq!(relay.push(one(next)).0.stored, [2], "the good one is still good");
    relay.assert_sound();
}

#[test]
fn a_bridge_may_write_as_others_and_a_replica_may_bring_their_changes() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    let chunk = write(&mut ada, &[(T0, 1, "bob", "a")]);
    let with = |rights, chunk: &[u8]| Push {
        from: Identity { rights, ..Identity::user("ada") },
        ..messages(vec![chunk.to_vec()])
    };
    let bridge = Rights { bridge: true, ..Rights::default() };
    assert!(relay.push(with(bridge, &chunk)).0.refused.is_none());
    let next = write(&mut ada, &[(T0 + 1, 1, "ada", "a")]);
    let replica = Push {
        from: Identity {
            rights: Rights { bridge: true, replicate: true, moderate: false },
            ..Identity::user("mirror")
        },
        ..messages(vec![next])
    };
    assert!(relay.push(replica).0.refused.is_none());
    let last = write(&mut ada, &[(T0 + 2, 1, "ada", "a")]);
    assert!(relay.push(messages(vec![last])).0.refused.is_none(), "the actor is still ada's");
    relay.assert_sound();
}

#[test]
fn what_a_replica_brings_stays_its_authors() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    let chunk = write(&mut ada, &[(T0, 1, "ada", "a")]);
    let rights = Rights { replicate: true, ..Rights::default() };
    let mirror = Identity { rights, ..Identity::user("mirror") };
    let brought = Push { from: mirror.clone(), ..messages(vec![chunk.clone()]) };
    assert_eq!(relay.push(brought).0.stored, [1]);
    assert_eq!(relay.push(messages(vec![chunk])).0.stored, [1], "ada's own copy is the same");
    let next = write(&mut ada, &[(T0 + 1, 1, "ada", "b")]);
    assert_eq!(relay.push(messages(vec![next])).0.stored, [2], "and she writes on");
    let other = write(&mut author(2), &[(T0 + 2, 1, "ada", "c")]);
    let bob = Push { from: Identity::user("bob"), ..messages(vec![other]) };
    refused(&mut relay, bob, Code::Forbidden);
    relay.assert_sound();
}

#[test]
fn a_window_beyond_four_times_its_bound_takes_no_more() {
    let mut relay = Relay::new();
    let mut ada = author(1);
    for run in 0..9 {
        let batch: Vec<_> =
            (0..1_000).map(|i| (id(T0 + run * 1_000 + i, 1), body("ada", ""))).collect();
        let chunk = ada.write(&batch).unwrap().chunk;
        assert!(relay.push(messages(vec![chunk])).0.refused.is_none());
    }
    let chunk = write(&mut ada, &[(T0 + 90_000, 1, "ada", "x")]);
    refused(&mut relay, messages(vec![chunk]), Code::WindowFull);
    let history = relay.reader().view().head("c").unwrap();
    assert_eq!((history.total, history.seq), (9_000, 9_000));
    relay.assert_sound();
}

#[test]
fn an_author_may_not_cut_a_channel_into_dust() {
    let mut relay = Relay::new();
    let mut codes = Vec::new();
    for i in 0..70_u8 {
        let window = Window::covering(5, T0 + u64::from(i) * 3_000_000 - 300_000_000);
        let mut author = MessageAuthor::new(window, ActorId16([i; 16]));
        let chunk = author.write(&[(id(window.start_ms(), 1), body("ada", ""))]).unwrap().chunk;
        codes.extend(code_of(&relay.push(push("ada", window, DocKind::Messages, vec![chunk])).0));
    }
    assert_eq!(codes, vec![Code::RateLimited; 6]);
}

#[test]
fn sends_of_one_batch_become_one_change_with_ascending_ids() {
    let mut relay = Relay::new();
    let sends = (0..300).map(|i| send("ada", &i.to_string(), None, None)).collect();
    let (answers, events) = relay.sends(sends);
    assert_eq!(events.len(), 2, "at most 256 to a change");
    let sent: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(sent.iter().all(|sent| !sent.duplicate));
    assert!(sent.is_sorted_by_key(|sent| sent.id));
    assert_eq!(sent.iter().map(|sent| sent.seq).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    let texts: Vec<_> = relay.all().messages.into_iter().map(|row| row.content.text).collect();
    assert_eq!(texts, (0..300).map(|i| i.to_string()).collect::<Vec<_>>());
    relay.assert_sound();
}

#[test]
fn sends_of_one_batch_are_numbered_in_the_order_in_which_they_came() {
    let mut relay = Relay::new();
    // The widest window around T0 is full, so the next message there goes into a narrower one.
    for i in 0..8 {
        relay.sends(vec![send("web", &"x".repeat(60_000), None, Some(T0 + i))]);
    }
    let elsewhere = T0 - (1 << 36);
    let (answers, _) = relay.sends(vec![
        send("web", "first", None, Some(T0 + 1_000)),
        send("web", "second", None, Some(elsewhere)),
    ]);
    let seqs: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().seq).collect();
    assert_eq!(seqs, [9, 10]);
    let directory = relay.reader().view().directory("c").unwrap();
    let levels: Vec<_> = directory.iter().map(|(window, _)| window.level()).collect();
    assert!(levels.len() > 2 && levels.iter().any(|level| *level > 0), "{levels:?}");
    relay.assert_sound();
}

#[test]
fn a_message_takes_a_bounded_number_of_reactions() {
    let mut relay = Relay::new();
    let message = id(T0, 1);
    let chunk = author(1).write(&[(message, body("ada", "hi"))]).unwrap().chunk;
    relay.push(push("ada", window(), DocKind::Messages, vec![chunk]));
    let mut document = SegmentDoc::new(window(), DocKind::Annotations);
    let mut react = |relay: &mut Relay, names: std::ops::Range<u32>, on| {
        let entry = |n: u32| {
            let key = AnnotationKey::Reaction {
                id: message,
                user: "ada".to_owned(),
                emoji: format!("{n:060}"),
            };
            (key, AnnotationValue::Reaction(on))
        };
        let entries: Vec<_> = names.map(entry).collect();
        let chunk = document.annotate(ActorId16([7; 16]), &entries).unwrap().chunk;
        code_of(&relay.push(push("ada", window(), DocKind::Annotations, vec![chunk])).0)
    };
    assert_eq!(react(&mut relay, 0..500, true), None);
    assert_eq!(react(&mut relay, 500..1_000, true), None);
    assert_eq!(react(&mut relay, 0..500, false), None, "one that is taken back makes room");
    assert_eq!(react(&mut relay, 1_000..1_600, true), None);
    assert_eq!(react(&mut relay, 1_600..1_601, true), Some(Code::TooLarge));
    let row = relay.all().messages.remove(0);
    assert_eq!(row.annotations.reactions.len(), 1_100);
    relay.assert_sound();
}

#[test]
fn the_same_send_is_the_same_message_within_a_batch_and_after() {
    let mut relay = Relay::new();
    let again = || send("ada", "hi", Some(id(T0, 5)), None);
    let other = send("ada", "other", Some(id(T0, 5)), None);
    let wrong = send("ada", "hi", Some(id(T0, 5)), Some(T0 + 1));
    let future = send("ada", "hi", None, Some(NOW + 120_001));
    let (answers, _) = relay.sends(vec![again(), again(), other, wrong, future]);
    let sent = |duplicate| Ok(Sent { id: id(T0, 5), seq: 1, duplicate });
    assert_eq!(answers[..2], [sent(false), sent(true)]);
    let codes: Vec<_> =
        answers[2..].iter().map(|answer| answer.clone().unwrap_err().code).collect();
    assert_eq!(codes, [Code::IdTaken, Code::BadRequest, Code::FutureId]);
    relay.restart();
    assert_eq!(relay.sends(vec![again()]).0, [sent(true)]);
    relay.assert_sound();
}

#[test]
fn an_idempotency_key_holds_for_a_day() {
    let mut relay = Relay::new();
    let keyed =
        |now_ms| ReadySend { idempotency: Some([7; 16]), now_ms, ..send("ada", "hi", None, None) };
    let (answers, _) = relay.sends(vec![keyed(NOW), keyed(NOW), keyed(NOW + 86_399_999)]);
    let sent: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(sent.iter().map(|sent| sent.duplicate).collect::<Vec<_>>(), [false, true, true]);
    assert!(sent.iter().all(|other| other.id == sent[0].id));
    let later = relay.sends(vec![keyed(NOW + 86_400_000)]).0.remove(0).unwrap();
    assert!(!later.duplicate && later.id != sent[0].id);
    let expire = Command::Expire { before_ms: NOW + 86_400_001 };
    relay.writer.commit(vec![expire]).unwrap();
    assert!(!relay.dump().iter().any(|(family, ..)| *family == Family::Idempotency));
}

#[test]
fn marks_merge_by_max_and_stay_below_the_head() {
    let mut relay = Relay::new();
    relay.sends(vec![send("ada", "hi", Some(id(T0, 1)), None)]);
    let epoch = relay.store.epoch();
    let mark = |seq, read, epoch| Mark {
        user: "bob".to_owned(),
        channel: "c".to_owned(),
        epoch,
        seq,
        read: Some(id(read, 1)),
        delivered: Some(seq),
        unseen_late: Vec::new(),
    };
    let mut ask = |mark| {
        let (reply, mut answer) = oneshot::channel();
        let done = relay.writer.commit(vec![Command::Mark { mark, reply }]).unwrap();
        (answer.try_recv().unwrap().is_ok(), done.events.len())
    };
    assert_eq!(ask(mark(1, T0, epoch)), (true, 1));
    assert_eq!(ask(mark(1, T0 - 5, epoch)), (true, 0));
    assert_eq!(ask(mark(2, T0, epoch)), (false, 0));
    assert_eq!(ask(mark(1, T0, [0; 16])), (false, 0));
    // Nobody has read what is written in the year 2100.
    assert_eq!(ask(mark(1, 4_102_444_800_000, epoch)), (false, 0));
    let row = relay.reader().view().read_state("c", "bob").unwrap().unwrap();
    assert_eq!((row.read, row.delivered), (Some(id(T0, 1)), 1));
}

#[test]
fn ranks_split_and_stay_right_when_messages_come_in_any_order() {
    let mut relay = Relay::new();
    let mut expected = Vec::new();
    let mut state = 1_u64;
    for round in 0..60 {
        let mut sends = Vec::new();
        for _ in 0..128 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let time = if round < 30 { T0 + state % 9_000_000 } else { T0 + state % 1_000 };
            expected.push(id(time, u128::from(state)));
            sends.push(send("ada", "", expected.last().copied(), None));
        }
        let (answers, events) = relay.sends(sends);
        assert!(answers.iter().all(Result::is_ok));
        for event in events {
            let Committed::Change(change) = event else { continue };
            for published in change.messages.iter() {
                assert!(published.index < published.total);
            }
        }
    }
    expected.sort_unstable();
    let snapshot = relay.store.snapshot();
    let ranks = Ranks::load(&*snapshot, 1).unwrap();
    assert!(ranks.len() > 4, "{} blocks", ranks.len());
    for (rank, id) in expected.iter().enumerate().step_by(97) {
        assert_eq!(ranks.rank(&*snapshot, *id).unwrap(), rank as u64);
    }
    let view_of = |at| {
        let query = Query { at, before: 3, after: 4 };
        relay.reader().view().history("c", &query).unwrap()
    };
    for rank in (0..expected.len()).step_by(331) {
        let rows = rank.saturating_sub(3)..(rank + 4).min(expected.len());
        for at in [At::Index(rank as u64), At::Id(expected[rank])] {
            let history = view_of(at);
            let ids: Vec<_> = history.messages.iter().map(|row| row.id).collect();
            assert_eq!(ids, expected[rows.clone()]);
            assert_eq!(history.start, rows.start as u64);
        }
    }
    let end = view_of(At::Latest);
    assert!(end.found_newest && !end.found_oldest && end.messages.len() == 3);
    relay.assert_sound();
}
