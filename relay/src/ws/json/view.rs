//! Live views on `/ws`: each has a task that tells what changed in it (design 8.2).
//!
//! ```text
//!   view --------> join the hub, then read a snapshot
//!   <------------- view
//!   <------------- view-delta, view-delta: what changed since, all that was ready in one
//!   view --------> (the same, at another place)
//! ```
//! The task tells other rows at once and other counts a few times a second, and neither while the
//! client has much to read: what happens meanwhile becomes one delta. So a slow client gets fewer and
//! larger ones, and one that is far behind, or whose view grew too large, a fresh `view`.

use super::event;
use crate::app::App;
use crate::budget::Held;
use crate::connection::Outbox;
use crate::hub::Viewing;
use crate::index::MessageRow;
use crate::limits::{UNSEEN_RUNS_MAX, VIEW_COUNTS_EVERY};
use crate::reader::{History, View, runs_of};
use crate::refused::Refused;
use crate::view::{LiveView, News};
use backscroll_core::late::Unseen;
use backscroll_core::viewport::Query;
use backscroll_core::wire::LateRun;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A live view of this socket. Dropping it ends it.
#[derive(Debug)]
pub(super) struct OpenView {
    shared: Arc<Shared>,
    task: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    app: Arc<App>,
    outbox: Arc<Outbox>,
    viewing: Viewing,
    /// Held while a snapshot is read: nothing is told of the old place then.
    placed: Mutex<Option<Placed>>,
}

#[derive(Debug)]
struct Placed {
    /// Whose read state it began with.
    user: String,
    view: LiveView,
}

/// Which late messages a snapshot is to tell.
enum Count {
    /// Those a user has not seen.
    Of(String),
    /// Those that came after a seq, beside these; but for a user's own.
    Since(Option<String>, u64, Unseen),
}

impl OpenView {
    /// A view that hears what is committed from now on and has no place yet.
    pub(super) fn new(app: &Arc<App>, outbox: &Arc<Outbox>, channel: &str) -> Self {
        let (app, outbox) = (app.clone(), outbox.clone());
        let viewing = app.hub.view(channel);
        let shared = Shared { app, outbox, viewing, placed: Mutex::new(None) };
        Self { shared: Arc::new(shared), task: None }
    }

    /// Moves it to `query`, for `user`, and tells all rows there. If that cannot be read it stays
    /// where it was.
    pub(super) async fn place(
        &mut self,
        query: Query,
        user: String,
        reference: Option<&str>,
    ) -> Result<(), Refused> {
        let mut placed = self.shared.placed.lock().await;
        self.shared.catch_up(&mut placed);
        let is_known = placed.as_ref().is_some_and(|placed| placed.user == user);
        let count = match placed.as_ref().filter(|_| is_known) {
            Some(placed) => placed.count(),
            None => Count::Of(user.clone()),
        };
        let ((history, late), _held) = self.shared.read(query, count).await?;
        let mut next = match placed.take().filter(|_| is_known) {
            Some(next) => next,
            None => Placed::new(user),
        };
        let opened = next.open(query, &history, late);
        let view = placed.insert(next);
        opened?;
        self.shared.tell_all(&view.view, &history, reference);
        drop(placed);
        if self.task.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let shared = self.shared.clone();
            let following = tokio::spawn(async move { shared.follow().await });
            self.task = Some(AbortOnDropHandle::new(following));
        }
        Ok(())
    }

    /// The late messages that `user` has not had in this view, and the seq up to which they are
    /// counted; `None` if it is another's.
    pub(super) async fn unseen(&self, user: &str) -> Option<(u64, Vec<LateRun>)> {
        let mut placed = self.shared.placed.lock().await;
        self.shared.catch_up(&mut placed);
        let placed = placed.as_ref().filter(|placed| placed.user == user)?;
        let (late, seq) = placed.view.late();
        (placed.view.news() != News::Stale).then(|| (seq, runs_of(late, UNSEEN_RUNS_MAX)))
    }
}

impl Placed {
    fn new(user: String) -> Self {
        let own = (user != crate::access::ANONYMOUS).then(|| user.clone());
        Self { user, view: LiveView::new(own, Unseen::default()) }
    }

    /// What is to be counted with the next snapshot.
    fn count(&self) -> Count {
        let own = (self.user != crate::access::ANONYMOUS).then(|| self.user.clone());
        let (late, seq) = self.view.late();
        Count::Since(own, seq, late.clone())
    }

    fn open(&mut self, query: Query, history: &History, late: Unseen) -> Result<(), Refused> {
        self.view.recount(late, history.seq);
        Ok(self.view.open(query, history)?)
    }
}

impl Shared {
    /// Takes in what is committed.
    fn catch_up(&self, placed: &mut Option<Placed>) {
        let waiting = self.viewing.take();
        let Some(placed) = placed else { return };
        if waiting.is_lossy {
            placed.view.lose();
        }
        // What follows a loss has no place to go; the snapshot to come has it.
        if placed.view.news() != News::Stale {
            waiting.changes.iter().for_each(|change| placed.view.apply(change));
        }
    }

    async fn read(&self, query: Query, count: Count) -> Result<((History, Unseen), Held), Refused> {
        let channel = self.viewing.channel().to_owned();
        let read = move |view: &View<'_>| {
            let history = view.history(&channel, &query)?;
            let late = match &count {
                Count::Of(user) => view.unseen_of(&channel, user)?,
                Count::Since(user, seq, late) => {
                    let mut late = late.clone();
                    view.add_late_since(&channel, *seq, user.as_deref(), &mut late)?;
                    late
                }
            };
            Ok((history, late))
        };
        let bytes_of = |(history, _): &(History, Unseen)| {
            history.messages.iter().map(MessageRow::memory_bytes).sum()
        };
        self.app.reads.answer(read, bytes_of).await
    }

    fn tell_all(&self, view: &LiveView, history: &History, reference: Option<&str>) {
        let (channel, late) = (self.viewing.channel(), view.late_around());
        self.outbox.push_answer(event::view(channel, history, &late, reference));
    }

    /// Tells what changes until the view ends.
    async fn follow(&self) {
        let mut told_at = Instant::now().checked_sub(VIEW_COUNTS_EVERY);
        let mut due: Option<Instant> = None;
        loop {
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.viewing.filled() => {}
                () = is_due => {}
            }
            // One view of the socket at a time: each answer may be large, and 64 that found the same
            // room would put 64 of them there.
            let turn = self.outbox.turn().await;
            self.outbox.room().await;
            if self.outbox.has_ended() {
                return;
            }
            let mut placed = self.placed.lock().await;
            self.catch_up(&mut placed);
            let now = Instant::now();
            let waits_until = told_at.map(|told| told + VIEW_COUNTS_EVERY).filter(|due| *due > now);
            due = match placed.as_ref().map_or(News::None, |placed| placed.view.news()) {
                News::None => None,
                News::Counts if waits_until.is_some() => waits_until,
                News::Counts | News::Rows | News::Stale => {
                    told_at = Some(now);
                    if let Err(refused) = self.tell(&mut placed).await {
                        self.end(&mut placed, refused);
                    }
                    None
                }
            };
            drop(turn);
        }
    }

    /// Says that nothing more is told, as this cannot be read. It begins again where the client next
    /// places it.
    fn end(&self, placed: &mut Option<Placed>, refused: Refused) {
        *placed = None;
        let text = format!("the view of {} has ended: {}", self.viewing.channel(), refused.text);
        let refused = Refused::new(refused.code, text);
        self.outbox.push_answer(event::error(&refused, None));
    }

    /// Tells what there is to tell.
    async fn tell(&self, placed: &mut Option<Placed>) -> Result<(), Refused> {
        let Some(known) = placed.as_mut() else { return Ok(()) };
        if let Some(told) = known.view.poll()? {
            self.outbox.push_answer(event::view_delta(self.viewing.channel(), &told));
        }
        if known.view.news() == News::Stale {
            let query = known.view.query();
            let ((history, late), _held) = self.read(query, known.count()).await?;
            known.open(query, &history, late)?;
            self.tell_all(&known.view, &history, None);
        }
        Ok(())
    }
}
