//! Reading what access is set up with: secrets from files and the environment, and what is wrong
//! about them. No error quotes a secret.

use super::secret::Secret;
use crate::config::{KeyAlgorithm, KeyConfig, UserConfig};
use std::path::{Path, PathBuf};

/// Why access cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Users or keys are configured, and the mode does not ask for them.
    #[error("access.mode is {mode}, and access.{unused} is set: nobody would be asked for it")]
    Unused {
        /// The mode.
        mode: &'static str,
        /// What is set in vain.
        unused: &'static str,
    },
    /// `basic` mode without users.
    #[error("access.mode is basic, and access.users is empty")]
    NoUsers,
    /// `token` mode without keys.
    #[error("access.mode is token, and access.keys is empty")]
    NoKeys,
    /// Two keys or users of one name.
    #[error("access: {0:?} is there twice")]
    Twice(String),
    /// A secret that can be guessed.
    #[error("access.keys: the secret of {0:?} is shorter than 32 bytes")]
    ShortSecret(String),
    /// Not a public key.
    #[error("access.keys: {0:?} is no Ed25519 public key (PEM, or the x of its JWK)")]
    BadKey(String),
    /// Not a password's hash.
    #[error("access.users: {0:?} has no Argon2id hash; `backscroll hash-password` makes one")]
    BadHash(String),
    /// Not a user's name.
    #[error("access.users: {0:?} is no user's name (1-255 bytes, without a colon)")]
    BadName(String),
    /// No or more than one source of a key or a hash.
    #[error("access: {0:?} needs exactly one of the settings for its kind of key or hash")]
    OneSource(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An environment variable is not there.
    #[error("the environment has no {0}")]
    NoVariable(String),
    /// No key that tokens can be made with.
    #[error("no key of the configuration can sign: tokens are made with an HS256 secret")]
    CannotSign,
    /// A password that cannot be one.
    #[error("a password has 1 to 1,024 bytes")]
    BadPassword,
    /// Randomness or password hashing failed.
    #[error("the system does not let passwords be hashed")]
    System,
}

/// The secret of an HS256 key.
pub(super) fn secret_of(key: &KeyConfig) -> Result<Secret, AccessError> {
    debug_assert_eq!(key.algorithm, KeyAlgorithm::HS256);
    if key.public_key.is_some() || key.public_key_file.is_some() {
        return Err(AccessError::OneSource(key.kid.clone()));
    }
    match (&key.secret, &key.secret_file, &key.secret_env) {
        (Some(secret), None, None) => Ok(secret.clone()),
        (None, Some(file), None) => read(file).map(Secret::new),
        (None, None, Some(name)) => {
            let value = std::env::var(name).map_err(|_| AccessError::NoVariable(name.clone()))?;
            Ok(Secret::new(value.trim()))
        }
        _ => Err(AccessError::OneSource(key.kid.clone())),
    }
}

/// The public key of an EdDSA key, as text.
pub(super) fn public_key_of(key: &KeyConfig) -> Result<String, AccessError> {
    if key.secret.is_some() || key.secret_file.is_some() || key.secret_env.is_some() {
        return Err(AccessError::OneSource(key.kid.clone()));
    }
    match (&key.public_key, &key.public_key_file) {
        (Some(text), None) => Ok(text.clone()),
        (None, Some(file)) => read(file),
        _ => Err(AccessError::OneSource(key.kid.clone())),
    }
}

/// The hash of a user's password.
pub(super) fn hash_of(user: &UserConfig) -> Result<Secret, AccessError> {
    match (&user.password_hash, &user.password_hash_file) {
        (Some(hash), None) => Ok(hash.clone()),
        (None, Some(file)) => read(file).map(Secret::new),
        _ => Err(AccessError::OneSource(user.name.clone())),
    }
}

fn read(file: &Path) -> Result<String, AccessError> {
    let read = std::fs::read_to_string(file);
    let text = read.map_err(|source| AccessError::File { path: file.to_owned(), source })?;
    Ok(text.trim().to_owned())
}
