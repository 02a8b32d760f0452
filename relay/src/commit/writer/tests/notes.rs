//! What JSON clients say of messages: one rule each.

use super::*;

fn edit(text: &str) -> Note {
    Note::Edit { text: text.to_owned() }
}

fn react(user: &str, on: bool) -> Note {
    Note::React { user: user.to_owned(), emoji: "\u{1f44d}".to_owned(), on }
}

/// A relay with one message.
fn relay() -> (Relay, MessageId) {
    let mut relay = Relay::new();
    let id = id(T0, 1);
    relay.sends(vec![send("ada", "hello", Some(id), None)]).0.remove(0).unwrap();
    (relay, id)
}

#[track_caller]
fn say(relay: &mut Relay, id: MessageId, note: Note) -> Sent {
    relay.says(&[(id, note)]).0.remove(0).unwrap()
}

#[test]
fn a_note_has_a_seq_and_again_it_is_a_duplicate_with_the_first() {
    let (mut relay, id) = relay();
    assert_eq!(say(&mut relay, id, edit("a")), Sent { id, seq: 2, duplicate: false });
    assert_eq!(say(&mut relay, id, react("bob", true)).seq, 3);
    assert_eq!(say(&mut relay, id, edit("a")), Sent { id, seq: 2, duplicate: true });
    assert_eq!(say(&mut relay, id, react("bob", true)), Sent { id, seq: 3, duplicate: true });
    assert_eq!(say(&mut relay, id, Note::Delete).seq, 4);
    assert_eq!(say(&mut relay, id, Note::Delete), Sent { id, seq: 4, duplicate: true });
    // Nobody ever reacted: there is nothing to take back, and no seq to name but the head.
    assert_eq!(say(&mut relay, id, react("eve", false)), Sent { id, seq: 4, duplicate: true });
    relay.assert_sound();
}

#[test]
fn a_message_that_is_not_there_is_not_found() {
    let (mut relay, _) = relay();
    let before = relay.dump();
    let refusal = relay.says(&[(id(T0, 2), Note::Delete)]).0.remove(0).unwrap_err();
    assert_eq!(refusal.code, Code::NotFound);
    assert!(relay.dump() == before);
}

#[test]
fn a_note_of_a_message_sent_in_the_same_batch_finds_it() {
    let mut relay = Relay::new();
    let id = id(T0, 1);
    let (send_reply, mut sent) = oneshot::channel();
    let (reply, mut noted) = oneshot::channel();
    let send = Box::new(send("ada", "hello", Some(id), None));
    let (channel, permit) = ("c".to_owned(), Permit::new(|_| Ok(())));
    let request = AnnotateRequest { channel, id, note: edit("x"), permit };
    let commands = vec![
        Command::Send { send, reply: send_reply },
        Command::Annotate { request, now_ms: NOW, reply },
    ];
    relay.writer.commit(commands).unwrap();
    assert_eq!(sent.try_recv().unwrap().unwrap().seq, 1);
    assert_eq!(noted.try_recv().unwrap().unwrap().seq, 2);
}

#[test]
fn the_permit_is_asked_with_the_author_of_the_message() {
    let (mut relay, id) = relay();
    let ask = |relay: &mut Relay, name: &'static str| {
        let (reply, mut answer) = oneshot::channel();
        let permit = Permit::new(move |author| {
            if author == name { Ok(()) } else { Err(Refusal::new(Code::Forbidden, "another's")) }
        });
        let request = AnnotateRequest { channel: "c".to_owned(), id, note: edit("x"), permit };
        let command = Command::Annotate { request, now_ms: NOW, reply };
        relay.writer.commit(vec![command]).unwrap();
        answer.try_recv().unwrap()
    };
    assert_eq!(ask(&mut relay, "bob").unwrap_err().code, Code::Forbidden);
    assert!(!ask(&mut relay, "ada").unwrap().duplicate);
}

#[test]
fn a_later_edit_is_later_and_keeps_what_it_does_not_name() {
    let (mut relay, id) = relay();
    let window = Window::covering(0, T0);
    let mut document = SegmentDoc::new(window, DocKind::Annotations);
    let data = Some(serde_json::json!({"colour": "red"}).into());
    let first = Edit { data: data.clone(), ..Edit::text("first", NOW + 50) };
    let entry = (AnnotationKey::Edit { id }, AnnotationValue::Edit(first));
    let chunk = document.annotate(ActorId16([7; 16]), &[entry]).unwrap().chunk;
    let outcome = relay.push(push("ada", window, DocKind::Annotations, vec![chunk])).0;
    assert_eq!(outcome.refused, None);
    let (_, events) = relay.says(&[(id, edit("second"))]);
    let Committed::Change(change) = &events[0] else { panic!("{events:?}") };
    let stands = change.updates[0].row.annotations.edit.clone().unwrap();
    assert_eq!((stands.text.as_deref(), stands.edited_at), (Some("second"), NOW + 51));
    assert_eq!(stands.data, data);
    // Automerge sees one value under the key, the relay's.
    document.apply(&[&change.chunk]).unwrap();
    assert_eq!(document.summary(id).edit, Some(stands));
}

#[test]
fn a_reaction_of_many_actors_is_taken_back() {
    let (mut relay, id) = relay();
    let window = Window::covering(0, T0);
    let emoji = || "\u{1f44d}".to_owned();
    let mut all = SegmentDoc::new(window, DocKind::Annotations);
    // More devices than the relay replaces at once, none of which knows of another.
    for device in 1..=40_u8 {
        let mut document = SegmentDoc::new(window, DocKind::Annotations);
        let key = AnnotationKey::Reaction { id, user: "bob".to_owned(), emoji: emoji() };
        let entry = (key, AnnotationValue::Reaction(true));
        let chunk = document.annotate(ActorId16([device; 16]), &[entry]).unwrap().chunk;
        all.apply(&[&chunk]).unwrap();
        let outcome = relay.push(push("bob", window, DocKind::Annotations, vec![chunk])).0;
        assert_eq!(outcome.refused, None);
    }
    for on in [false, true, false] {
        let (_, events) = relay.says(&[(id, react("bob", on))]);
        let Committed::Change(change) = &events[0] else { panic!("{events:?}") };
        all.apply(&[&change.chunk]).unwrap();
        assert_eq!(all.summary(id).reactions.contains_key(&emoji()), on);
    }
    let saved = all.save();
    let loaded = SegmentDoc::load(window, DocKind::Annotations, &saved).unwrap();
    assert_eq!(loaded.summary(id), all.summary(id));
    relay.assert_sound();
}

#[test]
fn a_restarted_writer_goes_on_under_another_actor() {
    let (mut relay, id) = relay();
    say(&mut relay, id, edit("a"));
    relay.restart();
    assert_eq!(say(&mut relay, id, edit("a")), Sent { id, seq: 2, duplicate: true });
    assert_eq!(say(&mut relay, id, edit("b")), Sent { id, seq: 3, duplicate: false });
    relay.compact(IfDue::Any);
    assert_eq!(say(&mut relay, id, edit("c")).seq, 4);
    relay.assert_sound();
}
