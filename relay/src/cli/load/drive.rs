//! A run of senders and subscribers from its first connection to what the checker says.

use super::super::progress::{Progress, Unit};
use super::check::{Observed, check};
use super::journal::Kind;
use super::reader::{Read, Reader};
use super::report::{Figures, Report, per_second, percentiles};
use super::run::{Phase, Run, count, latencies};
use super::sender::{Sender, Sent};
use super::socket::{Heard, Socket, SocketError};
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::message::MessageId;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};

/// Clients that connect at a time.
const CONNECTING_MAX: usize = 64;

/// Time between two looks at how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Subscribers at work.
#[derive(Debug)]
pub(super) struct Readers(Vec<JoinHandle<Read>>);

impl Readers {
    /// Connects `readers` subscribers, a few at a time.
    ///
    /// # Errors
    /// The relay does not take one.
    pub(super) async fn join(
        run: &Arc<Run>,
        readers: usize,
        senders: usize,
    ) -> Result<Self, SocketError> {
        let mut joining = JoinSet::new();
        let mut joined = Vec::with_capacity(readers);
        let progress = Progress::new("connecting", Some(readers as u64), Unit::Sockets);
        for number in 0..readers {
            if joining.len() >= CONNECTING_MAX
                && let Some(reader) = joining.join_next().await
            {
                joined.push(start(reader)?);
                progress.set(joined.len() as u64);
            }
            let run = run.clone();
            joining.spawn(async move { Reader::join(&run, number, senders + number).await });
        }
        while let Some(reader) = joining.join_next().await {
            joined.push(start(reader)?);
        }
        progress.finish();
        Ok(Self(joined))
    }

    /// What they got, once they have all up to seq `head` or nothing comes any more.
    pub(super) async fn finish(self, run: &Run, head: u64) -> Finished {
        run.phase.send_replace(Phase::Until(head));
        let mut finished = Finished::default();
        for (nth, reader) in self.0.into_iter().enumerate() {
            match reader.await {
                Ok(read) => finished.reads.push(read),
                Err(_panic) => finished.vanished.push(format!("subscriber {nth}")),
            }
        }
        finished
    }
}

/// What subscribers got.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) reads: Vec<Read>,
    /// Those that panicked.
    pub(super) vanished: Vec<String>,
}

type Joined = Result<Result<(Reader, Socket), SocketError>, tokio::task::JoinError>;

fn start(joined: Joined) -> Result<JoinHandle<Read>, SocketError> {
    let (reader, socket) = joined.map_err(std::io::Error::from)??;
    Ok(tokio::spawn(reader.work(socket)))
}

/// Senders at work.
#[derive(Debug)]
pub(super) struct Senders(JoinSet<Sent>);

impl Senders {
    /// Connects `senders` senders and lets them begin together.
    ///
    /// # Errors
    /// The relay does not take one.
    pub(super) async fn begin(run: &Arc<Run>, senders: usize) -> Result<Self, SocketError> {
        let mut ready = Vec::with_capacity(senders);
        for number in 0..senders {
            let sender = Sender::new(run, number, senders);
            let socket = sender.connect().await?;
            ready.push((sender, socket));
        }
        let mut working = JoinSet::new();
        for (sender, socket) in ready {
            working.spawn(sender.work(socket));
        }
        Ok(Self(working))
    }

    /// What became of everything they sent, once all of it is answered.
    pub(super) async fn finish(mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(done) = self.0.join_next().await {
            sent.extend(done.ok());
        }
        sent
    }
}

/// Everyone's part of a run, put together.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) observed: Observed,
    pub(super) figures: Figures,
    pub(super) remarks: Vec<String>,
}

/// Whether the channel is read back at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadBack {
    /// It is, and held against what was acknowledged.
    Yes,
    /// It is not: the relay keeps nothing.
    No,
}

/// Runs `senders` and `readers` until everything is sent, or for `time`.
///
/// # Errors
/// The relay does not take a client, or the channel cannot be read back.
pub(super) async fn drive(
    run: &Arc<Run>,
    senders: usize,
    readers: usize,
    time: Option<Duration>,
    read_back: ReadBack,
) -> Result<Outcome, SocketError> {
    let listening = Readers::join(run, readers, senders).await?;
    let begun = Instant::now();
    let sending = Senders::begin(run, senders).await?;
    let sent = {
        let total = (run.plan.limit < u64::MAX).then_some(run.plan.limit);
        let progress = Progress::new("sending", total, Unit::Messages);
        let watching = watch(run, &progress, time.map(|time| begun + time));
        let mut finishing = std::pin::pin!(sending.finish());
        let sent = tokio::select! {
            sent = &mut finishing => sent,
            () = watching => finishing.await,
        };
        progress.finish();
        sent
    };
    let head = head_of(&sent);
    let heard = listening.finish(run, head).await;
    let mut outcome = gather(run, begun, sent, heard);
    if read_back == ReadBack::Yes {
        outcome.observed.stored = Some(stored(run, senders + readers).await?);
    }
    Ok(outcome)
}

/// Shows how far it is, and stops the senders when their time is over.
async fn watch(run: &Run, progress: &Progress, until: Option<Instant>) {
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    loop {
        let until = until.filter(|_| !run.is_over());
        tokio::select! {
            _ = tick.tick() => progress.set(count(&run.tally.acknowledged)),
            () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now).into()),
                if until.is_some() => run.stop(),
        }
    }
}

/// The greatest seq that was acknowledged.
pub(super) fn head_of(sent: &[Sent]) -> u64 {
    let fates = sent.iter().flat_map(|sent| &sent.fates);
    let seqs = fates.filter_map(|(_, fate)| match fate {
        super::check::Fate::Stored(seq) => Some(*seq),
        super::check::Fate::Unknown | super::check::Fate::Refused => None,
    });
    seqs.max().unwrap_or(0)
}

/// Puts together what senders and subscribers have.
pub(super) fn gather(run: &Run, begun: Instant, sent: Vec<Sent>, heard: Finished) -> Outcome {
    let (mut figures, mut remarks) = (Figures::new(), Vec::new());
    let Finished { reads, vanished } = heard;
    let mut observed = Observed { vanished, ..Observed::default() };
    let mut acks = latencies();
    let last_ack = sent.iter().filter_map(|sent| sent.last_ack).max();
    for sent in sent {
        // Equal bounds always add.
        let _ = acks.add(&sent.acks);
        observed.sent.extend(sent.fates);
        observed.renumbered.extend(sent.renumbered);
        remarks.extend(sent.refusal.map(|why| format!("a message was refused: {why}")));
        remarks.extend(sent.failed.map(|why| format!("a sender gave up: {why}")));
    }
    remarks.sort_unstable();
    remarks.dedup();
    let mut deliveries = latencies();
    let last = reads.iter().filter_map(|read| read.last).max();
    for read in reads {
        let _ = deliveries.add(&read.deliveries);
        observed.heard.push(read.observed);
    }
    let tally = &run.tally;
    for (name, counted) in [
        ("sent", &tally.sent),
        ("acknowledged", &tally.acknowledged),
        ("duplicates", &tally.duplicates),
        ("refused", &tally.refused),
        ("resent", &tally.resent),
        ("delivered", &tally.delivered),
        ("caught_up_by_history", &tally.caught_up),
        ("reconnects", &tally.reconnects),
    ] {
        if count(counted) > 0 || matches!(name, "sent" | "acknowledged") {
            figures.insert(name.to_owned(), count(counted) as f64);
        }
    }
    let mut rate = |name: &str, count: u64, last: Option<Instant>| {
        if let Some(last) = last {
            figures.insert(name.to_owned(), per_second(count, last - begun));
        }
    };
    rate("acks_per_s", count(&tally.acknowledged), last_ack);
    rate("deliveries_per_s", count(&tally.delivered), last);
    percentiles(&mut figures, "ack", &acks);
    percentiles(&mut figures, "delivery", &deliveries);
    Outcome { observed, figures, remarks }
}

/// Reads the whole channel back, in its order.
///
/// # Errors
/// The relay does not answer as it should.
pub(super) async fn stored(run: &Run, client: usize) -> Result<Vec<(u64, MessageId)>, SocketError> {
    let mut socket = run.target.connect(client).await?;
    let mut stored: Vec<(u64, MessageId)> = Vec::new();
    let progress = Progress::new("checking", Some(count(&run.tally.acknowledged)), Unit::Messages);
    loop {
        let at = json!({"index": stored.len()});
        let ask = json!({"command": "history", "channel": run.channel, "at": at, "before": 0,
                         "after": ROWS_MAX});
        socket.send(ask.to_string()).await?;
        let text = socket.next().await?;
        let Heard::History(history) = Heard::read(&text)? else {
            return Err(std::io::Error::other(format!("no history but {text}")).into());
        };
        if history.start != stored.len() as u64 || history.messages.is_empty() {
            progress.finish();
            if stored.len() as u64 == history.total {
                return Ok(stored);
            }
            let text = format!("rows from {} of {}", history.start, history.total);
            return Err(std::io::Error::other(text).into());
        }
        for row in history.messages {
            run.note(Kind::Stored, "check", Some(row.id), Some(row.seq));
            stored.push((row.seq, row.id));
        }
        progress.set(stored.len() as u64);
    }
}

impl Outcome {
    /// The report of this run.
    pub(super) fn report(self, profile: &'static str) -> Report {
        let Self { observed, figures, remarks } = self;
        let mut report = Report { profile, figures, remarks, ..Report::default() };
        report.take_violations(&check(&observed));
        report
    }
}
