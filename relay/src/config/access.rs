//! Settings of access: the mode, users with their password hashes, keys that sign tokens.
//!
//! Nothing is read or checked here: [`crate::access::Access::from_config`] does that.

use crate::access::Secret;
use crate::identity::{ChannelGrant, Right};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// How users are told apart.
    pub mode: AccessMode,
    /// Lets `open` mode listen on an address that others can reach.
    pub open_to_anyone: bool,
    /// `token` mode: the relay's name in the `aud` of tokens. Without it a token that has an `aud`
    /// is meant for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// `basic` mode: who may connect.
    #[serde(default)]
    pub users: Vec<UserConfig>,
    /// `token` mode: the keys that tokens may be signed with.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
}

/// How users are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccessMode {
    /// No credentials: names are taken as given.
    #[default]
    Open,
    /// Names and passwords; the hashes are in the configuration.
    Basic,
    /// Signed tokens (JWT) that say who, where and for how long.
    Token,
}

/// A user of `basic` mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// The user's name, 1-255 bytes.
    pub name: String,
    /// The password's Argon2id hash (`backscroll hash-password`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<Secret>,
    /// A file with the hash, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash_file: Option<PathBuf>,
    /// Which channels; all when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<ChannelGrant>>,
    /// What else the user may do.
    #[serde(default)]
    pub rights: Vec<Right>,
}

/// A key of `token` mode. Its algorithm is the only one that a token signed with it may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The `kid` of tokens that are signed with it.
    pub kid: String,
    /// How they are signed.
    pub algorithm: KeyAlgorithm,
    /// HS256: the secret, at least 32 bytes; at best 32 random ones as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// HS256: a file with the secret, instead; white space around it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// HS256: an environment variable with the secret, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// EdDSA: the Ed25519 public key, as PEM or as the `x` of its JWK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// EdDSA: a file with the public key, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256: who checks tokens can make them as well.
    HS256,
    /// Ed25519: who checks tokens cannot make them.
    EdDSA,
}
