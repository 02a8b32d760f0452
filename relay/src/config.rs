//! The relay's configuration: flags over environment over TOML, an unknown key is an error.
//!
//! The command line only fills [`Overrides`]; everything else about settings is here. Environment
//! variables are `BACKSCROLL_SECTION__KEY`, as `BACKSCROLL_SERVER__LISTEN` (design 8.1).

mod access;
mod file;
mod limits;

pub use access::{AccessConfig, AccessMode, KeyAlgorithm, KeyConfig, UserConfig};
pub use limits::{Apply, LimitsConfig};

use crate::retention::Rule;
use figment::Figment;
use figment::providers::{Env, Serialized};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that can be set. [`Config::default`] is a relay on loopback, in `open` mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses, the demo app's files and connection bounds.
    pub server: ServerConfig,
    /// Where messages are kept.
    pub store: StoreConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// What is kept of attachments.
    pub blobs: BlobsConfig,
    /// How much one connection, user or address may ask for.
    pub limits: LimitsConfig,
    /// How logs are written.
    pub log: LogConfig,
    /// How long messages are kept; without a rule for its channel, for ever.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub retention: Vec<Rule>,
}

/// Addresses, the demo app's files and connection bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// `host:port` to serve on; port 0 takes a free one.
    pub listen: String,
    /// `host:port` for `/metrics`, away from the public address; `/metrics` is on `listen` without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<String>,
    /// Allow an `admin_listen` that others can reach: nobody is asked for a credential there.
    pub admin_open_to_anyone: bool,
    /// Folder of the demo app, served at `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<PathBuf>,
    /// Origins of web pages that may connect, as `https://chat.example.org`. With none: the same
    /// host, plus any loopback origin when the relay listens on loopback.
    pub origins: Vec<String>,
    /// Most connections at once; more are refused with 503.
    pub connections_max: usize,
    /// Proxies in front of the relay, as addresses or networks (`10.0.0.0/8`): their
    /// `X-Forwarded-For` says who the client is.
    pub trusted_proxies: Vec<String>,
    /// How long a stopping relay waits for its sockets to close, in seconds.
    pub drain_timeout_s: u64,
}

/// Where messages are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Folder of the store; made if missing.
    pub data: PathBuf,
    /// MiB of the disk that stay free: below it writes must wait and the relay is not ready.
    pub disk_reserve_mib: u64,
}

/// What is kept of attachments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobsConfig {
    /// Bytes that a user may store in all; 0 takes none.
    pub user_quota_bytes: u64,
}

/// How logs are written; always to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `tracing` filter directives, as `info` or `backscroll_relay=debug,info`.
    pub filter: String,
    /// One JSON object or one plain line per event.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8787".to_owned(),
            admin_listen: None,
            admin_open_to_anyone: false,
            web: None,
            origins: Vec::new(),
            connections_max: 10_000,
            trusted_proxies: Vec::new(),
            drain_timeout_s: 10,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { data: PathBuf::from("./backscroll-data"), disk_reserve_mib: 256 }
    }
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self { user_quota_bytes: 1 << 30 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// What the command line sets; `None` leaves a setting to the environment, the file or its default.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--web`
    pub web: Option<PathBuf>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--open-to-anyone`
    pub open_to_anyone: Option<bool>,
    /// `--log`
    pub log_filter: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file is not there.
    #[error("there is no configuration file {}", .0.display())]
    NoFile(PathBuf),
    /// The configuration file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is no TOML. The line itself is not quoted: it may hold a secret.
    #[error("{}: line {line}, column {column}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A file, an environment variable or a flag has an unknown key or a wrong value.
    #[error("the configuration is wrong")]
    Wrong(#[source] Box<figment::Error>),
    /// The result cannot be shown as TOML.
    #[error("the configuration cannot be written as TOML")]
    Show(#[source] toml::ser::Error),
}

impl Config {
    /// The configuration of `file`, overruled by the environment, overruled by `overrides`.
    ///
    /// # Errors
    /// The file is missing, a key is unknown, or a value has the wrong type.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            // Without this check figment takes a missing file for an empty one.
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.to_owned()));
            }
            figment = figment.merge(file::File::read(file)?);
        }
        // Only names with a section are settings: `BACKSCROLL_BIN` may be anybody's.
        let settings = Env::prefixed("BACKSCROLL_").filter(|key| key.as_str().contains("__"));
        figment = figment.merge(settings.split("__"));
        overrides.apply(figment).extract().map_err(|error| ConfigError::Wrong(Box::new(error)))
    }

    /// The configuration as TOML, for `--print-config`; secrets are hidden.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(ConfigError::Show)
    }
}

impl Overrides {
    fn apply(&self, figment: Figment) -> Figment {
        let figment = set(figment, "server.listen", self.listen.as_ref());
        let figment = set(figment, "server.admin_listen", self.admin_listen.as_ref());
        let figment = set(figment, "server.web", self.web.as_ref());
        let figment = set(figment, "store.data", self.data.as_ref());
        let figment = set(figment, "access.open_to_anyone", self.open_to_anyone);
        set(figment, "log.filter", self.log_filter.as_ref())
    }
}

fn set(figment: Figment, key: &str, value: Option<impl Serialize>) -> Figment {
    match value {
        Some(value) => figment.merge(Serialized::default(key, value)),
        None => figment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs with a clean environment of its own; figment's jail holds a lock meanwhile.
    #[expect(clippy::result_large_err, reason = "the jail's signature")]
    fn in_jail(test: impl FnOnce(&mut figment::Jail)) {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            test(jail);
            Ok(())
        });
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        in_jail(|jail| {
            let toml = "[server]\nlisten = \"file:1\"\ndrain_timeout_s = 3\n[store]\ndata = \"f\"";
            jail.create_file("relay.toml", toml).unwrap();
            jail.set_env("BACKSCROLL_SERVER__LISTEN", "env:2");
            jail.set_env("BACKSCROLL_STORE__DATA", "e");
            let flags = Overrides { data: Some("flag".into()), ..Overrides::default() };
            let config = Config::load(Some(Path::new("relay.toml")), &flags).unwrap();
            assert_eq!(config.store.data, Path::new("flag"));
            assert_eq!(config.server.listen, "env:2");
            assert_eq!(config.server.drain_timeout_s, 3);
            assert_eq!(config.access, AccessConfig::default());
        });
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        in_jail(|jail| {
            jail.create_file("relay.toml", "[server]\nlissen = \"x\"").unwrap();
            let error = Config::load(Some(Path::new("relay.toml")), &Overrides::default());
            assert!(format!("{:?}", error.unwrap_err()).contains("lissen"));
        });
        in_jail(|jail| {
            jail.set_env("BACKSCROLL_STORE__DATUM", "x");
            let error = Config::load(None, &Overrides::default());
            assert!(format!("{:?}", error.unwrap_err()).contains("datum"));
        });
    }

    #[test]
    fn a_missing_file_is_an_error() {
        in_jail(|_| {
            let error = Config::load(Some(Path::new("none.toml")), &Overrides::default());
            assert!(matches!(error, Err(ConfigError::NoFile(_))));
        });
    }

    #[test]
    fn access_and_limits_are_read_and_secrets_are_not_printed() {
        in_jail(|jail| {
            let toml = r#"
                [access]
                mode = "token"
                [[access.keys]]
                kid = "k"
                algorithm = "HS256"
                secret = "tuna-melt"
                [limits]
                apply = "always"
                ws_per_s = 5
            "#;
            jail.create_file("relay.toml", toml).unwrap();
            jail.set_env("BACKSCROLL_LIMITS__WS_BURST", "7");
            let config =
                Config::load(Some(Path::new("relay.toml")), &Overrides::default()).unwrap();
            assert_eq!(config.access.keys[0].secret.as_ref().unwrap().reveal(), "tuna-melt");
            assert_eq!((config.limits.ws_per_s, config.limits.ws_burst), (5, 7));
            assert_eq!(config.limits.connections_per_user, 20);
            let printed = format!("{}{config:?}", config.to_toml().unwrap());
            assert!(printed.contains("(hidden)") && !printed.contains("tuna"), "{printed}");
        });
        in_jail(|jail| {
            let number = "[[access.keys]]\nkid = \"k\"\nalgorithm = \"HS256\"\nsecret = 4711";
            jail.create_file("relay.toml", number).unwrap();
            let error = Config::load(Some(Path::new("relay.toml")), &Overrides::default());
            let error = format!("{:?}", error.unwrap_err());
            assert!(!error.contains("4711"), "{error}");
        });
    }

    #[test]
    fn an_error_of_syntax_says_where_and_does_not_quote_the_line() {
        for line in [
            "secret = tuna-melt",
            "secret = \"tuna-melt",
            "secret = 'tuna' melt",
            "tuna melt = 1",
            "secret = \"tuna\\q\"",
            "\u{e9}\u{e9} = = 'tuna'",
        ] {
            in_jail(|jail| {
                jail.create_file("relay.toml", &format!("# a\n[[access.keys]]\n{line}\n")).unwrap();
                let error = Config::load(Some(Path::new("relay.toml")), &Overrides::default());
                let error = error.unwrap_err();
                let shown = format!("{error}{error:?}");
                assert!(shown.contains("relay.toml: line 3, column "), "{shown}");
                assert!(!shown.contains("tuna") && !shown.contains("melt"), "{shown}");
            });
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        in_jail(|jail| {
            let mut config = Config::default();
            config.server.web = Some("dist".into());
            config.server.origins = vec!["https://chat.example.org".to_owned()];
            jail.create_file("printed.toml", &config.to_toml().unwrap()).unwrap();
            let again = Config::load(Some(Path::new("printed.toml")), &Overrides::default());
            assert_eq!(again.unwrap(), config);
        });
    }
}
