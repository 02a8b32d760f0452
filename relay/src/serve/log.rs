//! Logs: by `tracing`, to standard error.

use super::ServeError;
use crate::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Installs the log of this process; does nothing if there is one.
pub(super) fn install(config: &LogConfig) -> Result<(), ServeError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails only where a log is installed, as in tests that start several relays.
    let _ = match config.format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    Ok(())
}
