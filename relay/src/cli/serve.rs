//! `backscroll serve`: flags into the configuration, then the relay.

use super::{Failure, Outcome, output};
use backscroll_relay::config::{Config, Overrides};
use std::path::PathBuf;

/// Flags of `serve`; each overrules the environment and the file.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArguments {
    /// Address to serve on; port 0 takes a free one [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Folder of the store, made if missing [default: ./backscroll-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the demo app, served at /
    #[arg(long, value_name = "DIR")]
    web: Option<PathBuf>,
    /// Configuration as TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for /metrics, away from the public one
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Allow open mode (names taken as given) on an address that others can reach
    #[arg(long)]
    open_to_anyone: bool,
    /// Log filter, as `info` or `backscroll_relay=debug`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Print the configuration that results, as TOML, and end
    #[arg(long)]
    print_config: bool,
}

pub(super) fn run(arguments: &ServeArguments) -> Result<Outcome, Failure> {
    let config = Config::load(arguments.config.as_deref(), &arguments.overrides())?;
    if arguments.print_config {
        output::line(config.to_toml()?.trim_end())?;
        return Ok(Outcome::Clean);
    }
    backscroll_relay::serve::run(config)?;
    Ok(Outcome::Clean)
}

impl ServeArguments {
    fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            admin_listen: self.admin_listen.clone(),
            web: self.web.clone(),
            data: self.data.clone(),
            // A flag can only allow: its absence says nothing.
            open_to_anyone: self.open_to_anyone.then_some(true),
            log_filter: self.log.clone(),
        }
    }
}
