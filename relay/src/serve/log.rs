//! Logs: by `tracing`, to standard error.

use super::ServeError;
use crate::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Libraries that write what passes through them into the log where it asks for everything: frames
/// with their payload, heads with their credentials. They may say what goes wrong.
const QUIET: [&str; 4] =
    ["tungstenite=info", "tokio_tungstenite=info", "hyper=info", "hyper_util=info"];

/// Installs the log of this process; does nothing if there is one.
pub(super) fn install(config: &LogConfig) -> Result<(), ServeError> {
    let mut filter = EnvFilter::try_new(&config.filter)?;
    for directive in QUIET {
        filter = filter.add_directive(directive.parse()?);
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails only where a log is installed, as in tests that start several relays.
    let _ = match config.format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    Ok(())
}
