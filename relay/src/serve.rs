//! The running relay: binds, serves, and ends in order.
//!
//! ```text
//! start    bind -> open the store -> start hub, writer, compactor
//! run      accept, until asked to stop or the store fails
//! end      take nothing new -> close sockets (4000 or 4002) -> commit what is queued
//! ```

mod accept;
mod files;
mod log;
mod patient;

pub(crate) use accept::Slot;
pub(crate) use patient::Patient;

use crate::access::{Access, AccessError, OpenToOthers};
use crate::app::App;
use crate::backup;
use crate::budget::Budget;
use crate::config::Config;
use crate::control;
use crate::disk::DiskRoom;
use crate::engine::Engine;
use crate::http::{self, Blobs, Origins};
use crate::hub::Hub;
use crate::metrics;
use crate::reads::Reads;
use crate::shutdown::{Phase, PhaseSetter, stop_signal};
use crate::store::{Store, StoreError};
use crate::throttle::{NoNetwork, Throttle, TrustedProxies};
use accept::{Acceptor, Door};
use axum::Router;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long the writer may take to commit what is queued when the relay ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the relay did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address, as configured.
        address: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// `open` mode on an address that others can reach.
    #[error(transparent)]
    OpenToOthers(#[from] OpenToOthers),
    /// The admin address, where nobody is asked for a credential, can be reached by others.
    #[error(
        "server.admin_listen: nobody is asked for a credential on {0}; \
         listen on loopback, or allow it with server.admin_open_to_anyone = true"
    )]
    AdminOpenToOthers(SocketAddr),
    /// Users, keys or passwords are not as they must be.
    #[error("access is not set up")]
    Access(#[from] AccessError),
    /// A proxy is no address.
    #[error("server.trusted_proxies: {0:?} is neither an address nor a network as 10.0.0.0/8")]
    Proxy(String),
    /// The folder of the demo app is not there.
    #[error("there is no folder {} with the demo app", .0.display())]
    NoWeb(PathBuf),
    /// The store cannot be opened or read.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// A write failed: the relay ended so that it does not promise what it cannot keep.
    #[error("the store failed; the relay stopped")]
    StoreFailed,
    /// The log filter is malformed.
    #[error("the log filter is malformed")]
    LogFilter(#[from] tracing_subscriber::filter::ParseError),
    /// Threads, signals or standard output are not to be had.
    #[error("the system does not let the relay run")]
    System(#[from] std::io::Error),
}

/// Serves until SIGTERM or SIGINT, then drains; standard output carries one line when ready.
///
/// # Errors
/// The relay cannot start, or its store failed.
pub fn run(config: Config) -> Result<(), ServeError> {
    log::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        // Watched before anybody can know that the relay runs: no signal may end it undrained.
        let stop = stop_signal()?;
        let server = Server::start(config).await?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "listening on http://{}", server.address())?;
        stdout.flush()?;
        server.run_until(stop).await
    });
    // A read that hangs in the system must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A relay that is bound and ready to serve.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    admin: Option<TcpListener>,
    address: SocketAddr,
    router: Router,
    /// Where commands ask for what needs the open store; without it they do without.
    control: Option<UnixListener>,
    config: Config,
    proxies: Arc<TrustedProxies>,
}

impl Server {
    /// Binds the addresses and opens the store.
    ///
    /// # Errors
    /// An address or the store is not to be had, or the address is open to others in `open` mode.
    pub async fn start(config: Config) -> Result<Self, ServeError> {
        let data = config.store.data.clone();
        Self::start_over(config, move || Store::open(&data)).await
    }

    /// Starts over a store that is opened when the addresses are bound.
    async fn start_over(
        config: Config,
        open: impl FnOnce() -> Result<Store, StoreError> + Send + 'static,
    ) -> Result<Self, ServeError> {
        let metrics = metrics::install();
        let access = Access::from_config(&config.access)?;
        let throttle = Arc::new(Throttle::new(&config.limits, config.access.mode));
        let proxies = TrustedProxies::new(&config.server.trusted_proxies)
            .map_err(|NoNetwork(text)| ServeError::Proxy(text))?;
        let proxies = Arc::new(proxies);
        let may_listen = |address| access.check_listen(address).map_err(ServeError::from);
        let (listener, address) = bind(&config.server.listen, may_listen).await?;
        let may_all = config.server.admin_open_to_anyone;
        let may_listen = |address: SocketAddr| {
            let allowed = may_all || address.ip().is_loopback();
            if allowed { Ok(()) } else { Err(ServeError::AdminOpenToOthers(address)) }
        };
        let admin = match &config.server.admin_listen {
            Some(admin) => Some(bind(admin, may_listen).await?.0),
            None => None,
        };
        if let Some(web) = config.server.web.as_ref().filter(|web| !web.is_dir()) {
            return Err(ServeError::NoWeb(web.clone()));
        }
        let (hub, feed) = Hub::start()?;
        let store = blocking(open).await??;
        let reserve = config.store.disk_reserve_mib.saturating_mul(1 << 20);
        let disk = DiskRoom::watch(&config.store.data, reserve);
        let (feed, rules) = (Arc::new(feed), config.retention.clone());
        let engine = blocking(move || Engine::start_on(store, feed, disk, rules)).await??;
        let budget = Arc::new(Budget::new(config.limits.answer_bytes()));
        let app = Arc::new(App {
            reads: Reads::new(engine.reader(), budget),
            engine,
            hub,
            access,
            throttle,
            origins: Origins::new(&config.server.origins, address.ip().is_loopback()),
            blobs: Blobs::new(&config.blobs),
            phases: PhaseSetter::running(),
            sockets: TaskTracker::new(),
            metrics,
        });
        let web = config.server.web.as_deref();
        let router = http::router(app.clone(), web, admin.is_none());
        backup::remove_stale_checkpoints(&config.store.data);
        let control = control::listen(&config.store.data);
        if let Err(error) = &control {
            tracing::warn!(%error, "no socket for commands: backup and erase need the relay stopped");
        }
        tracing::info!(%address, data = %config.store.data.display(), "serving");
        let control = control.ok();
        Ok(Self { app, listener, admin, address, router, control, config, proxies })
    }

    /// Where it serves.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done or the store fails, then ends within the configured time.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { app, listener, admin, router, control, config, proxies, .. } = self;
        let door = Door { throttle: Some(app.throttle.clone()), proxies };
        let connections_max = files::connections_max(config.server.connections_max);
        let acceptor = Acceptor::new(app.phases.watch(), connections_max, door);
        tokio::spawn(acceptor.clone().run(listener, router));
        if let Some(admin) = admin {
            let router = http::admin_router(app.clone(), config.server.admin_open_to_anyone);
            tokio::spawn(acceptor.for_admin().run(admin, router));
        }
        let upkeep = tokio::spawn(upkeep(app.clone()));
        let data = config.store.data.clone();
        let control =
            control.map(|control| tokio::spawn(control::serve(control, app.engine.clone(), data)));
        let failed = {
            let mut failed = app.engine.failed();
            async move { failed.wait_for(|failed| *failed).await.is_ok() }
        };
        let drain = Duration::from_secs(config.server.drain_timeout_s);
        tokio::select! {
            () = stop => {
                tracing::info!("draining");
                app.phases.drain(app.sockets.len(), drain);
            }
            failed = failed => {
                // Without its sender the writer is gone as well.
                tracing::error!(failed, "the store failed");
                app.phases.raise(Phase::Failed);
            }
        }
        app.sockets.close();
        let ended = timeout(drain, async {
            tokio::join!(app.sockets.wait(), acceptor.ended());
        });
        if ended.await.is_err() {
            tracing::warn!(sockets = app.sockets.len(), "not all sockets ended in time");
        }
        for task in std::iter::once(upkeep).chain(control) {
            task.abort();
            // It holds the store; an error says that it was aborted.
            let _ = task.await;
        }
        control::remove(&config.store.data);
        let engine = app.engine.clone();
        let flush = blocking(move || engine.shutdown());
        if timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::error!("the writer did not end in time");
        }
        if app.phases.phase() == Phase::Failed || *app.engine.failed().borrow() {
            return Err(ServeError::StoreFailed);
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Keeps the figures small while nobody asks for them.
async fn upkeep(app: Arc<App>) {
    let mut tick = tokio::time::interval(metrics::UPKEEP_EVERY);
    loop {
        tick.tick().await;
        if let Some(handle) = &app.metrics {
            handle.run_upkeep();
        }
    }
}

async fn bind(
    address: &str,
    may_listen: impl Fn(SocketAddr) -> Result<(), ServeError>,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address: address.to_owned(), source };
    // Each address that the name stands for must be allowed: which one is bound is the system's choice.
    let resolved: Vec<_> = tokio::net::lookup_host(address).await.map_err(failed)?.collect();
    for address in &resolved {
        may_listen(*address)?;
    }
    let listener = TcpListener::bind(resolved.as_slice()).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ServeError::System(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
