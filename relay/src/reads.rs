//! Reads of the store from async code: on blocking threads, a bounded number at a time.

use crate::budget::{Budget, Held};
use crate::limits::ANSWER_WAIT;
use crate::metrics;
use crate::reader::{ReadError, Reader, View};
use crate::refused::Refused;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Reads at a time. Most are answered from caches in microseconds; more threads than this would
/// only wait for the same cores or the same disk.
const READS_MAX: usize = 16;

/// Runs reads, bounded.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    reader: Reader,
    permits: Arc<Semaphore>,
    budget: Arc<Budget>,
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
    /// Reads of `reader`, whose answers count in `budget`.
    pub(crate) fn new(reader: Reader, budget: Arc<Budget>) -> Self {
        Self { reader, permits: Arc::new(Semaphore::new(READS_MAX)), budget }
    }

    /// What answers hold.
    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Runs a read whose answer waits for a client, and holds its bytes in the budget. How many they
    /// are is known when it is read; where they have no room it is let go, and read again when there
    /// is some. So no more are in memory beside the budget than there are reads at a time.
    ///
    /// # Errors
    /// What `read` refuses; `retry` where the store fails, or there is no room in time.
    pub(crate) async fn answer<T: Send + 'static>(
        &self,
        read: impl Fn(&View<'_>) -> Result<T, Unread> + Send + Sync + 'static,
        bytes_of: fn(&T) -> usize,
    ) -> Result<(T, Held), Refused> {
        self.answer_telling(read, bytes_of, |_| {}).await
    }

    /// The same, where `waits` is told when the wait for room begins and when it is over.
    ///
    /// # Errors
    /// As of [`Reads::answer`].
    pub(crate) async fn answer_telling<T: Send + 'static>(
        &self,
        read: impl Fn(&View<'_>) -> Result<T, Unread> + Send + Sync + 'static,
        bytes_of: fn(&T) -> usize,
        waits: impl Fn(bool) + Send,
    ) -> Result<(T, Held), Refused> {
        let (read, until) = (Arc::new(read), Instant::now() + ANSWER_WAIT);
        let mut room: Option<Held> = None;
        loop {
            let (read, budget, had) = (read.clone(), self.budget.clone(), room.take());
            let found = self.run(move |view| {
                let answer = read(view)?;
                let bytes = bytes_of(&answer);
                // It may not be what it was when room was made for it.
                drop(had);
                Ok(budget.hold(bytes).map(|held| (answer, held)).ok_or(bytes))
            });
            match found.await? {
                Ok(answer) => return Ok(answer),
                Err(bytes) => {
                    waits(true);
                    let held = self.budget.hold_until(bytes, until).await;
                    waits(false);
                    room = Some(held?);
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refused::Code;
    use crate::store::Store;
    use std::sync::Mutex;

    #[tokio::test]
    async fn whoever_asks_is_told_when_the_answer_waits_for_room() {
        let budget = Arc::new(Budget::new(1_000));
        let reader = Reader::new(Store::in_memory().unwrap(), Arc::default());
        let reads = Reads::new(reader, budget.clone());
        let told = Mutex::new(Vec::new());
        let ask = || {
            let waits = |waits| told.lock().unwrap().push(waits);
            reads.answer_telling(|_| Ok(600), |bytes| *bytes, waits)
        };
        let (_, held) = ask().await.unwrap();
        assert!(told.lock().unwrap().is_empty());
        assert_eq!(ask().await.unwrap_err().code, Code::Retry);
        assert_eq!(*told.lock().unwrap(), [true, false]);
        drop(held);
        drop(ask().await.unwrap());
        assert_eq!(budget.held(), 0);
    }
}
