//! New windows per author and hour: what keeps one author from cutting a channel into dust.

use crate::limits::{
    AUTHORS_COUNTED_MAX, NEW_WINDOW_PER_MESSAGES, NEW_WINDOWS_ALLOWANCE, NEW_WINDOWS_SPAN_MS,
};
use std::collections::HashMap;

/// Counts since each author's hour began. In memory only: a restart forgives.
#[derive(Debug, Default)]
pub(super) struct Quota {
    authors: HashMap<String, Hour>,
}

#[derive(Debug, Default)]
struct Hour {
    began_ms: u64,
    windows: u64,
    messages: u64,
}

impl Hour {
    const fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.began_ms) >= NEW_WINDOWS_SPAN_MS
    }
}

impl Quota {
    /// Whether `user` may open another window.
    pub(super) fn allows_window(&self, user: &str, now_ms: u64) -> bool {
        self.authors.get(user).is_none_or(|hour| {
            hour.is_over(now_ms)
                || hour.windows < NEW_WINDOWS_ALLOWANCE + hour.messages / NEW_WINDOW_PER_MESSAGES
        })
    }

    /// Counts what `user` wrote.
    pub(super) fn count(&mut self, user: &str, messages: u64, windows: u64, now_ms: u64) {
        if let Some(hour) = self.authors.get_mut(user) {
            if hour.is_over(now_ms) {
                *hour = Hour { began_ms: now_ms, ..Hour::default() };
            }
            hour.messages += messages;
            hour.windows += windows;
            return;
        }
        if self.authors.len() >= AUTHORS_COUNTED_MAX {
            self.authors.retain(|_, hour| !hour.is_over(now_ms));
        }
        if self.authors.len() >= AUTHORS_COUNTED_MAX {
            // Too many at once to tell them apart: all begin anew.
            self.authors.clear();
        }
        self.authors.insert(user.to_owned(), Hour { began_ms: now_ms, windows, messages });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_bounded_by_the_hour_and_by_what_is_written() {
        let mut quota = Quota::default();
        for _ in 0..NEW_WINDOWS_ALLOWANCE {
            assert!(quota.allows_window("ada", 1_000));
            quota.count("ada", 1, 1, 1_000);
        }
        assert!(!quota.allows_window("ada", 1_000));
        assert!(quota.allows_window("bob", 1_000));
        quota.count("ada", NEW_WINDOW_PER_MESSAGES, 0, 2_000);
        assert!(quota.allows_window("ada", 2_000));
        quota.count("ada", 0, 1, 2_000);
        assert!(!quota.allows_window("ada", 2_000));
        assert!(quota.allows_window("ada", 1_000 + NEW_WINDOWS_SPAN_MS));
    }
}
