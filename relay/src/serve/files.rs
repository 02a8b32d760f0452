//! How many files the process may open: every connection is one, and a relay without any left can
//! neither accept nor write.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections may take this share of the files, in percent; the rest is the store's.
const CONNECTIONS_PERCENT: u64 = 80;

/// Raises the limit on open files as far as the system lets us, and holds what was configured to it.
pub(super) fn connections_max(configured: usize) -> usize {
    let files = raised();
    let max = held_to(configured, files);
    if max < configured {
        tracing::warn!(
            files,
            configured,
            connections_max = max,
            "fewer connections than configured"
        );
    } else {
        tracing::info!(files, connections_max = max, "open files are enough");
    }
    max
}

/// The soft limit, at the hard one if that could be had; `None` is none.
fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Not asked for without need: a sandbox may kill who asks.
    if current.is_none() || current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files stays");
            current
        }
    }
}

fn held_to(configured: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return configured };
    let share = files / 100 * CONNECTIONS_PERCENT + files % 100 * CONNECTIONS_PERCENT / 100;
    configured.min(usize::try_from(share).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_the_store() {
        assert_eq!(held_to(10_000, Some(1_024)), 819);
        assert_eq!(held_to(10_000, Some(65_536)), 10_000);
        assert_eq!(held_to(10_000, None), 10_000);
        assert_eq!(held_to(usize::MAX, Some(u64::MAX)), usize::try_from(u64::MAX / 5 * 4).unwrap());
        assert_eq!(held_to(10, Some(0)), 1);
    }
}
