//! Random histories of many authors, hostile ones among them.

use super::*;

const USERS: [&str; 3] = ["ada", "bob", "eve"];
const EMOJIS: [&str; 2] = ["\u{1f44d}", "a:b%"];

#[derive(Clone, Debug)]
enum Step {
    /// A user writes messages into a window of a level.
    Write {
        user: usize,
        level: u8,
        times: Vec<u16>,
    },
    /// A user annotates a message over what its replica has.
    Annotate {
        user: usize,
        pick: usize,
        what: u8,
    },
    /// A user's replicas catch up with the relay.
    CatchUp {
        user: usize,
    },
    /// JSON clients send, in one batch.
    Send {
        times: Vec<u16>,
    },
    /// JSON clients say things of messages, in one batch, and the same again.
    Say {
        picks: Vec<(usize, u8)>,
    },
    /// A stored chunk is pushed again.
    Again {
        pick: usize,
    },
    /// A change that must be refused.
    Hostile {
        user: usize,
        pick: usize,
        what: u8,
        bit: usize,
    },
    Compact,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let times = || proptest::collection::vec(any::<u16>(), 1..5);
    let step = prop_oneof![
        5 => (0..3_usize, 0..6_u8, times())
            .prop_map(|(user, level, times)| Step::Write { user, level, times }),
        6 => (0..3_usize, any::<usize>(), 0..5_u8)
            .prop_map(|(user, pick, what)| Step::Annotate { user, pick, what }),
        2 => (0..3_usize).prop_map(|user| Step::CatchUp { user }),
        2 => times().prop_map(|times| Step::Send { times }),
        6 => proptest::collection::vec((any::<usize>(), 0..6_u8), 1..4)
            .prop_map(|picks| Step::Say { picks }),
        1 => any::<usize>().prop_map(|pick| Step::Again { pick }),
        4 => (0..3_usize, any::<usize>(), 0..9_u8, any::<usize>())
            .prop_map(|(user, pick, what, bit)| Step::Hostile { user, pick, what, bit }),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

type DocId = (Window, DocKind);

struct World {
    relay: Relay,
    /// Every stored chunk with its first seq, by document.
    stored: BTreeMap<DocId, Vec<(u64, Vec<u8>)>>,
    messages: Vec<(MessageId, usize, Window)>,
    authors: BTreeMap<(usize, Window), MessageAuthor>,
    replicas: BTreeMap<(usize, Window), (ActorId16, SegmentDoc)>,
    drawn: u64,
}

impl World {
    fn new() -> Self {
        Self {
            relay: Relay::new(),
            stored: BTreeMap::new(),
            messages: Vec::new(),
            authors: BTreeMap::new(),
            replicas: BTreeMap::new(),
            drawn: 0,
        }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn actor(&mut self) -> ActorId16 {
        // Spread, so that the order of actors is not the order of drawing.
        let mut actor = [0; 16];
        actor[..8].copy_from_slice(&self.draw().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        ActorId16(actor)
    }

    fn fresh_id(&mut self, time: u16) -> MessageId {
        id(T0 + u64::from(time) * 60, u128::from(self.draw()))
    }

    /// A document of the stored chunks.
    fn document(&self, window: Window, doc: DocKind) -> SegmentDoc {
        let mut document = SegmentDoc::new(window, doc);
        let chunks: Vec<_> = self.stored.get(&(window, doc)).into_iter().flatten().collect();
        let chunks: Vec<_> = chunks.into_iter().map(|(_, chunk)| chunk).collect();
        document.apply(&chunks).unwrap();
        document
    }

    fn accept(&mut self, push: Push) {
        let (key, chunk) = ((push.window, push.doc), push.chunks[0].to_vec());
        let (outcome, events) = self.relay.push(push);
        assert_eq!(outcome.refused, None);
        assert_eq!(events.len(), 1);
        self.stored.entry(key).or_default().push((outcome.stored[0], chunk));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { user, level, times } => self.write(user, level, &times),
            Step::Annotate { user, pick, what } => self.annotate(user, pick, what),
            Step::CatchUp { user } => {
                let windows: Vec<_> = self.replicas.keys().filter(|key| key.0 == user).collect();
                for key in windows.into_iter().copied().collect::<Vec<_>>() {
                    let chunks = self.stored.get(&(key.1, DocKind::Annotations));
                    let chunks: Vec<_> = chunks.into_iter().flatten().map(|c| &c.1).collect();
                    self.replicas.get_mut(&key).unwrap().1.apply(&chunks).unwrap();
                }
            }
            Step::Send { times } => self.send(&times),
            Step::Say { picks } => self.say(&picks),
            Step::Again { pick } => {
                let all: Vec<_> =
                    self.stored.iter().flat_map(|(k, v)| v.iter().map(move |c| (k, c))).collect();
                let Some(((window, doc), (seq, chunk))) = all.get(pick % all.len().max(1)) else {
                    return;
                };
                let rights = Rights { replicate: true, ..Rights::default() };
                let from = Identity { rights, ..Identity::user("mirror") };
                let again = Push { from, ..push("", *window, *doc, vec![chunk.clone()]) };
                let expected = PushOutcome { stored: vec![*seq], refused: None };
                let before = self.relay.dump();
                assert_eq!(self.relay.push(again).0, expected);
                assert!(self.relay.dump() == before);
            }
            Step::Hostile { user, pick, what, bit } => self.hostile(user, pick, what, bit),
            Step::Compact => self.relay.compact(IfDue::Any),
            Step::Restart => self.relay.restart(),
        }
    }

    fn write(&mut self, user: usize, level: u8, times: &[u16]) {
        let first = self.fresh_id(times[0]);
        let window = Window::covering(level, first.time_ms());
        let mut ids = vec![first];
        for time in &times[1..] {
            let id = self.fresh_id(*time);
            ids.extend(Some(id).filter(|id| window.contains(id.time_ms())));
        }
        let entries: Vec<_> = ids.iter().map(|id| (*id, body(USERS[user], "t"))).collect();
        let actor = self.actor();
        let author =
            self.authors.entry((user, window)).or_insert_with(|| MessageAuthor::new(window, actor));
        let chunk = author.write(&entries).unwrap().chunk;
        self.messages.extend(ids.into_iter().map(|id| (id, user, window)));
        self.accept(push(USERS[user], window, DocKind::Messages, vec![chunk]));
    }

    fn annotate(&mut self, user: usize, pick: usize, what: u8) {
        if self.messages.is_empty() {
            return;
        }
        let (id, author, window) = self.messages[pick % self.messages.len()];
        let edited_at = self.draw();
        let entry = match what {
            0 | 1 if author != user => return,
            0 => {
                let edit = Edit::text(&format!("edit {edited_at}"), edited_at);
                (AnnotationKey::Edit { id }, AnnotationValue::Edit(edit))
            }
            1 => (AnnotationKey::Delete { id }, AnnotationValue::Delete),
            _ => {
                let emoji = EMOJIS[usize::from(what) % 2].to_owned();
                let user = USERS[user].to_owned();
                (AnnotationKey::Reaction { id, user, emoji }, AnnotationValue::Reaction(what > 2))
            }
        };
        let actor = self.actor();
        let (actor, replica) = self
            .replicas
            .entry((user, window))
            .or_insert_with(|| (actor, SegmentDoc::new(window, DocKind::Annotations)));
        let chunk = replica.annotate(*actor, &[entry]).unwrap().chunk;
        self.accept(push(USERS[user], window, DocKind::Annotations, vec![chunk]));
    }

    fn send(&mut self, times: &[u16]) {
        let ids: Vec<_> = times.iter().map(|time| self.fresh_id(*time)).collect();
        let sends = ids.iter().map(|id| send("web", "s", Some(*id), None)).collect();
        let (answers, events) = self.relay.sends(sends);
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|sent| !sent.duplicate)));
        for event in events {
            let Committed::Change(change) = event else { panic!("{event:?}") };
            let key = (change.window, change.doc);
            let chunk = (change.first_seq, change.chunk.to_vec());
            self.stored.entry(key).or_default().push(chunk);
            // `usize::MAX`: nobody of the users.
            let ids = change.messages.iter().map(|m| (m.row.id, usize::MAX, change.window));
            self.messages.extend(ids);
        }
    }

    fn say(&mut self, picks: &[(usize, u8)]) {
        if self.messages.is_empty() {
            return;
        }
        let mut said = Vec::new();
        for (pick, what) in picks {
            let id = self.messages[pick % self.messages.len()].0;
            let note = match what {
                0 | 1 => Note::Edit { text: format!("web {}", self.draw()) },
                2 => Note::Delete,
                _ => {
                    let emoji = EMOJIS[usize::from(*what) % 2].to_owned();
                    Note::React { user: USERS[pick % 3].to_owned(), emoji, on: *what > 3 }
                }
            };
            said.push((id, note));
        }
        let (answers, events) = self.relay.says(&said);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        for event in events {
            let Committed::Change(change) = event else { panic!("{event:?}") };
            let chunk = (change.first_seq, change.chunk.to_vec());
            self.stored.entry((change.window, change.doc)).or_default().push(chunk);
        }
        // What was said last stands, and saying it again changes nothing.
        let (id, note) = said.last().unwrap();
        let annotations = self.relay.all().messages.into_iter().find(|row| row.id == *id);
        let annotations = annotations.unwrap().annotations;
        match note {
            Note::Edit { text } => {
                assert_eq!(annotations.edit.and_then(|edit| edit.text).as_ref(), Some(text));
            }
            Note::Delete => assert!(annotations.deleted),
            Note::React { user, emoji, on } => {
                let users = annotations.reactions.get(emoji);
                assert_eq!(users.is_some_and(|users| users.contains(user)), *on);
            }
        }
        let before = self.relay.dump();
        let (again, events) = self.relay.says(&said[said.len() - 1..]);
        let last = answers.last().unwrap().as_ref().unwrap();
        let again = again[0].as_ref().unwrap();
        assert!(again.duplicate && events.is_empty());
        assert!(last.duplicate || again.seq == last.seq);
        assert!(self.relay.dump() == before, "a repeated note left rows");
    }

    fn hostile(&mut self, user: usize, pick: usize, what: u8, bit: usize) {
        if self.messages.is_empty() {
            return;
        }
        let (taken, author, window) = self.messages[pick % self.messages.len()];
        let (name, other) = (USERS[user], USERS[(user + 1) % 3]);
        let actor = self.actor();
        let unused = id(taken.time_ms(), u128::from(self.draw()) << 30);
        let message = |id, from: &str, text: &str| {
            let mut author = MessageAuthor::new(window, actor);
            let chunk = author.write(&[(id, body(from, text))]).unwrap().chunk;
            push(name, window, DocKind::Messages, vec![chunk])
        };
        let document = self.document(window, DocKind::Annotations);
        let annotation = |entries: &[(AnnotationKey, AnnotationValue)]| {
            let mut document = document;
            let made = entries
                .iter()
                .map(|entry| document.annotate(actor, std::slice::from_ref(entry)).unwrap().chunk);
            let last = made.last().unwrap();
            push(name, window, DocKind::Annotations, vec![last])
        };
        let reaction = |id, user: &str| {
            let (user, emoji) = (user.to_owned(), "x".to_owned());
            (AnnotationKey::Reaction { id, user, emoji }, AnnotationValue::Reaction(true))
        };
        let edit = |id| (AnnotationKey::Edit { id }, AnnotationValue::Edit(Edit::text("e", 1)));
        let (push, code) = match what {
            0 => (message(taken, name, "other"), Code::IdTaken),
            1 => (message(unused, other, "x"), Code::Forbidden),
            2 => (annotation(&[reaction(unused, name)]), Code::NotFound),
            3 => (annotation(&[reaction(taken, other)]), Code::Forbidden),
            4 if author != user => (annotation(&[edit(taken)]), Code::Forbidden),
            5 => (annotation(&[reaction(taken, name), reaction(taken, name)]), Code::BadChange),
            6 => (Push { generation: 3, ..message(unused, name, "x") }, Code::StaleGeneration),
            7 => {
                let mut author = MessageAuthor::new(window, actor);
                author.write(&[(unused, body(name, "lost"))]).unwrap();
                let next = id(taken.time_ms(), u128::from(self.draw()) << 30);
                let chunk = author.write(&[(next, body(name, "gap"))]).unwrap().chunk;
                (push(name, window, DocKind::Messages, vec![chunk]), Code::BadChange)
            }
            _ => {
                let mut flipped = message(unused, name, "x");
                let mut chunk = flipped.chunks[0].to_vec();
                let at = bit % (chunk.len() * 8);
                chunk[at / 8] ^= 1 << (at % 8);
                flipped.chunks = vec![chunk.into()];
                (flipped, Code::BadChange)
            }
        };
        let before = self.relay.dump();
        let (outcome, events) = self.relay.push(push);
        assert_eq!(code_of(&outcome), Some(code));
        assert!(outcome.stored.is_empty() && events.is_empty());
        assert!(self.relay.dump() == before, "a refused change left rows");
    }

    /// What the relay serves is what documents of the stored chunks say.
    fn check(&self) {
        self.relay.assert_sound();
        let history = self.relay.all();
        assert_eq!(history.messages.len(), self.messages.len());
        let mut expected = BTreeMap::new();
        let windows: BTreeSet<_> = self.stored.keys().map(|key| key.0).collect();
        let directory = self.relay.reader().view().directory("c").unwrap();
        assert_eq!(directory.len(), windows.len());
        for window in windows {
            let segment = self.document(window, DocKind::Messages);
            let annotations = self.document(window, DocKind::Annotations);
            let entry = directory.get(window).unwrap();
            assert_eq!(entry.message_doc.digest, segment.digest());
            assert_eq!(entry.annotation_doc.digest, annotations.digest());
            for (id, _) in segment.messages() {
                let content = segment.message(id).unwrap();
                expected.insert(id, (content, annotations.summary(id)));
            }
        }
        let served: BTreeMap<_, _> = history
            .messages
            .into_iter()
            .map(|row| (row.id, (row.content, row.annotations)))
            .collect();
        assert_eq!(served, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_what_the_documents_say(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.check();
    }
}
