//! Live views against a plain list: what a client makes of the deltas is what stands there.

use super::*;
use backscroll_core::annotation::{Annotations, Edit};
use backscroll_core::change::{ChangeHash, DocKind};
use backscroll_core::late::UnseenRun;
use backscroll_core::message::Content;
use backscroll_core::window::Window;
use bytes::Bytes;
use proptest::prelude::*;

fn id(time_ms: u64) -> MessageId {
    MessageId::from_parts(time_ms, 7)
}

/// A channel as the writer leaves it.
#[derive(Default)]
struct Channel {
    rows: Vec<MessageRow>,
    seq: u64,
}

impl Channel {
    fn of(times: impl IntoIterator<Item = u64>) -> Self {
        let mut channel = Self::default();
        for time in times {
            channel.send(time, "ada");
        }
        channel
    }

    fn change(&self, messages: Vec<Published>, updates: Vec<Published>) -> CommittedChange {
        CommittedChange {
            channel: "c".into(),
            first_seq: self.seq,
            last_seq: self.seq,
            window: Window::covering(0, 0),
            generation: 0,
            doc: DocKind::Messages,
            hash: ChangeHash([0; 32]),
            chunk: Bytes::new(),
            late: Bytes::new(),
            messages: messages.into(),
            updates: updates.into(),
        }
    }

    fn send(&mut self, time_ms: u64, from: &str) -> CommittedChange {
        self.seq += 1;
        let id = id(time_ms);
        let at = self.rows.partition_point(|row| row.id < id);
        let late = self.rows.last().is_some_and(|row| row.id.time_ms() > time_ms + 5_000);
        let content = Content::text(from, "x");
        let row =
            MessageRow { id, seq: self.seq, late, content, annotations: Annotations::default() };
        let before = at.checked_sub(1).map(|at| self.rows[at].id);
        let beside = [before, self.rows.get(at).map(|row| row.id)].map(|id| id.filter(|_| late));
        self.rows.insert(at, row.clone());
        let total = self.rows.len() as u64;
        self.change(vec![Published { row, index: at as u64, total, beside }], Vec::new())
    }

    fn edit(&mut self, at: usize) -> CommittedChange {
        self.seq += 1;
        let text = format!("edit {}", self.seq);
        self.rows[at].annotations.edit = Some(Edit::text(&text, self.seq));
        let (row, total) = (self.rows[at].clone(), self.rows.len() as u64);
        let update = Published { row, index: at as u64, total, beside: [None; 2] };
        self.change(Vec::new(), vec![update])
    }

    fn history(&self, query: &Query) -> History {
        let rows = Rows::of(&self.whole(), None);
        let range = resolve(query, &rows).unwrap();
        let at = |index: u64| usize::try_from(index).unwrap();
        let messages = self.rows[at(range.start)..at(range.end)].to_vec();
        History {
            start: range.start,
            found_oldest: range.start == 0,
            found_newest: range.end == self.rows.len() as u64,
            messages,
            ..self.whole()
        }
    }

    fn whole(&self) -> History {
        let total = self.rows.len() as u64;
        History { messages: self.rows.clone(), total, seq: self.seq, ..History::default() }
    }
}

/// What a client makes of it.
struct Copy {
    start: u64,
    total: u64,
    rows: Vec<MessageRow>,
}

impl Copy {
    fn of(history: &History) -> Self {
        let History { start, total, messages, .. } = history.clone();
        Self { start, total, rows: messages }
    }

    fn apply(&mut self, told: &ViewDelta) {
        let delta = &told.delta;
        assert_eq!(delta.removed, []);
        let at = |index: u64| usize::try_from(index - delta.start).unwrap();
        (self.start, self.total) = (delta.start, delta.total);
        for (index, mark) in &delta.inserted {
            self.rows.insert(at(*index), told.message(*mark).unwrap().clone());
        }
        for (index, mark) in &delta.updated {
            let row = told.message(*mark).unwrap();
            assert_eq!(self.rows[at(*index)].id, row.id);
            self.rows[at(*index)] = row.clone();
        }
    }

    #[track_caller]
    fn check(&self, channel: &Channel) {
        assert_eq!(self.total, channel.rows.len() as u64);
        let at = usize::try_from(self.start).unwrap();
        assert_eq!(self.rows, channel.rows[at..at + self.rows.len()]);
    }
}

fn opened(channel: &Channel, query: Query) -> (LiveView, Copy) {
    let mut view = LiveView::new(Some("eve".to_owned()), Unseen::default());
    let history = channel.history(&query);
    view.open(query, &history).unwrap();
    (view, Copy::of(&history))
}

fn around(at: At) -> Query {
    Query { at, before: 2, after: 2 }
}

#[test]
fn what_comes_outside_is_counted_and_what_comes_inside_is_told() {
    let mut channel = Channel::of((1..=10).map(|i| i * 100));
    let (mut view, mut copy) = opened(&channel, around(At::Index(4)));
    assert_eq!((copy.start, copy.rows.len()), (2, 4));
    for time in [50, 1_100, 60] {
        view.apply(&channel.send(time, "ada"));
    }
    assert_eq!(view.news(), News::Counts);
    view.apply(&channel.send(450, "ada"));
    assert_eq!(view.news(), News::Rows);
    let told = view.poll().unwrap().unwrap();
    assert_eq!((told.delta.start, told.delta.above, told.delta.below), (4, 2, 1));
    assert_eq!((told.delta.inserted[0].0, told.delta.total), (6, 14));
    copy.apply(&told);
    copy.check(&channel);
    assert!(view.poll().unwrap().is_none());
}

#[test]
fn a_view_at_an_end_follows_it() {
    let mut channel = Channel::of([]);
    let (mut view, mut copy) = opened(&channel, Query { at: At::Latest, before: 3, after: 0 });
    for time in 1..=20 {
        view.apply(&channel.send(time * 100, "ada"));
        let told = view.poll().unwrap().unwrap();
        assert_eq!((told.delta.above, told.delta.below), (0, 0));
        copy.apply(&told);
        copy.check(&channel);
    }
    assert_eq!(copy.rows.len(), 20);
}

#[test]
fn late_messages_are_counted_in_runs_until_they_are_in_view() {
    let mut channel = Channel::of((1..=100).map(|i| i * 1_000));
    let (mut view, _) = opened(&channel, around(At::Latest));
    for (time, from) in [(10_100, "ada"), (10_200, "ada"), (10_300, "eve"), (10_400, "ada")] {
        view.apply(&channel.send(time, from));
    }
    view.apply(&channel.send(50_500, "ada"));
    let late = view.poll().unwrap().unwrap().late;
    // Eve's own is no news to her, and parts the run.
    let runs: Vec<_> = late.runs.iter().map(|run| (run.first, run.last, run.count)).collect();
    let [a, b, c, d] = [10_100, 10_200, 10_400, 50_500].map(id);
    assert_eq!((late.above, late.below), (4, 0));
    assert_eq!(runs, [(a, b, 2), (c, c, 1), (d, d, 1)]);
    let query = around(At::Id(a));
    view.open(query, &channel.history(&query)).unwrap();
    let late = view.late_around();
    assert_eq!((late.above, late.below, late.runs.len()), (0, 2, 2));
}

#[test]
fn changes_that_the_snapshot_has_are_passed_over_and_their_late_messages_counted() {
    let mut channel = Channel::of((1..=100).map(|i| i * 1_000));
    let (mut view, _) = opened(&channel, around(At::Latest));
    let before = channel.send(10_100, "ada");
    let query = around(At::Index(50));
    let history = channel.history(&query);
    view.open(query, &history).unwrap();
    let mut copy = Copy::of(&history);
    view.apply(&before);
    let told = view.poll().unwrap().unwrap();
    assert_eq!((told.delta.above, told.late.above, told.delta.reason), (0, 1, Reason::Late));
    copy.apply(&told);
    view.apply(&channel.send(49_500, "ada"));
    copy.apply(&view.poll().unwrap().unwrap());
    copy.check(&channel);
}

#[test]
fn a_view_that_grew_too_large_is_to_be_opened_anew() {
    let mut channel = Channel::of([0, 10_000]);
    let query = Query { at: At::Index(1), before: 1, after: 1 };
    let (mut view, mut copy) = opened(&channel, query);
    for time in 1..=ROWS_MAX {
        view.apply(&channel.send(time, "ada"));
        match view.poll().unwrap() {
            Some(told) => copy.apply(&told),
            None => break,
        }
    }
    assert_eq!((view.news(), copy.rows.len() as u64), (News::Stale, ROWS_MAX));
    assert_eq!(view.query(), Query { at: At::Id(id(10_000)), before: 1, after: 1 });
}

#[test]
fn a_loss_is_never_taken_for_the_truth() {
    let mut channel = Channel::of([100, 200]);
    let (mut view, _) = opened(&channel, around(At::Latest));
    channel.send(300, "ada");
    view.apply(&channel.send(400, "ada"));
    assert_eq!(view.news(), News::Stale);
    assert!(view.poll().unwrap().is_none());
}

#[test]
fn a_run_known_by_its_ends_is_told_as_it_is() {
    let channel = Channel::of((1..=9).map(|i| i * 100));
    let mut unseen = Unseen::default();
    unseen.came_as_run(UnseenRun { first: id(100), last: id(300), count: 3 });
    let mut view = LiveView::new(None, Unseen::default());
    let query = around(At::Latest);
    view.recount(unseen, channel.seq);
    view.open(query, &channel.history(&query)).unwrap();
    let late = view.late_around();
    assert_eq!((late.above, late.runs.len(), late.runs[0].count), (3, 1, 3));
}

#[derive(Clone, Debug)]
enum Step {
    Send(u64, bool),
    Edit(usize),
    Poll,
    Move(Query),
}

fn queries() -> impl Strategy<Value = Query> {
    let at = prop_oneof![
        Just(At::Latest),
        Just(At::Oldest),
        (0..90_u64).prop_map(At::Index),
        (0..70_000_u64).prop_map(At::Time),
        (0..70_000_u64).prop_map(|time| At::Id(id(time))),
        (0.0..=1.0_f64).prop_map(At::Fraction),
    ];
    (at, 0..8_u64, 0..8_u64).prop_map(|(at, before, after)| Query { at, before, after })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_copy_is_what_stands_there(
        times in proptest::collection::btree_set(0..60_000_u64, 0..60),
        first in queries(),
        steps in proptest::collection::vec(prop_oneof![
            8 => (0..70_000_u64, any::<bool>()).prop_map(|(time, own)| Step::Send(time, own)),
            2 => any::<usize>().prop_map(Step::Edit),
            4 => Just(Step::Poll),
            1 => queries().prop_map(Step::Move),
        ], 0..80),
    ) {
        let mut channel = Channel::of(times);
        let (mut view, mut copy) = opened(&channel, first);
        // The late messages that were in no view since.
        let mut late = std::collections::BTreeSet::new();
        for step in steps.into_iter().chain([Step::Poll]) {
            match step {
                Step::Send(time, _) if channel.rows.iter().any(|row| row.id == id(time)) => {}
                Step::Send(time, own) => {
                    let change = channel.send(time, if own { "eve" } else { "ada" });
                    view.apply(&change);
                    late.extend(Some(id(time)).filter(|_| change.messages[0].row.late && !own));
                }
                Step::Edit(_) if channel.rows.is_empty() => {}
                Step::Edit(at) => view.apply(&channel.edit(at % channel.rows.len())),
                Step::Poll => {
                    if let Some(told) = view.poll().unwrap() {
                        copy.apply(&told);
                    } else if view.news() == News::Stale {
                        let (query, history) = (view.query(), channel.history(&view.query()));
                        view.open(query, &history).unwrap();
                        copy = Copy::of(&history);
                    }
                    copy.check(&channel);
                    late.retain(|id| !copy.rows.iter().any(|row| row.id == *id));
                    check_late(&view.late_around(), &late, &copy, &channel);
                }
                Step::Move(query) => {
                    let history = channel.history(&query);
                    view.open(query, &history).unwrap();
                    copy = Copy::of(&history);
                    copy.check(&channel);
                    late.retain(|id| !copy.rows.iter().any(|row| row.id == *id));
                }
            }
        }
    }
}

fn check_late(
    told: &Late,
    late: &std::collections::BTreeSet<MessageId>,
    copy: &Copy,
    channel: &Channel,
) {
    let mut runs: Vec<(MessageId, MessageId, u64)> = Vec::new();
    let mut before = None;
    for row in &channel.rows {
        let is_late = late.contains(&row.id);
        match runs.last_mut().filter(|_| is_late && before == Some(true)) {
            Some(run) => (run.1, run.2) = (row.id, run.2 + 1),
            None if is_late => runs.push((row.id, row.id, 1)),
            None => {}
        }
        before = Some(is_late);
    }
    let got: Vec<_> = told.runs.iter().map(|run| (run.first, run.last, run.count)).collect();
    assert_eq!(got, runs);
    let above = copy.rows.first().map_or(0, |row| late.range(..row.id).count() as u64);
    assert_eq!((told.above, told.below), (above, late.len() as u64 - above));
}
