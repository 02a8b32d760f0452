//! Settings of limits on connections and rates (references: relay 9).

use serde::{Deserialize, Serialize};

/// How much one connection, user or address may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// For whom the limits below hold.
    pub apply: Apply,
    /// Connections of one address at a time; of IPv6 of one /64 network.
    pub connections_per_address: u32,
    /// Sockets of one user at a time.
    pub connections_per_user: u32,
    /// New connections a second, over all.
    pub accepts_per_s: u32,
    /// New connections at once, over all.
    pub accepts_burst: u32,
    /// New connections a second of one address; of IPv6 of one /64 network.
    pub accepts_per_address_per_s: u32,
    /// New connections at once of one address.
    pub accepts_per_address_burst: u32,
    /// Frames a second on `/ws`, of one socket and of one user.
    pub ws_per_s: u32,
    /// Frames at once on `/ws`.
    pub ws_burst: u32,
    /// Frames a second on `/sync`, of one socket and of one user; more are read later.
    pub sync_per_s: u32,
    /// Frames at once on `/sync`.
    pub sync_burst: u32,
    /// HTTP requests a second of one address, upgrades included.
    pub http_per_s: u32,
    /// HTTP requests at once.
    pub http_burst: u32,
    /// Wrong credentials a minute of one address.
    pub auth_failures_per_minute: u32,
    /// Wrong credentials at once.
    pub auth_failures_burst: u32,
    /// Channels that one socket may follow. This one holds for everybody.
    pub channels_per_socket: usize,
    /// MiB of answers, over all connections, that clients asked for and have not taken yet; further
    /// ones are refused with `retry`; 0 is without bound. This one holds for everybody.
    pub answers_mib: u32,
}

/// For whom limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// For everybody but peers on loopback; in `open` mode for nobody (design 8.2).
    #[default]
    Auto,
    /// For everybody.
    Always,
    /// For nobody.
    Never,
}

impl LimitsConfig {
    /// Bytes of answers that may wait to be taken.
    pub(crate) fn answer_bytes(&self) -> usize {
        let bytes = u64::from(self.answers_mib) << 20;
        if bytes == 0 { usize::MAX } else { usize::try_from(bytes).unwrap_or(usize::MAX) }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            apply: Apply::Auto,
            connections_per_address: 100,
            connections_per_user: 20,
            accepts_per_s: 500,
            accepts_burst: 1_000,
            accepts_per_address_per_s: 50,
            accepts_per_address_burst: 200,
            ws_per_s: 20,
            ws_burst: 60,
            sync_per_s: 100,
            sync_burst: 400,
            http_per_s: 50,
            http_burst: 200,
            auth_failures_per_minute: 10,
            auth_failures_burst: 10,
            channels_per_socket: 1_024,
            answers_mib: 256,
        }
    }
}
