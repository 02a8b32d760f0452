//! Tokens (JWT, RFC 7519): signed grants that say who, where and for how long.
//!
//! ```json
//! {"sub": "ada", "exp": 1790000000, "nbf": 1780000000,
//!  "channels": [{"name": "team-*", "access": "write"}, {"name": "news", "access": "read"}],
//!  "rights": ["moderate"]}
//! ```
//! `sub`, `exp` and `channels` must be there. The key is chosen by the header's `kid`, and the
//! algorithm is the key's: what the header says must agree and decides nothing.

mod crypto;

use super::denied::Denied;
use super::setup::AccessError;
use crate::config::{AccessConfig, KeyAlgorithm, KeyConfig};
use crate::identity::{ChannelGrant, Channels, Identity, Right};
use backscroll_core::limits::TOKEN_BYTES_MAX;
use backscroll_core::message::check_user;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Shortest secret of HS256, in bytes (RFC 7518 3.2): a shorter one is guessed off line.
pub const SECRET_BYTES_MIN: usize = 32;

/// How much the clock of whoever makes tokens may be ahead, in seconds. `exp` has no leeway: the
/// socket is closed in that second.
const NOT_BEFORE_LEEWAY_S: u64 = 30;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// When it ends, in seconds since the Unix epoch.
    pub exp: u64,
    /// When it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// For whom it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Where the user may read or write.
    pub channels: Vec<ChannelGrant>,
    /// What else the user may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rights: Vec<Right>,
}

/// The keys of `token` mode.
#[derive(Debug)]
pub struct Tokens {
    keys: Vec<Key>,
    audience: Option<String>,
}

#[derive(Debug)]
struct Key {
    kid: String,
    algorithm: Algorithm,
    verifies: DecodingKey,
    /// Secrets make what they verify.
    signs: Option<EncodingKey>,
}

impl Tokens {
    /// Reads the keys of `config`.
    ///
    /// # Errors
    /// There is none, two have one `kid`, or one is missing, malformed or too short.
    pub fn new(config: &AccessConfig) -> Result<Self, AccessError> {
        crypto::install();
        let keys = config.keys.iter().map(Key::new).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(AccessError::NoKeys);
        }
        for (n, key) in keys.iter().enumerate() {
            if keys.iter().skip(n + 1).any(|other| other.kid == key.kid) {
                return Err(AccessError::Twice(key.kid.clone()));
            }
        }
        Ok(Self { keys, audience: config.audience.clone() })
    }

    /// Who shows `token` at `now_ms`.
    ///
    /// # Errors
    /// It is not one of these keys', or not valid now.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, Denied> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| denied(error.kind()))?;
        // RFC 7515 4.1.11: extensions that must be understood are not.
        if header.crit.is_some() {
            return Err(Denied::Malformed);
        }
        let key = self.key(header.kid.as_deref()).ok_or(Denied::UnknownKey)?;
        let mut validation = Validation::new(key.algorithm);
        // The times are checked below, each with its own leeway.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        let claims = jsonwebtoken::decode::<ReadClaims>(token, &key.verifies, &validation)
            .map_err(|error| denied(error.kind()))?
            .claims;
        claims.identity(now_ms)
    }

    /// Without a `kid` there must be no choice.
    fn key(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid == kid),
        }
    }

    /// Signs `claims` with the key `kid`, or the first that can sign.
    ///
    /// # Errors
    /// No key of that `kid` can sign.
    pub fn mint(&self, claims: &Claims, kid: Option<&str>) -> Result<String, AccessError> {
        let mut keys = self.keys.iter().filter(|key| kid.is_none_or(|kid| key.kid == kid));
        let key = keys.find_map(|key| Some((key, key.signs.as_ref()?)));
        let (key, signs) = key.ok_or(AccessError::CannotSign)?;
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.kid.clone());
        jsonwebtoken::encode(&header, claims, signs).map_err(|_| AccessError::CannotSign)
    }

    /// The audience that tokens must name.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }
}

/// Claims as they are read: `aud` may be a list, and is checked with the signature.
#[derive(Deserialize)]
struct ReadClaims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    channels: Vec<ChannelGrant>,
    #[serde(default)]
    rights: Vec<Right>,
}

impl ReadClaims {
    fn identity(self, now_ms: u64) -> Result<Identity, Denied> {
        check_user(&self.sub).map_err(|_| Denied::Claims)?;
        let expires_ms = ms(self.exp).ok_or(Denied::Claims)?;
        if expires_ms <= now_ms {
            return Err(Denied::Expired);
        }
        let from_ms = self.nbf.map(|nbf| ms(nbf).ok_or(Denied::Claims)).transpose()?.unwrap_or(0);
        if from_ms > now_ms.saturating_add(NOT_BEFORE_LEEWAY_S * 1_000) {
            return Err(Denied::NotYet);
        }
        Ok(Identity {
            user: self.sub,
            rights: self.rights.into_iter().collect(),
            channels: Channels::Granted(self.channels.into()),
            expires_ms: Some(expires_ms),
        })
    }
}

/// A NumericDate (RFC 7519 2), which may have a fraction, in ms.
fn ms(seconds: f64) -> Option<u64> {
    // Beyond 2^53 ms a date means nothing; `as` is exact below.
    let ms = (seconds * 1_000.0).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (0.0..9_007_199_254_740_992.0).contains(&ms).then_some(ms as u64)
}

const fn denied(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::InvalidSignature => Denied::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Denied::Algorithm,
        ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => Denied::Claims,
        _ => Denied::Malformed,
    }
}

impl Key {
    fn new(config: &KeyConfig) -> Result<Self, AccessError> {
        let kid = config.kid.clone();
        match config.algorithm {
            KeyAlgorithm::HS256 => {
                let secret = super::setup::secret_of(config)?;
                let secret = secret.reveal().as_bytes();
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(AccessError::ShortSecret(kid));
                }
                Ok(Self {
                    kid,
                    algorithm: Algorithm::HS256,
                    verifies: DecodingKey::from_secret(secret),
                    signs: Some(EncodingKey::from_secret(secret)),
                })
            }
            KeyAlgorithm::EdDSA => {
                let text = super::setup::public_key_of(config)?;
                let key =
                    public_key(text.trim()).ok_or_else(|| AccessError::BadKey(kid.clone()))?;
                let verifies = DecodingKey::from_ed_der(key.as_bytes());
                Ok(Self { kid, algorithm: Algorithm::EdDSA, verifies, signs: None })
            }
        }
    }
}

/// A public key as PEM, or as the `x` of its JWK. One of small order verifies anything: no.
fn public_key(text: &str) -> Option<VerifyingKey> {
    let key = if text.starts_with("-----BEGIN") {
        VerifyingKey::from_public_key_pem(text).ok()?
    } else {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()?
    };
    (!key.is_weak()).then_some(key)
}

#[cfg(test)]
mod tests;
