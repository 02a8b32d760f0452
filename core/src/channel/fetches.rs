//! Windows asked for: what of them is there already, and what is kept until the answer comes.

use super::Channel;
use super::loaded::Loaded;
use crate::window::Window;
use crate::wire::Have;

impl Channel {
    /// Notes that a window is asked for, and says what this replica has of it. Until the answer
    /// comes its live changes are kept.
    pub fn fetch_started(&mut self, window: Window) -> Have {
        self.flush();
        self.fetching.entry(window).or_default();
        let generation = self.directory.get(window).map_or(0, |entry| entry.generation);
        let loaded = self.windows.get(&window).filter(|loaded| loaded.generation == generation);
        let (messages_seq, annotations_seq) = loaded.map_or((0, 0), Loaded::seqs);
        Have { window, generation, messages_seq, annotations_seq }
    }

    /// Number of windows asked for and not answered.
    #[must_use]
    pub fn fetching_len(&self) -> usize {
        self.fetching.len()
    }

    /// Gives every fetch up: the answers are not coming. A loaded window whose changes were kept for
    /// one is behind from then on, so that the next view asks for it again.
    pub fn fetches_failed(&mut self) {
        self.fetching.clear();
    }

    /// Gives every fetch up for good: the relay would not answer. The windows are not asked for again
    /// on this connection.
    pub(crate) fn fetches_refused(&mut self) {
        let windows: Vec<_> = std::mem::take(&mut self.fetching).into_keys().collect();
        for window in &windows {
            let text = "the relay would not send the window".to_owned();
            self.problems.push(super::Problem { window: *window, hash: None, text });
        }
        self.damaged.extend(windows);
    }

    /// Whether a push is on its way.
    #[must_use]
    pub fn is_pushing(&self, reference: u64) -> bool {
        self.outbox.is_pushing(reference) || self.notes.is_pushing(reference)
    }
}
