//! Reads over a small channel that a writer made.

use super::*;
use crate::commit::writer::{Command, TailJob, Writer};
use crate::commit::{Identity, Push};
use crate::compact::{IfDue, compacted, due};
use crate::limits::{HISTORY_BYTES_MAX, TAIL_CHANGES, TAIL_CHANGES_NEWEST};
use backscroll_core::change::{ActorId16, ChangeHash, DocKind, MessageAuthor};
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::message::Content;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use tokio::sync::oneshot;

const T0: u64 = 1_700_000_000_000;

struct Relay {
    store: Store,
    writer: Writer,
    author: MessageAuthor,
    window: Window,
}

impl Relay {
    fn new() -> Self {
        let store = Store::in_memory().unwrap();
        let writer = Writer::new(store.clone()).unwrap();
        let window = Window::covering(0, T0);
        Self { writer, store, author: MessageAuthor::new(window, ActorId16([1; 16])), window }
    }

    /// Stores one message of this time in a change of its own.
    fn write(&mut self, time_ms: u64) {
        self.write_text(MessageId::from_parts(time_ms, u128::from(time_ms)), "hi");
    }

    fn write_text(&mut self, id: MessageId, text: &str) {
        let body = Content::text("ada", text).to_body().unwrap();
        let chunk = self.author.write(&[(id, body)]).unwrap().chunk;
        let push = Push {
            from: Identity::user("ada"),
            channel: "c".to_owned(),
            window: self.window,
            generation: 0,
            doc: DocKind::Messages,
            chunks: vec![chunk.into()],
        };
        let (reply, mut answer) = oneshot::channel();
        let now_ms = T0 + 100_000_000;
        self.writer.commit(vec![Command::Push { push, now_ms, reply }]).unwrap();
        assert_eq!(answer.try_recv().unwrap().refused, None);
    }

    fn fold(&mut self, if_due: IfDue) -> bool {
        let channel = "c".to_owned();
        let job = TailJob { channel, window: self.window, doc: DocKind::Messages };
        let reader = self.reader();
        let Some(done) = compacted(&reader.view(), &job, if_due).unwrap() else { return false };
        let (reply, _) = oneshot::channel();
        let compacted = Box::new(done);
        self.writer.commit(vec![Command::Compacted { compacted, reply }]).unwrap();
        true
    }

    fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), Arc::default())
    }
}

#[test]
fn a_channel_that_nobody_wrote_to_is_empty() {
    let relay = Relay::new();
    let reader = relay.reader();
    let view = reader.view();
    assert_eq!(view.channels_after(None, usize::MAX, |_| true).unwrap(), []);
    assert_eq!(view.head("c").unwrap(), Head::default());
    let query = Query { at: At::Fraction(0.5), before: 9, after: 9 };
    let history = view.history("c", &query).unwrap();
    assert_eq!((history.total, history.found_oldest, history.found_newest), (0, true, true));
    assert!(view.directory("c").unwrap().is_empty());
    assert!(view.cursor_matches("c", 0, &ChangeHash([0; 32])).unwrap());
    assert!(!view.cursor_matches("c", 1, &ChangeHash([0; 32])).unwrap());
    assert_eq!(view.segment("c", relay.window, HaveSeqs::default()).unwrap().entry, None);
}

#[test]
fn queries_out_of_bounds_are_refused() {
    let mut relay = Relay::new();
    relay.write(T0);
    let reader = relay.reader();
    let refused = |at, before| {
        let query = Query { at, before, after: 1 };
        matches!(reader.view().history("c", &query), Err(ReadError::Query(_)))
    };
    assert!(refused(At::Latest, ROWS_MAX));
    assert!(refused(At::Fraction(1.5), 1));
    assert!(!refused(At::Index(u64::MAX), 1));
}

/// A store whose channel `c` has messages of these lengths, one a second, each character of which
/// takes six bytes of JSON.
fn store_of(lens: &[usize]) -> Store {
    let store = Store::in_memory().unwrap();
    let mut import = crate::bulk::Import::begin(&store, "c", T0 + 100_000_000).unwrap();
    for (at, len) in (0..).zip(lens) {
        let body = Content::text("ada", &"\u{1}".repeat(*len)).to_body().unwrap();
        import.add(MessageId::from_parts(T0 + at * 1_000, 1), body).unwrap();
    }
    import.finish().unwrap();
    store
}

fn history_of(store: &Store, at: At, before: u64, after: u64) -> History {
    let reader = Reader::new(store.clone(), Arc::default());
    let history = reader.view().history("c", &Query { at, before, after }).unwrap();
    let text = crate::ws::json::history("c", &history, None);
    assert!(text.len() < HISTORY_BYTES_MAX + 1_000, "{} bytes", text.len());
    let times = history.messages.iter().map(|row| row.id.time_ms());
    assert!(times.eq((history.start..).take(history.messages.len()).map(|i| T0 + i * 1_000)));
    let end = history.start + history.messages.len() as u64;
    assert_eq!(history.found_oldest, history.start == 0);
    assert_eq!(history.found_newest, end == history.total);
    history
}

#[test]
fn channels_come_in_pages_by_name() {
    let store = Store::in_memory().unwrap();
    for name in ["b", "a", "c", "ab", "ä"] {
        let mut import = crate::bulk::Import::begin(&store, name, T0).unwrap();
        import
            .add(MessageId::from_parts(5, 1), Content::text("a", "t").to_body().unwrap())
            .unwrap();
        import.finish().unwrap();
    }
    let reader = Reader::new(store, Arc::default());
    let page = |after, limit| {
        let page = reader.view().channels_after(after, limit, |name| name != "c").unwrap();
        page.into_iter().map(|one| one.channel).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 9), ["a", "ab", "b", "ä"]);
    assert_eq!(page(None, 2), ["a", "ab"]);
    assert_eq!(page(Some("ab"), 2), ["b", "ä"]);
    assert_eq!(page(Some("aa"), 1), ["ab"]);
    assert_eq!(page(Some("ä"), 1), [""; 0]);
    assert_eq!(reader.view().channels_after(None, usize::MAX, |_| true).unwrap().len(), 5);
}

#[test]
fn an_answer_beyond_its_bytes_has_fewer_rows_around_the_anchor() {
    // 21 of the largest messages are within the bound of an answer, and not 22.
    let store = store_of(&[65_536; 100]);
    let rows = |at, before, after| {
        let history = history_of(&store, at, before, after);
        (history.start, history.messages.len())
    };
    assert_eq!(rows(At::Latest, 5_000, 0), (79, 21));
    assert_eq!(rows(At::Latest, 21, 0), (79, 21));
    assert_eq!(rows(At::Oldest, 0, 5_000), (0, 21));
    assert_eq!(rows(At::Index(40), 2_500, 2_500), (30, 21));
    assert_eq!(rows(At::Index(40), 30, 0), (19, 21));
    assert_eq!(rows(At::Index(40), 0, 30), (40, 21));
    assert_eq!(rows(At::Index(40), 3, 30), (37, 21));
    assert_eq!(rows(At::Index(40), 30, 3), (22, 21));
    assert_eq!(rows(At::Index(4), 50, 50), (0, 21));
    assert_eq!(rows(At::Index(97), 50, 50), (79, 21));
    assert_eq!(rows(At::Time(T0 + 40_000), 10, 11), (30, 21));
    assert_eq!(rows(At::Index(0), 0, 0), (0, 0));
}

#[test]
fn pages_of_a_bounded_size_reach_every_message() {
    let lens: Vec<_> = (0..400).map(|i| [3, 65_000, 900, 30_000, 0][i % 5]).collect();
    let store = store_of(&lens);
    let (mut at, mut pages) = (0, 0);
    while at < 400 {
        let page = history_of(&store, At::Index(at), 0, ROWS_MAX);
        assert_eq!(page.start, at);
        at += page.messages.len() as u64;
        pages += 1;
    }
    assert!(pages > 3, "{pages}");
    let mut at = 400;
    while at > 0 {
        let page = history_of(&store, At::Index(at), ROWS_MAX, 0);
        assert_eq!(page.start + page.messages.len() as u64, at);
        at = page.start;
    }
}

#[test]
fn a_cursor_holds_at_the_end_of_its_change_only() {
    let mut relay = Relay::new();
    (0..5).for_each(|i| relay.write(T0 + i));
    let reader = relay.reader();
    let view = reader.view();
    let changes = view.changes("c", 0, 99).unwrap();
    assert_eq!(changes.len(), 5);
    for change in &changes {
        let (seq, hash) = (change.first_seq, change.row.hash);
        assert!(view.cursor_matches("c", seq, &hash).unwrap());
        assert!(!view.cursor_matches("c", seq + 1, &hash).unwrap());
        assert!(!view.cursor_matches("c", seq, &ChangeHash([9; 32])).unwrap());
    }
    assert_eq!(view.changes("c", 3, 1).unwrap(), changes[3..4]);
    assert!(view.directory_since("c", 5).unwrap().is_empty());
    assert_eq!(view.directory_since("c", 4).unwrap().total(), 5);
}

#[test]
fn late_messages_next_to_each_other_are_one_run() {
    let mut relay = Relay::new();
    for time in [0, 10, 90_000, 21, 22, 5, 20] {
        relay.write(T0 + time);
    }
    let reader = relay.reader();
    let runs = |seq| {
        let since = reader.view().late_since("c", seq).unwrap();
        assert!(since.is_complete);
        let times = |run: &backscroll_core::wire::LateRun| {
            (run.first.time_ms() - T0, run.last.time_ms() - T0, run.count)
        };
        since.runs.iter().map(times).collect::<Vec<_>>()
    };
    assert_eq!(runs(0), [(5, 5, 1), (20, 22, 3)]);
    assert_eq!(runs(5), [(5, 5, 1), (20, 20, 1)]);
    assert_eq!(runs(7), []);
}

#[test]
fn more_late_runs_than_can_be_told_are_joined_and_none_is_left_out() {
    let mut relay = Relay::new();
    let runs = backscroll_core::limits::LATE_RUNS_MAX as u64 + 44;
    relay.write(T0 + 90_000_000);
    for i in 0..runs {
        relay.write(T0 + i * 20);
        // What another wrote in time lies between each two of them.
        relay.write(T0 + 90_000_001 + i);
    }
    for i in 0..runs {
        relay.write(T0 + i * 20 + 10);
    }
    let reader = relay.reader();
    let since = reader.view().late_since("c", 0).unwrap();
    assert!(since.is_complete);
    assert_eq!(since.runs.iter().map(|run| u64::from(run.count)).sum::<u64>(), 2 * runs);
    let since = reader.view().late_since("c", 2 * runs + 1).unwrap();
    assert!(since.is_complete);
    assert_eq!(since.runs.len(), backscroll_core::limits::LATE_RUNS_MAX);
    assert_eq!(since.runs.iter().map(|run| u64::from(run.count)).sum::<u64>(), runs);
    assert_eq!(since.runs[0].first.time_ms(), T0 + 10);
    assert_eq!(since.runs.last().unwrap().last.time_ms(), T0 + (runs - 1) * 20 + 10);
}

#[test]
fn a_client_that_lacks_little_gets_raw_changes_and_one_that_lacks_much_the_document() {
    let mut relay = Relay::new();
    (0..300).for_each(|i| relay.write(T0 + i));
    assert!(relay.fold(IfDue::Only));
    assert!(!relay.fold(IfDue::Only), "nothing is left to fold");
    relay.write(T0 + 300);
    let reader = relay.reader();
    let ask = |messages| {
        let have = HaveSeqs { messages, ..HaveSeqs::default() };
        let answer = reader.view().segment("c", relay.window, have).unwrap();
        assert_eq!(answer.as_of, 301);
        let first = answer.message_tail.first().map(|change| change.seq);
        (answer.messages.map(|saved| saved.upto_seq), first, answer.seqs.len())
    };
    assert_eq!(ask(0), (Some(300), Some(301), 300));
    assert_eq!(ask(20), (Some(300), Some(301), 300), "280 raw changes are longer");
    assert_eq!(ask(295), (None, Some(296), 0));
    assert_eq!(ask(300), (None, Some(301), 0));
    assert_eq!(ask(301), (None, None, 0));
    let older = HaveSeqs { generation: 7, messages: 301, annotations: 0 };
    let answer = reader.view().segment("c", relay.window, older).unwrap();
    assert!(answer.messages.is_some(), "what is of another generation does not count");
}

#[test]
fn seqs_and_late_bits_go_by_the_order_of_keys_within_one_millisecond_too() {
    let mut relay = Relay::new();
    // Both directions in each millisecond, and the newest early enough for others to be late.
    let ids: Vec<_> = [(0, 7), (9_000, 2), (9_000, 9), (0, 5), (9_000, 4), (0, 8), (1, 1)]
        .map(|(ms, tail)| MessageId::from_parts(T0 + ms, tail))
        .into();
    for id in &ids {
        relay.write_text(*id, "hi");
    }
    assert!(relay.fold(IfDue::Any));
    let reader = relay.reader();
    let answer = reader.view().segment("c", relay.window, HaveSeqs::default()).unwrap();
    let saved = answer.messages.unwrap().bytes;
    let document = SegmentDoc::load(relay.window, DocKind::Messages, &saved).unwrap();
    let mut in_document: Vec<_> = document.messages().map(|(id, _)| id).collect();
    let of = |seq: &u64| ids[usize::try_from(*seq).unwrap() - 1];
    let listed: Vec<_> = answer.seqs.iter().map(of).collect();
    assert_eq!(listed, in_document);
    for (id, late) in in_document.drain(..).zip(answer.late) {
        let row = reader.view().message("c", id).unwrap().unwrap();
        assert_eq!(row.late, late, "{id}");
    }
}

#[test]
fn tails_are_found_due_by_their_length() {
    let mut relay = Relay::new();
    let due = |relay: &Relay| due(&relay.reader().view(), "c").unwrap().len();
    (0..TAIL_CHANGES_NEWEST).for_each(|i| relay.write(T0 + i));
    assert_eq!(due(&relay), 0);
    relay.write(T0 + TAIL_CHANGES_NEWEST);
    assert_eq!(due(&relay), 1, "the newest window's tail is kept short");
    // A newer message elsewhere: the window may keep a longer tail now.
    let (window, author) = (Window::covering(2, T0 + 50_000_000), ActorId16([2; 16]));
    let before = std::mem::replace(&mut relay.window, window);
    let author = std::mem::replace(&mut relay.author, MessageAuthor::new(window, author));
    relay.write(T0 + 50_000_000);
    assert_eq!(due(&relay), 0);
    (relay.window, relay.author) = (before, author);
    (0..TAIL_CHANGES).for_each(|i| relay.write(T0 + 1_000 + i));
    assert_eq!(due(&relay), 1);
}

#[test]
fn an_outdated_fold_is_dropped() {
    let mut relay = Relay::new();
    (0..10).for_each(|i| relay.write(T0 + i));
    let job = TailJob { channel: "c".to_owned(), window: relay.window, doc: DocKind::Messages };
    let reader = relay.reader();
    let slow = compacted(&reader.view(), &job, IfDue::Any).unwrap().unwrap();
    relay.write(T0 + 10);
    assert!(relay.fold(IfDue::Any));
    let (reply, _) = oneshot::channel();
    let command = Command::Compacted { compacted: Box::new(slow), reply };
    relay.writer.commit(vec![command]).unwrap();
    let answer = reader.view().segment("c", relay.window, HaveSeqs::default()).unwrap();
    assert_eq!(answer.messages.unwrap().upto_seq, 11);
    assert_eq!(crate::check::verify(&relay.store, |_| {}).unwrap(), []);
}
