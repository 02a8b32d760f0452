//! Reads of the store from async code: on blocking threads, a bounded number at a time.

use crate::metrics;
use crate::reader::{ReadError, Reader, View};
use crate::refused::Refused;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Reads at a time. Most are answered from caches in microseconds; more threads than this would
/// only wait for the same cores or the same disk.
const READS_MAX: usize = 16;

/// Runs reads, bounded.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    reader: Reader,
    permits: Arc<Semaphore>,
}

/// Why a read has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// The question is wrong.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Reads {
    /// Reads of `reader`.
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, permits: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Runs `read` on one snapshot, taken after this was called; waits while too many others run.
    ///
    /// # Errors
    /// What `read` refuses; `retry` where the store fails.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, Unread> + Send + 'static,
    ) -> Result<T, Refused> {
        // The semaphore is never closed, and the runtime's end is everybody's.
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return Err(Refused::retry());
        };
        let reader = self.reader.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = read(&reader.view());
            drop(permit);
            result
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Unread::Refused(refused))) => Err(refused),
            Ok(Err(Unread::Read(error))) => Err(refused_of(&error)),
            Err(error) => {
                tracing::error!(%error, "a read ended early");
                Err(Refused::retry())
            }
        }
    }
}

fn refused_of(error: &ReadError) -> Refused {
    match error {
        ReadError::Query(error) => error.clone().into(),
        error => {
            if error.is_damage() {
                metrics::damaged_row();
            }
            tracing::error!(error = %Causes(error), "a read failed");
            Refused::retry()
        }
    }
}

/// An error and everything behind it, on one line.
pub(crate) struct Causes<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
