//! `backscroll load`: senders and subscribers against a relay, every delivery checked, and what the
//! machine does without one beside it.

mod accept;
pub(super) mod bare;
mod check;
mod drive;
mod floor;
mod idle;
mod journal;
mod process;
mod reader;
mod report;
mod run;
mod sender;
mod socket;
mod storm;
mod view;

use super::connect::RelayUrl;
use super::{Failure, Outcome, output};
use backscroll_core::limits::TEXT_BYTES_MAX;
use drive::ReadBack;
use journal::Journal;
use report::{Figures, Report};
use run::{Plan, Run, STAMP_BYTES};
use socket::{SocketError, Target};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Files that a process has open besides its sockets, generously.
const OTHER_FILES: u64 = 64;

/// Messages per second that others go on sending in a storm.
const STORM_RATE: f64 = 1_000.0;

/// What `load` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArguments {
    /// The relay, as http://HOST:PORT, ws://HOST:PORT or HOST:PORT
    #[arg(long, value_name = "URL", required_unless_present = "check")]
    relay: Option<RelayUrl>,
    /// Channel, which nobody else may write to meanwhile [default: a new one]; for view, a full one
    #[arg(long, value_name = "C")]
    channel: Option<String>,
    /// What to do; the other flags change its defaults
    #[arg(long, value_enum, default_value_t = Profile::Mixed)]
    profile: Profile,
    /// Clients that send
    #[arg(long, value_name = "N")]
    senders: Option<usize>,
    /// Clients that subscribe; for idle and storm, how many there are
    #[arg(long, value_name = "M")]
    subscribers: Option<usize>,
    /// Messages in all; for storm those missed, for accept upgrades, for view questions
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    count: Option<u64>,
    /// Send for so long; for idle, hold for so long
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Bytes of a message's text
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=TEXT_BYTES_MAX as i64))]
    bytes: u32,
    /// Messages per second over all senders [default: as fast as they are acknowledged]; for storm,
    /// of those who go on sending beside it [default: 1000]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Messages of each sender that may wait for acknowledgement; for accept, upgrades at a time
    #[arg(long, value_name = "K")]
    in_flight: Option<usize>,
    /// Measure what the machine does without a relay as well, and print ratios
    #[arg(long)]
    floor: bool,
    /// Folder on the data folder's disk, for the floor of writes [default: the system's temporary one]
    #[arg(long, value_name = "DIR")]
    floor_dir: Option<PathBuf>,
    /// Write what happens as JSON Lines
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Check a history that was written before; nothing is sent
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Credential of every client
    #[arg(long, value_name = "T")]
    token: Option<String>,
    /// The relay's process, for its memory and processor time
    #[arg(long)]
    pid: Option<u32>,
    /// Put load on another machine
    #[arg(long)]
    allow_remote: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// A few senders and subscribers
    Mixed,
    /// 64 senders, durable acknowledgements
    Publish,
    /// One sender, 1,000 subscribers
    Fanout,
    /// 10,000 sockets that do nothing
    Idle,
    /// 5,000 subscribers miss 100 messages and come back at once
    Storm,
    /// Upgrades per second, and what comes above the relay's cap
    Accept,
    /// Viewports of 50 rows anywhere in a channel
    View,
}

/// Why nothing is measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum LoadError {
    /// Nothing to look at.
    #[error("--profile view needs a --channel that has messages")]
    NoChannel,
    /// Not enough files.
    #[error(
        "{needed} sockets are more than the {limit} files that this process may open: see ulimit -n"
    )]
    OpenFiles { needed: u64, limit: u64 },
    /// The relay or the system does not play along.
    #[error("the load cannot be put on")]
    Socket(#[from] SocketError),
    /// There is no history.
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// The disk's floor cannot be measured.
    #[error("cannot write to {}", folder.display())]
    Floor {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no runtime, no process or no thread.
    #[error("the system does not let it run")]
    System(#[from] std::io::Error),
}

/// The numbers of a profile, after the flags.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    senders: usize,
    subscribers: usize,
    in_flight: usize,
    count: Option<u64>,
    time: Duration,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| *n > 0.0 && n.is_finite());
    number.ok_or_else(|| "write a number above 0".to_owned())
}

pub(super) fn run(arguments: &LoadArguments) -> Result<Outcome, Failure> {
    if let Some(file) = &arguments.check {
        let observed = journal::read(file).map_err(LoadError::from)?;
        let mut report = Report { profile: "check", ..Report::default() };
        report.figures.insert("sent".to_owned(), observed.sent.len() as f64);
        let seen: usize = observed.heard.iter().map(|heard| heard.seen.len()).sum();
        report.figures.insert("delivered".to_owned(), seen as f64);
        report.take_violations(&check::check(&observed));
        return arguments.finish(&report);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(LoadError::from)?;
    let report = runtime.block_on(arguments.measure())?;
    arguments.finish(&report)
}

impl LoadArguments {
    fn finish(&self, report: &Report) -> Result<Outcome, Failure> {
        report.print(self.json)?;
        Ok(if report.is_clean() { Outcome::Clean } else { Outcome::Flawed })
    }

    fn numbers(&self) -> Numbers {
        // Senders, subscribers, messages on their way, messages, seconds.
        let (senders, subscribers, in_flight, count, seconds) = match self.profile {
            Profile::Mixed => (4, 4, 16, Some(10_000), 0.0),
            Profile::Publish => (64, 0, 4, None, 10.0),
            Profile::Fanout => (1, 1_000, 16, None, 10.0),
            Profile::Idle => (0, 10_000, 0, None, 10.0),
            Profile::Storm => (4, 5_000, 16, Some(100), 0.0),
            Profile::Accept => (0, 0, 64, Some(5_000), 0.0),
            Profile::View => (1, 0, 1, Some(3_000), 0.0),
        };
        Numbers {
            senders: self.senders.unwrap_or(senders),
            subscribers: self.subscribers.unwrap_or(subscribers),
            in_flight: self.in_flight.unwrap_or(in_flight).max(1),
            count: self.count.or(if self.seconds.is_some() { None } else { count }),
            time: Duration::from_secs_f64(self.seconds.unwrap_or(seconds).clamp(0.0, 1e6)),
        }
    }

    async fn measure(&self) -> Result<Report, LoadError> {
        let numbers = self.numbers();
        let relay = self.relay.as_ref().ok_or(LoadError::NoChannel)?;
        let target = Target::new(relay, self.token.as_deref(), self.allow_remote).await?;
        self.check_files(numbers)?;
        let journal = self.history.as_deref().map(Journal::create).transpose()?.map(Arc::new);
        let mut report =
            self.one(&target, numbers, journal.clone(), self.pid, ReadBack::Yes).await?;
        if let Some(journal) = journal {
            journal.finish()?;
        }
        report.parameters = self.parameters(numbers);
        if self.floor {
            self.measure_floor(&mut report, numbers).await?;
        }
        Ok(report)
    }

    /// The profile against one relay.
    async fn one(
        &self,
        target: &Target,
        numbers: Numbers,
        journal: Option<Arc<Journal>>,
        pid: Option<u32>,
        read_back: ReadBack,
    ) -> Result<Report, LoadError> {
        let Numbers { senders, subscribers, in_flight, count, time } = numbers;
        let channel = self.channel.clone().unwrap_or_else(new_channel);
        let plan = Plan {
            limit: count.unwrap_or(u64::MAX),
            bytes: usize::try_from(self.bytes).unwrap_or(STAMP_BYTES),
            rate: self.rate.map(|rate| rate / senders.max(1) as f64),
            in_flight,
            names: self.token.is_none(),
        };
        let clients = usize::try_from(plan.limit).unwrap_or(usize::MAX);
        let name = self.name();
        let plain = |(figures, remarks): (Figures, Vec<String>)| Report {
            profile: name,
            figures,
            remarks,
            ..Report::default()
        };
        Ok(match self.profile {
            Profile::Idle => plain(idle::idle(target, &channel, subscribers, time, pid).await?),
            Profile::Accept => plain(accept::accept(target, clients, in_flight).await?),
            Profile::View => {
                let channel = self.channel.as_deref().ok_or(LoadError::NoChannel)?;
                plain(view::view(target, channel, senders.max(1), plan.limit).await?)
            }
            Profile::Storm => {
                let plan = Plan { rate: None, ..plan };
                let run = Run::new(target.clone(), channel, plan, journal);
                let beside = self.rate.unwrap_or(STORM_RATE);
                storm::storm(&run, senders, subscribers, beside).await?.report(name)
            }
            Profile::Mixed | Profile::Publish | Profile::Fanout => {
                let run = Run::new(target.clone(), channel, plan, journal);
                let time = count.is_none().then_some(time);
                drive::drive(&run, senders, subscribers, time, read_back).await?.report(name)
            }
        })
    }

    /// The same without a relay: the disk alone, and a bare broadcast.
    async fn measure_floor(&self, report: &mut Report, numbers: Numbers) -> Result<(), LoadError> {
        let sends = matches!(self.profile, Profile::Mixed | Profile::Publish | Profile::Fanout);
        if sends {
            let bytes = usize::try_from(self.bytes).unwrap_or(STAMP_BYTES);
            let group = bytes * numbers.senders.max(1) * numbers.in_flight;
            let mut disk = Figures::new();
            for (name, bytes) in [("fdatasync", bytes), ("fdatasync_of_a_group", group)] {
                report::percentiles(&mut disk, name, &self.disk_floor(bytes).await?);
            }
            report.take_floor(disk);
            report.compare("ack_ms_p50", "fdatasync_ms_p50");
        }
        if sends || matches!(self.profile, Profile::Idle | Profile::Accept) {
            let bare = floor::Bare::start()?;
            let target = Target::new(&bare.url, None, false).await?;
            let pid = Some(bare.pid());
            let bare_report = self.one(&target, numbers, None, pid, ReadBack::No).await?;
            report.take_floor(bare_report.figures);
        }
        Ok(())
    }

    async fn disk_floor(&self, bytes: usize) -> Result<run::Latencies, LoadError> {
        let folder = self.floor_dir.clone().unwrap_or_else(std::env::temp_dir);
        let measured = folder.clone();
        let latencies = tokio::task::spawn_blocking(move || floor::fdatasync(&measured, bytes))
            .await
            .map_err(std::io::Error::from)?;
        latencies.map_err(|source| LoadError::Floor { folder, source })
    }

    fn check_files(&self, numbers: Numbers) -> Result<(), LoadError> {
        let Some(limit) = process::open_files_max() else { return Ok(()) };
        let upgrades = match self.profile {
            Profile::Accept => numbers.count.unwrap_or(0),
            _ => 0,
        };
        let needed = (numbers.senders + numbers.subscribers) as u64 + upgrades + OTHER_FILES;
        output::log(&format!("backscroll load: {needed} files needed, {limit} may be open"));
        if needed > limit { Err(LoadError::OpenFiles { needed, limit }) } else { Ok(()) }
    }

    fn parameters(&self, numbers: Numbers) -> std::collections::BTreeMap<&'static str, String> {
        let mut parameters = std::collections::BTreeMap::new();
        parameters.insert("senders", numbers.senders.to_string());
        parameters.insert("subscribers", numbers.subscribers.to_string());
        parameters.insert("in_flight", numbers.in_flight.to_string());
        parameters.insert("bytes", self.bytes.to_string());
        match numbers.count {
            Some(count) => parameters.insert("count", count.to_string()),
            None => parameters.insert("seconds", numbers.time.as_secs_f64().to_string()),
        };
        if let Some(rate) = self.rate {
            parameters.insert("rate", rate.to_string());
        }
        parameters
    }

    fn name(&self) -> &'static str {
        match self.profile {
            Profile::Mixed => "mixed",
            Profile::Publish => "publish",
            Profile::Fanout => "fanout",
            Profile::Idle => "idle",
            Profile::Storm => "storm",
            Profile::Accept => "accept",
            Profile::View => "view",
        }
    }
}

/// A channel that nobody else writes to.
fn new_channel() -> String {
    format!("load-{:08x}", getrandom::u32().unwrap_or_default())
}
