//! Windows asked for: what open views need, newest request first, each window once; after that, what
//! their readers scroll towards. What is not on its way yet when a view moves on is not asked for.

use super::{Client, Now, Slot, SlotStage, ViewId};
use crate::viewport::{At, Query};
use crate::window::Window;
use crate::wire::{ClientFrame, encode_client};

/// Windows on their way at a time: enough to fill a connection, few enough that the view of the
/// moment does not wait for those of the moments before.
const FETCH_OUT_MAX: usize = 8;

/// How many more may be on their way for the view moved last, where its reader stopped: a reader who
/// drags the scrollbar leaves one place after the other, and waits for the last.
const RESERVED_OUT_MAX: usize = 8;

/// How long a view stands still before its reader has stopped, in ms: longer than the steps of a drag.
const REST_MS: u64 = 100;

/// Windows on their way at a time beyond which nothing is fetched ahead.
const AHEAD_OUT_MAX: usize = 2;

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

    /// What views need, newest request first, then what their readers scroll towards.
    pub(super) fn queries_of_views(&self) -> Vec<(String, Query)> {
        let views = self.views_by_move().into_iter().filter_map(|id| self.views.get(&id));
        let views: Vec<_> = views.collect();
        let mut queries = Vec::new();
        for view in &views {
            queries.extend(view.queries().map(|query| (view.channel.clone(), query)));
        }
        let ahead = views.iter().filter_map(|view| Some((view.channel.clone(), view.ahead?)));
        queries.extend(ahead);
        queries
    }

    fn views_by_move(&self) -> Vec<ViewId> {
        let mut views: Vec<_> = self.views.iter().map(|(id, view)| (view.moved, *id)).collect();
        views.sort_unstable();
        views.into_iter().rev().map(|(_, id)| id).collect()
    }

    /// When a view that waits for its reader to stop is to be looked at again, in steady ms.
    pub(super) fn next_rest_ms(&self) -> Option<u64> {
        self.views.values().filter_map(|view| view.rest_at_ms).min()
    }

    /// Asks for what views need and nobody asked for yet.
    pub(super) fn fetch_all(&mut self, now: Now) {
        self.wake_rested(now);
        let views = self.views_by_move();
        let mut first_of: Vec<String> = Vec::new();
        for id in &views {
            let Some(view) = self.views.get_mut(id) else { continue };
            let Some(slot) = self.slots.get_mut(&view.channel) else { continue };
            let is_first = !first_of.contains(&view.channel);
            if is_first {
                first_of.push(view.channel.clone());
            }
            if slot.stage != SlotStage::Open || !slot.hungry {
                continue;
            }
            let mut windows: Vec<Window> = Vec::new();
            for query in view.queries() {
                let wanted = slot.replica.wanted(&query).unwrap_or_default();
                windows.extend(wanted);
            }
            let mut seen = std::collections::BTreeSet::new();
            windows.retain(|window| seen.insert(*window));
            let out = slot.replica.fetching_len();
            let rest_ms = view.moved_ms + REST_MS;
            let mut room = FETCH_OUT_MAX.saturating_sub(out);
            if room == 0 && is_first && !windows.is_empty() {
                if rest_ms <= now.steady_ms {
                    room = (FETCH_OUT_MAX + RESERVED_OUT_MAX).saturating_sub(out);
                } else {
                    view.rest_at_ms = Some(rest_ms);
                }
            }
            windows.truncate(room);
            let channel = view.channel.clone();
            self.ask_for(&channel, &windows, now);
        }
        self.fetch_for_notes(now);
        for id in views {
            self.fetch_ahead(id, now);
        }
        for slot in self.slots.values_mut() {
            // A channel whose fetches are all out becomes hungry again with the next answer.
            slot.hungry &= slot.stage != SlotStage::Open;
        }
    }

    fn wake_rested(&mut self, now: Now) {
        for view in self.views.values_mut() {
            if view.rest_at_ms.take_if(|at_ms| *at_ms <= now.steady_ms).is_some()
                && let Some(slot) = self.slots.get_mut(&view.channel)
            {
                slot.hungry = true;
            }
        }
    }

    fn ask_for(&mut self, channel: &str, windows: &[Window], now: Now) {
        let Some(slot) = self.slots.get_mut(channel) else { return };
        for windows in windows.chunks(self.connection.fetch_windows_max.max(1)) {
            let windows = windows.iter().map(|window| slot.replica.fetch_started(*window));
            let (reference, channel) = (self.next_reference, channel.to_owned());
            self.next_reference += 1;
            let fetch = ClientFrame::Fetch { reference, channel, windows: windows.collect() };
            self.frames.push_back(encode_client(&fetch));
            self.connection.asked(now.steady_ms);
        }
    }

    /// Asks for the windows of messages that something was said of, and of the last message that was
    /// read.
    fn fetch_for_notes(&mut self, now: Now) {
        let hungry = |slot: &&mut Slot| slot.stage == SlotStage::Open && slot.hungry;
        let mut asked = Vec::new();
        for (name, slot) in &mut self.slots {
            let Some(slot) = Some(slot).filter(hungry) else { continue };
            let room = FETCH_OUT_MAX.saturating_sub(slot.replica.fetching_len());
            let mut windows = if room > 0 { slot.replica.wanted_by_notes() } else { Vec::new() };
            if room > 0 && slot.is_wanted {
                let around = slot.replica.wanted_by_unread().into_iter();
                let around = around.filter(|window| !windows.contains(window));
                windows.extend(around.collect::<Vec<_>>());
            }
            windows.truncate(room);
            asked.push((name.clone(), windows));
        }
        for (channel, windows) in asked {
            self.ask_for(&channel, &windows, now);
        }
    }

    /// Asks for what a view's reader scrolls towards, while hardly anything else is on its way.
    fn fetch_ahead(&mut self, id: ViewId, now: Now) {
        let Some(view) = self.views.get_mut(&id) else { return };
        let Some(slot) = self.slots.get_mut(&view.channel) else { return };
        let room = AHEAD_OUT_MAX.saturating_sub(slot.replica.fetching_len());
        let Some(query) = view.ahead.filter(|_| room > 0 && slot.stage == SlotStage::Open) else {
            return;
        };
        let mut windows = slot.replica.wanted(&query).unwrap_or_default();
        if windows.len() <= room {
            // Once is enough: what does not stay loaded would be asked for again and again.
            view.ahead = None;
        }
        windows.truncate(room);
        let channel = view.channel.clone();
        self.ask_for(&channel, &windows, now);
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
            let views = self.views.values().filter(|view| view.channel == *name);
            let moved = views.map(|view| view.moved_query).max().unwrap_or(u64::MAX);
            for view in self.views.values().filter(|view| view.channel == *name) {
                for query in view.queries() {
                    // Asking touches what the view needs, so that it stays.
                    let _ = slot.replica.wanted(&query);
                }
            }
            let own = slot.replica.memory_bytes();
            let target = own.saturating_sub(bytes.saturating_sub(budget));
            slot.replica.evict(target, before + 1, moved);
            bytes -= own - slot.replica.memory_bytes();
        }
    }
}
