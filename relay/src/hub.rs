//! Who hears what: subscribers by channel, and the fan-out of what is durable.
//!
//! The writer hands each committed batch to [`Feed`]; a thread of the hub's own encodes every event
//! once per form and queues the same bytes with every subscriber. A subscriber begins at a
//! snapshot without gap or repeat: see [`Subscription`].

mod encode;
mod subscription;
mod viewer;

pub(crate) use subscription::{Form, Subscription};
pub(crate) use viewer::Viewing;

use crate::commit::{Committed, Publish};
use crate::connection::Outbox;
use crate::metrics::{self, Change};
use encode::Encoded;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;
use viewer::Viewer;

/// Batches that wait for fan-out; beyond it the writer waits, and with it whoever sends.
const BATCHES_MAX: usize = 64;

/// How long the hub waits for our own writers of one channel in one event: a burst is paced, and
/// neither a client nor the scheduler can hold up the others for longer.
const PACE_MAX: Duration = Duration::from_millis(50);

type Subscribers = BTreeMap<u64, Arc<Subscription>>;

type Viewers = BTreeMap<u64, Arc<Viewer>>;

/// The subscribers of every channel.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    channels: Mutex<HashMap<Arc<str>, Subscribers>>,
    views: Mutex<HashMap<Arc<str>, Viewers>>,
    next_id: AtomicU64,
}

/// The writer's end of the hub.
#[derive(Debug)]
pub(crate) struct Feed(SyncSender<Vec<Committed>>);

impl Publish for Feed {
    fn publish(&self, events: &[Committed]) {
        // Blocks while the hub is far behind. It fails only after the hub's thread is gone, which
        // outlives every feed.
        let _ = self.0.send(events.to_vec());
    }
}

/// A place in the hub; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Subscribed {
    hub: Arc<Hub>,
    subscription: Arc<Subscription>,
}

impl Hub {
    /// A hub whose thread ends when the feed is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start() -> std::io::Result<(Arc<Self>, Feed)> {
        let hub = Arc::new(Self::default());
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        let worker = hub.clone();
        std::thread::Builder::new().name("hub".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok((hub, Feed(sender)))
    }

    /// Adds a subscriber that holds back what comes until it is opened at a snapshot.
    ///
    /// Take the snapshot after this: what is committed later reaches the subscriber, and what is in
    /// the snapshot it drops.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        channel: &str,
        form: Form,
        outbox: &Arc<Outbox>,
    ) -> Subscribed {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let channel: Arc<str> = channel.into();
        let subscription = Arc::new(Subscription::new(id, channel.clone(), form, outbox.clone()));
        let mut channels = self.lock();
        channels.entry(channel).or_default().insert(id, subscription.clone());
        metrics::subscriptions(Change::Joined, channels.len());
        Subscribed { hub: self.clone(), subscription }
    }

    /// Adds a live view: every change of the channel that is committed from now on waits for it.
    ///
    /// Take the snapshot that the view begins with after this, and pass over what is in it.
    pub(crate) fn view(self: &Arc<Self>, channel: &str) -> Viewing {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (channel, viewer): (Arc<str>, _) = (channel.into(), Arc::<Viewer>::default());
        self.lock_views().entry(channel.clone()).or_default().insert(id, viewer.clone());
        Viewing::new(self.clone(), channel, id, viewer)
    }

    /// Hands a frame that is not stored to the channel's other sync subscribers.
    pub(crate) fn forward(&self, from: &Subscription, frame: &Message) {
        for subscription in self.subscribers(from.channel()) {
            if subscription.id() != from.id() && matches!(subscription.form(), Form::Sync { .. }) {
                subscription.forward(frame);
            }
        }
    }

    /// How many listen to each channel that anybody listens to.
    pub(crate) fn listeners(&self) -> HashMap<Arc<str>, usize> {
        self.lock().iter().map(|(channel, them)| (channel.clone(), them.len())).collect()
    }

    fn run(&self, batches: &Receiver<Vec<Committed>>) {
        while let Ok(batch) = batches.recv() {
            for event in &batch {
                self.fan_out(event);
            }
        }
    }

    fn fan_out(&self, event: &Committed) {
        let channel = match event {
            Committed::Change(change) => &change.channel,
            Committed::Mark(mark) => &mark.channel,
            Committed::Entry(entry) => &entry.channel,
            Committed::Dropped(dropped) => &dropped.channel,
        };
        match event {
            Committed::Change(change) => {
                let viewers = self.viewers(channel);
                if !viewers.is_empty() {
                    let change = Arc::new(change.clone());
                    viewers.iter().for_each(|viewer| viewer.deliver(&change));
                }
            }
            // Rows are gone, and every place is another.
            Committed::Dropped(_) => self.viewers(channel).iter().for_each(|viewer| viewer.lose()),
            // The tombstones that follow an erasure are a change.
            Committed::Entry(_) | Committed::Mark(_) => {}
        }
        let subscribers = self.subscribers(channel);
        let mut encoded = Encoded::new(event);
        for subscription in &subscribers {
            let frames = encoded.frames(subscription.form());
            subscription.deliver(encoded.seq(), &frames);
            if let Some(last_seq) = encoded.last_seq() {
                subscription.delivered(last_seq);
            }
        }
        let deadline = Instant::now() + PACE_MAX;
        for subscription in &subscribers {
            subscription.wait_while_crowded(deadline);
        }
    }

    /// The subscribers of a channel at this moment: they are called without the lock.
    fn subscribers(&self, channel: &str) -> Vec<Arc<Subscription>> {
        let channels = self.lock();
        channels.get(channel).map(|them| them.values().cloned().collect()).unwrap_or_default()
    }

    /// The live views of a channel at this moment.
    fn viewers(&self, channel: &str) -> Vec<Arc<Viewer>> {
        let views = self.lock_views();
        views.get(channel).map(|them| them.values().cloned().collect()).unwrap_or_default()
    }

    fn remove_viewer(&self, channel: &str, id: u64) {
        let mut views = self.lock_views();
        if let Some(viewers) = views.get_mut(channel) {
            viewers.remove(&id);
            if viewers.is_empty() {
                views.remove(channel);
            }
        }
    }

    fn lock_views(&self) -> MutexGuard<'_, HashMap<Arc<str>, Viewers>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, subscription: &Subscription) {
        let mut channels = self.lock();
        if let Some(subscribers) = channels.get_mut(subscription.channel()) {
            subscribers.remove(&subscription.id());
            if subscribers.is_empty() {
                channels.remove(subscription.channel());
            }
        }
        metrics::subscriptions(Change::Left, channels.len());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Subscribers>> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscribed {
    /// The subscription itself.
    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The hub it is in.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.subscription.close();
        self.hub.remove(&self.subscription);
    }
}
