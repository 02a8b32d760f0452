//! What the writer keeps at hand of a channel in use. All of it can be read again from the store.
//!
//! It may be changed while a batch is open: if the batch fails, nothing more is ever written, and if
//! one command of it does, the channel is set back.

use crate::limits::{WRITER_AUTHORS_MAX, WRITER_WINDOWS_MAX};
use crate::ranks::Ranks;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId};
use crate::store::kv::{Family, Snapshot};
use crate::store::rows::{DirectoryRow, HeadRow, Row};
use crate::store::txn::Txn;
use backscroll_core::change::{ActorId16, MessageAuthor};
use backscroll_core::message::IdMaker;
use backscroll_core::window::Window;
use std::collections::HashMap;
use std::sync::Arc;

/// A channel in use.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: Arc<str>,
    /// Its number in keys; not on disk before its first change is.
    pub(crate) number: ChannelId,
    pub(crate) is_stored: bool,
    pub(crate) head: HeadRow,
    /// Makes the ids of messages that come without.
    pub(crate) ids: IdMaker,
    /// When it was last used, by the writer's count of uses.
    pub(crate) used: u64,
    windows: HashMap<Window, Option<DirectoryRow>>,
    ranks: Option<Ranks>,
    authors: HashMap<Window, (u64, MessageAuthor)>,
    author_uses: u64,
    /// Writes the relay's annotations.
    annotator: Option<ActorId16>,
}

/// What of a channel is set back when a command fails half-way.
#[derive(Debug)]
pub(super) struct Before {
    head: HeadRow,
    is_stored: bool,
}

impl Channel {
    /// Reads a channel; a new one gets the number `number`.
    pub(crate) fn load(
        rows: &dyn Snapshot,
        name: &str,
        new_number: impl FnOnce() -> ChannelId,
    ) -> Result<Self, StoreError> {
        let stored = rows.get(Family::Meta, &keys::channel_name(name))?;
        let is_stored = stored.is_some();
        let (number, head) = match stored {
            None => (new_number(), HeadRow::default()),
            Some(number) => {
                let number = keys::channel_of(&number)
                    .ok_or(StoreError::damaged(Family::Meta, "a channel has no number"))?;
                let head = rows
                    .get(Family::Meta, &keys::head(number))?
                    .ok_or(StoreError::damaged(Family::Meta, "a channel has no head"))?;
                (number, HeadRow::decode(&head)?)
            }
        };
        let mut ids = IdMaker::new();
        if let Some(newest) = head.newest {
            ids.observe(newest);
        }
        Ok(Self {
            name: name.into(),
            number,
            is_stored,
            head,
            ids,
            used: 0,
            windows: HashMap::new(),
            ranks: None,
            authors: HashMap::new(),
            author_uses: 0,
            annotator: None,
        })
    }

    /// What [`Self::set_back`] needs.
    pub(super) fn before(&self) -> Before {
        Before { head: self.head.clone(), is_stored: self.is_stored }
    }

    /// Forgets all that a command changed whose rows are taken back. The relay's authors may be ahead
    /// of them: they do not write again.
    pub(super) fn set_back(&mut self, before: Before) {
        let Before { head, is_stored } = before;
        (self.head, self.is_stored) = (head, is_stored);
        (self.ranks, self.annotator) = (None, None);
        self.windows.clear();
        self.authors.clear();
    }

    /// The directory row of a window.
    pub(crate) fn window(
        &mut self,
        rows: &dyn Snapshot,
        window: Window,
    ) -> Result<Option<DirectoryRow>, StoreError> {
        if let Some(row) = self.windows.get(&window) {
            return Ok(*row);
        }
        let row = rows.get(Family::Directory, &keys::directory(self.number, window))?;
        let row = row.map(|row| DirectoryRow::decode(&row)).transpose()?;
        self.remember(window, row);
        Ok(row)
    }

    /// The generation of a window, or the one with which it would begin.
    pub(crate) fn generation(
        &mut self,
        rows: &dyn Snapshot,
        window: Window,
    ) -> Result<u32, StoreError> {
        match self.window(rows, window)? {
            Some(row) => Ok(row.entry.generation),
            None => self.first_generation(rows, window),
        }
    }

    /// The generation with which a window begins that has no messages: above any that it had before
    /// it was dropped, so that nobody takes what there was for what there is.
    fn first_generation(&self, rows: &dyn Snapshot, window: Window) -> Result<u32, StoreError> {
        if self.head.floor == 0 {
            // Nothing was ever dropped: the usual case takes no look.
            return Ok(0);
        }
        let row = rows.get(Family::Meta, &keys::dropped(self.number, window))?;
        let Some(row) = row else { return Ok(0) };
        let damaged = StoreError::damaged(Family::Meta, "a generation does not read back");
        row.try_into().map(u32::from_be_bytes).map_err(|_| damaged)
    }

    fn remember(&mut self, window: Window, row: Option<DirectoryRow>) {
        if self.windows.len() >= WRITER_WINDOWS_MAX {
            self.windows.clear();
        }
        self.windows.insert(window, row);
    }

    /// Puts the directory row of a window.
    pub(crate) fn put_window(&mut self, txn: &mut Txn<'_>, window: Window, row: DirectoryRow) {
        self.remember(window, Some(row));
        txn.put(Family::Directory, keys::directory(self.number, window), row.encode());
    }

    /// Deletes the directory row of a window, which had a generation.
    pub(crate) fn delete_window(&mut self, txn: &mut Txn<'_>, window: Window, generation: u32) {
        self.remember(window, None);
        let next = generation.saturating_add(1).to_be_bytes().to_vec();
        txn.put(Family::Meta, keys::dropped(self.number, window), next);
        txn.delete(Family::Directory, keys::directory(self.number, window));
    }

    /// Puts the head, and the channel's name before its first change.
    pub(crate) fn put_head(&mut self, txn: &mut Txn<'_>) {
        if !self.is_stored {
            self.is_stored = true;
            let number = self.number.to_be_bytes().to_vec();
            txn.put(Family::Meta, keys::channel_name(&self.name), number);
        }
        txn.put(Family::Meta, keys::head(self.number), self.head.encode());
    }

    /// The ranks, read when they are first needed.
    pub(crate) fn ranks(&mut self, rows: &dyn Snapshot) -> Result<&mut Ranks, StoreError> {
        let ranks = match self.ranks.take() {
            Some(ranks) => ranks,
            None => Ranks::load(rows, self.number)?,
        };
        Ok(self.ranks.insert(ranks))
    }

    /// The relay's own author in a window: its actor is random, lives in memory only and is never
    /// used again.
    pub(crate) fn author(&mut self, window: Window) -> Result<&mut MessageAuthor, StoreError> {
        self.author_uses += 1;
        let uses = self.author_uses;
        if !self.authors.contains_key(&window) && self.authors.len() >= WRITER_AUTHORS_MAX {
            let oldest = self.authors.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(window, _)| *window) {
                self.authors.remove(&oldest);
            }
        }
        let (used, author) = match self.authors.entry(window) {
            std::collections::hash_map::Entry::Occupied(author) => author.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut actor = [0; 16];
                getrandom::fill(&mut actor)?;
                place.insert((uses, MessageAuthor::new(window, ActorId16(actor))))
            }
        };
        *used = uses;
        Ok(author)
    }

    /// The actor of the relay's annotations: random, and never used again once this channel is
    /// forgotten. What it wrote last in a window is in the rows.
    pub(crate) fn annotator(&mut self) -> Result<ActorId16, StoreError> {
        if let Some(actor) = self.annotator {
            return Ok(actor);
        }
        let mut actor = [0; 16];
        getrandom::fill(&mut actor)?;
        Ok(*self.annotator.insert(ActorId16(actor)))
    }

    /// Ends the relay's authors in a window: its documents are begun anew, or it is ahead of them.
    pub(crate) fn retire_author(&mut self, window: Window) {
        self.annotator = None;
        self.authors.remove(&window);
    }
}
