//! The configuration file as TOML, read so that no error quotes a line of it: a line may hold a secret.

use super::ConfigError;
use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};
use std::path::{Path, PathBuf};

/// A file that is TOML.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    table: toml::Table,
}

impl File {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or is no TOML.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let table = text.parse().map_err(|error: toml::de::Error| {
            // The message tells what is expected; the error as text would quote the line as well.
            let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
            let what = error.message().to_owned();
            ConfigError::Syntax { path: path.to_owned(), line, column, what }
        })?;
        Ok(Self { path: path.to_owned(), table })
    }
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::from("TOML file", &*self.path)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.table).data()
    }
}
