//! Windows asked for: what open views need, newest request first, each window once.

use super::{Client, Now, SlotStage};
use crate::viewport::{At, Query};
use crate::wire::{ClientFrame, encode_client};

/// Windows on their way at a time: enough to fill a connection, few enough that the view of the
/// moment does not wait for those of the moments before.
const FETCH_OUT_MAX: usize = 8;

/// How long windows that come with `opened` may take before they are asked for, in ms.
const EXPECT_MS: u64 = 5_000;

impl Client {
    /// Expects the windows of the newest messages, which the relay sends unasked after `opened`.
    pub(super) fn expect_newest(&mut self, channel: &str, now: Now) {
        let before = u64::from(self.options.newest);
        let Some(slot) = self.slots.get_mut(channel) else { return };
        let query = Query { at: At::Latest, before, after: 0 };
        let windows = slot.replica.wanted(&query).unwrap_or_default();
        for window in &windows {
            slot.replica.fetch_started(*window);
        }
        slot.expecting_until_ms = (!windows.is_empty()).then_some(now.steady_ms + EXPECT_MS);
    }

    /// Asks for what views need and nobody asked for yet.
    pub(super) fn fetch_all(&mut self, now: Now) {
        let mut views: Vec<_> = self.views.values().collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.moved));
        for view in views {
            let Some(slot) = self.slots.get_mut(&view.channel) else { continue };
            let room = FETCH_OUT_MAX.saturating_sub(slot.replica.fetching_len());
            if slot.stage != SlotStage::Open || !slot.hungry || room == 0 {
                continue;
            }
            let mut windows = slot.replica.wanted(&view.query).unwrap_or_default();
            windows.truncate(room.min(self.connection.fetch_windows_max));
            if windows.is_empty() {
                continue;
            }
            let have = |window| slot.replica.fetch_started(window);
            let windows = windows.into_iter().map(have).collect();
            let (reference, channel) = (self.next_reference, view.channel.clone());
            self.next_reference += 1;
            let fetch = ClientFrame::Fetch { reference, channel, windows };
            self.frames.push_back(encode_client(&fetch));
            self.connection.asked(now.steady_ms);
        }
        self.fetch_for_notes(now);
        for slot in self.slots.values_mut() {
            // A channel whose fetches are all out becomes hungry again with the next answer.
            slot.hungry &= slot.stage != SlotStage::Open;
        }
    }

    /// Asks for the windows of messages that something was said of.
    fn fetch_for_notes(&mut self, now: Now) {
        for (name, slot) in &mut self.slots {
            let room = FETCH_OUT_MAX.saturating_sub(slot.replica.fetching_len());
            if slot.stage != SlotStage::Open || !slot.hungry || room == 0 {
                continue;
            }
            let mut windows = slot.replica.wanted_by_notes();
            windows.truncate(room.min(self.connection.fetch_windows_max));
            if windows.is_empty() {
                continue;
            }
            let have = |window| slot.replica.fetch_started(window);
            let windows = windows.into_iter().map(have).collect();
            let (reference, channel) = (self.next_reference, name.clone());
            self.next_reference += 1;
            let fetch = ClientFrame::Fetch { reference, channel, windows };
            self.frames.push_back(encode_client(&fetch));
            self.connection.asked(now.steady_ms);
        }
    }

    /// Drops loaded windows that no view needs, least recently viewed first, to fit the budget.
    pub(super) fn evict(&mut self) {
        let mut bytes: u64 = self.slots.values().map(|slot| slot.replica.memory_bytes()).sum();
        let budget = self.options.segment_bytes_max;
        if bytes <= budget {
            return;
        }
        for (name, slot) in &mut self.slots {
            let before = slot.replica.queries();
            for view in self.views.values().filter(|view| view.channel == *name) {
                // Asking touches what the view needs, so that it stays.
                let _ = slot.replica.wanted(&view.query);
            }
            let own = slot.replica.memory_bytes();
            let target = own.saturating_sub(bytes.saturating_sub(budget));
            slot.replica.evict(target, before + 1);
            bytes -= own - slot.replica.memory_bytes();
        }
    }
}
