//! What fuzzing begins with: real frames, changes, bodies, stores, conversations and documents.

use super::changes::T0;
use super::client;
use super::script::{Script, Tape, unseal};
use super::world::World;
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Edit};
use backscroll_core::change::{ActorId16, DocKind, MessageAuthor};
use backscroll_core::limits::SEQ_MAX;
use backscroll_core::message::{Attachment, Content, Data, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::{ChannelInfo, ClientFrame, Code, Epoch, LateRun, RelayFrame, Token};
use backscroll_core::wire::{decode_relay, encode_client, encode_relay, encode_seqs};
use std::collections::{BTreeMap, BTreeSet};

/// A target's name, a seed's, and its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    let mut add = |target: &'static str, bytes: Vec<u8>| {
        let number = seeds.iter().filter(|(known, ..)| *known == target).count();
        seeds.push((target, format!("seed-{number:02}"), bytes));
    };
    let mut frames: (BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>) = Default::default();
    for script in conversations() {
        let (said, heard, store) = play(&script);
        frames.0.extend(said);
        frames.1.extend(heard);
        if let Some(store) = store {
            add("records", records(&store));
        }
        add("client", script);
    }
    frames.0.extend(rare_client_frames().iter().map(encode_client));
    frames.1.extend(rare_relay_frames().iter().map(encode_relay));
    let small = |frame: &&Vec<u8>| frame.len() < 2_000;
    for frame in frames.0.iter().filter(small) {
        add("frames", [&[0], &frame[..]].concat());
    }
    for frame in frames.1.iter().filter(small) {
        add("frames", [&[1], &frame[..]].concat());
        if let Ok(Some(RelayFrame::Opened { directory, .. })) = decode_relay(frame) {
            add("frames", [&[3], &directory[..]].concat());
        }
    }
    if let Some(frame) = frames.1.iter().find(|frame| (400..2_000).contains(&frame.len())) {
        add("frames", Tape::default().byte(2).bytes(frame).bytes(&[9, 99, 40]).bytes(frame).0);
    }
    let seqs = encode_seqs([5, 6, 7, 3, SEQ_MAX, 1]);
    add("frames", [&[4, 6, 0], &seqs[..]].concat());
    bodies().into_iter().for_each(|bytes| add("bodies", bytes));
    for kind in DocKind::ALL {
        for writers in [1, 3] {
            let (chunks, saved) = history(kind, writers);
            let mut tape = Tape::default().byte(kind.to_u8()).byte(3);
            for chunk in &chunks {
                tape = tape.byte(0).bytes(chunk);
            }
            add("changes", tape.0);
            add("documents", [&[kind.to_u8(), 3, 0], &saved[..]].concat());
        }
    }
    seeds
}

/// Steps of [`World::step`], with and without a store.
fn conversations() -> Vec<Vec<u8>> {
    let say = |tape: Tape, text: &str| tape.byte(4).byte(0).bytes(text.as_bytes()).byte(3);
    let look = |tape: Tape, at: u8, n: u8| tape.byte(7).byte(at).byte(n).byte(0x88);
    let others = |tape: Tape, ago: u8, n: u8| tape.byte(16).byte(1).byte(ago).byte(n).byte(3);
    let mut all = Vec::new();
    for first in [0, 1] {
        let begin = look(Tape::default().byte(first).byte(0).byte(0), 0, 0).byte(3);
        let live = others(say(begin.clone(), "hello"), 0, 3);
        all.push(live.clone());
        let late = others(others(live.clone(), 13, 9), 200, 30);
        all.push(look(look(late.clone(), 1, 0), 6, 128).byte(3));
        let said = late.clone().byte(17).byte(0).byte(0).byte(17).byte(2).byte(1);
        let said = said.byte(17).byte(1).byte(2).byte(3).byte(18).byte(0);
        all.push(look(said.clone(), 5, 4).byte(3));
        // The connection is lost, others write, it comes back; then the relay's history is another.
        let lost = others(say(said, "offline").byte(14).byte(0), 30, 5).byte(0).byte(11).byte(3);
        all.push(lost.clone().byte(18).byte(7).byte(3));
        let refused = say(lost.clone().byte(19).byte(2), "no room").byte(19).byte(4);
        all.push(say(refused, "no right").byte(5).byte(0).byte(0).byte(3));
        let restarted = lost.byte(26).byte(3).byte(24).byte(21).byte(6).byte(0);
        all.push(look(restarted, 0, 0).byte(3).byte(25).byte(1).byte(0).byte(3));
    }
    all.into_iter().map(|tape| tape.0).collect()
}

type Played = (Vec<Vec<u8>>, Vec<Vec<u8>>, Option<BTreeMap<Vec<u8>, Vec<u8>>>);

/// What both ends say in a conversation, and what is stored at its end.
fn play(bytes: &[u8]) -> Played {
    client::run(bytes);
    let mut script = Script::new(bytes);
    let is_stored = script.byte().is_some_and(|first| first % 2 == 1);
    let mut world = World::new(is_stored.then(BTreeMap::new));
    world.trace = Some(Default::default());
    while world.step(&mut script).is_some() {}
    world.settle();
    let (said, heard) = world.trace.unwrap_or_default();
    (said, heard, is_stored.then_some(world.store))
}

fn records(store: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut tape = Tape::default();
    for (key, value) in store {
        tape = tape.bytes(key).bytes(unseal(value));
    }
    tape.0
}

fn id(n: u64) -> MessageId {
    MessageId::from_parts(T0 + n, u128::from(n) << 9)
}

fn rare_client_frames() -> Vec<ClientFrame> {
    let channel = || "c".to_owned();
    let run = LateRun { first: id(1), last: id(3), count: 2 };
    vec![
        ClientFrame::Hello {
            version: 1,
            user: "ada".to_owned(),
            token: Some(Token("secret".to_owned())),
        },
        ClientFrame::Mark {
            channel: channel(),
            epoch: Epoch([3; 16]),
            seq: 12,
            read: Some(id(4)),
            delivered: Some(300),
            unseen_late: vec![run, run],
        },
        ClientFrame::Ephemeral { channel: channel(), payload: vec![1, 2, 3] },
        ClientFrame::Close { channel: channel() },
        ClientFrame::Channels { after: Some(channel()) },
    ]
}

fn rare_relay_frames() -> Vec<RelayFrame> {
    let channel = || "c".to_owned();
    let run = LateRun { first: id(1), last: id(3), count: 2 };
    vec![
        RelayFrame::Marks {
            channel: channel(),
            user: "bob".to_owned(),
            seq: 5,
            read: Some(id(1)),
            delivered: None,
            unseen_late: vec![run],
        },
        RelayFrame::Ephemeral { channel: channel(), user: "bob".to_owned(), payload: vec![0; 9] },
        RelayFrame::Error {
            code: Code::RateLimited,
            text: "slower".to_owned(),
            channel: None,
            reference: Some(9),
        },
        RelayFrame::Channels {
            list: vec![ChannelInfo { name: channel(), total: 3, seq: 4, newest_at: Some(T0) }],
            more: true,
        },
        RelayFrame::Nack {
            reference: 4,
            channel: channel(),
            chunk_index: 1,
            code: Code::Unknown("later".to_owned()),
            text: String::new(),
        },
    ]
}

fn bodies() -> Vec<Vec<u8>> {
    let attachment = Attachment {
        name: "a.png".to_owned(),
        media_type: "image/png".to_owned(),
        size: 1 << 40,
        url: Some("https://example.org/a.png".to_owned()),
        sha256: Some("0f".repeat(32)),
    };
    let data = r#"{"n":-3,"f":0.5,"big":18446744073709551615,"list":[null,true,{"x":""}]}"#;
    let full = Content {
        reply_to: Some(id(3)),
        attachments: vec![attachment.clone()],
        data: data.parse::<serde_json::Value>().ok().map(Data::from),
        ..Content::text("ada", "hello")
    };
    let edit = Edit {
        attachments: Some(vec![attachment]),
        data: full.data.clone(),
        ..Edit::text("edited", T0)
    };
    let with = |mode: u8, bytes: &[u8]| [&[mode], bytes].concat();
    let mut seeds = vec![
        with(0, &Content::text("ada", "hi").to_body().expect("a body")),
        with(0, &full.to_body().expect("a body")),
        with(1, &Edit::text("hi", T0).to_bytes().expect("an edit")),
        with(1, &edit.to_bytes().expect("an edit")),
    ];
    let reaction =
        AnnotationKey::Reaction { id: id(1), user: "a b".to_owned(), emoji: "ü".to_owned() };
    let texts = [
        reaction.to_string(),
        AnnotationKey::Edit { id: id(1) }.to_string(),
        id(5).to_key(),
        id(5).to_string(),
        Window::covering(3, T0).to_string(),
        "fraction:0.25".to_owned(),
        format!("id:{}", id(9)),
        "window_full".to_owned(),
    ];
    seeds.extend(texts.iter().map(|text| with(2, text.as_bytes())));
    seeds
}

/// The changes of some writers to a window of level 3, and the document they make.
fn history(kind: DocKind, writers: u8) -> (Vec<Vec<u8>>, Vec<u8>) {
    let window = Window::covering(3, T0);
    let mut all = SegmentDoc::new(window, kind);
    let mut chunks = Vec::new();
    let actor = |writer: u8| ActorId16([writer + 1; 16]);
    let mut authors: Vec<_> = (0..writers).map(|n| MessageAuthor::new(window, actor(n))).collect();
    let mut docs: Vec<_> = (0..writers).map(|_| SegmentDoc::new(window, kind)).collect();
    for turn in 0..8_u8 {
        let writer = turn % writers;
        let chunk = match kind {
            DocKind::Messages => {
                let body = Content::text("ada", &format!("message {turn}")).to_body();
                let first = u64::from(turn) * 3;
                let body = body.expect("a body");
                let messages: Vec<_> =
                    (0..=u64::from(turn % 2)).map(|n| (id(first + n), body.clone())).collect();
                authors[usize::from(writer)].write(&messages).expect("a change").chunk
            }
            DocKind::Annotations => {
                let doc = &mut docs[usize::from(writer)];
                if turn % 3 == 2 {
                    doc.apply(&chunks).expect("they apply");
                }
                let id = id(u64::from(turn % 2));
                let entry = match turn % 4 {
                    0 => (AnnotationKey::Edit { id }, AnnotationValue::Edit(Edit::text("b", T0))),
                    3 => (AnnotationKey::Delete { id }, AnnotationValue::Delete),
                    n => {
                        let (user, emoji) = ("ada".to_owned(), "+1".to_owned());
                        let key = AnnotationKey::Reaction { id, user, emoji };
                        (key, AnnotationValue::Reaction(n == 1))
                    }
                };
                doc.annotate(actor(writer), &[entry]).expect("a change").chunk
            }
        };
        all.apply(&[&chunk]).expect("it applies");
        chunks.push(chunk);
    }
    (chunks, all.save())
}
