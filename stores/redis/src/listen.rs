//! A connection that listens for changes to many records.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{Either, pending, select},
};
use redis::{Client, RedisResult};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A handle's share of a listening connection.
pub(crate) struct Subscription {
    listener: Arc<Listener>,
    channel: Arc<str>,
    changes: watch::Receiver<u64>,
    /// The count of changes when the last load began.
    seen: AtomicU64,
}

/// A connection that is opened when a handle first waits, and closed with the last handle.
struct Listener {
    client: Client,
    channels: Arc<Channels>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The channels of all handles, and how often something may have changed in each.
#[derive(Default)]
struct Channels {
    changes: Mutex<HashMap<Arc<str>, watch::Sender<u64>>>,
    /// Notified when a channel is added or removed.
    edited: Notify,
}

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// How long a response may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that a firewall has dropped looks like one without messages.
const PING_AFTER: Duration = Duration::from_secs(60);

// === impl Subscription ===

impl Subscription {
    pub(crate) fn new(client: Client, channel: Arc<str>) -> Self {
        Self::of(Arc::new(Listener { client, channels: Arc::default(), task: Mutex::default() }), channel)
    }

    pub(crate) fn with_channel(&self, channel: Arc<str>) -> Self {
        Self::of(Arc::clone(&self.listener), channel)
    }

    fn of(listener: Arc<Listener>, channel: Arc<str>) -> Self {
        let changes = listener.channels.subscribe(&channel);
        Self { listener, channel, changes, seen: AtomicU64::new(0) }
    }

    /// The count of changes. Read it before a load, which then sees at least these changes.
    pub(crate) fn count(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Records that a load which began at this count has returned.
    pub(crate) fn loaded(&self, count: u64) {
        self.seen.fetch_max(count, Ordering::Relaxed);
    }

    pub(crate) async fn changed(&self) {
        self.listener.start();
        let mut changes = self.changes.clone();
        if changes.wait_for(|&count| count > self.seen.load(Ordering::Relaxed)).await.is_err() {
            pending().await
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Otherwise this receiver would be counted below.
        self.changes = watch::channel(0).1;
        self.listener.channels.unsubscribe(&self.channel);
    }
}

// === impl Listener ===

impl Listener {
    /// Starts the task unless it is running: the runtime of an earlier one may have shut down.
    #[allow(clippy::disallowed_methods, reason = "the driver needs tokio, too")]
    fn start(&self) {
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(listen(self.client.clone(), Arc::clone(&self.channels))));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = &*lock(&self.task) {
            task.abort();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the driver uses tokio's time, too")]
async fn listen(client: Client, channels: Arc<Channels>) {
    let mut delay = FIRST_DELAY;
    loop {
        // Handles poll while there is no connection, so nobody waits for the error.
        let _ = listen_once(&client, &channels, &mut delay).await;
        sleep(delay.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        delay = delay.mul_f64(1.6).min(LONGEST_DELAY);
    }
}

async fn listen_once(client: &Client, channels: &Channels, delay: &mut Duration) -> RedisResult<()> {
    let (mut sink, mut messages) = within_timeout(client.get_async_pubsub()).await?.split();
    let mut subscribed = HashSet::new();
    loop {
        let wanted = channels.all();
        let added: Vec<_> = wanted.difference(&subscribed).map(|channel| &**channel).collect();
        if !added.is_empty() {
            within_timeout(sink.subscribe(&added)).await?;
            *delay = FIRST_DELAY;
            // Earlier changes weren't notified.
            added.iter().for_each(|channel| channels.notify(channel));
        }
        let removed: Vec<_> = subscribed.difference(&wanted).map(|channel| &**channel).collect();
        if !removed.is_empty() {
            within_timeout(sink.unsubscribe(&removed)).await?;
        }
        subscribed = wanted;
        loop {
            match timeout(PING_AFTER, select(messages.next(), pin!(channels.edited.notified()))).await {
                Ok(Either::Left((Some(message), _))) => channels.notify(message.get_channel_name()),
                Ok(Either::Left((None, _))) => return Ok(()),
                Ok(Either::Right(_)) => break,
                Err(_) => within_timeout(sink.ping()).await?,
            }
        }
    }
}

async fn within_timeout<T>(response: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match timeout(TIMEOUT, response).await {
        Ok(result) => result,
        Err(elapsed) => Err(std::io::Error::from(elapsed).into()),
    }
}

// === impl Channels ===

impl Channels {
    fn subscribe(&self, channel: &Arc<str>) -> watch::Receiver<u64> {
        let changes = lock(&self.changes).entry(Arc::clone(channel)).or_default().subscribe();
        self.edited.notify_one();
        changes
    }

    fn unsubscribe(&self, channel: &str) {
        let mut changes = lock(&self.changes);
        if changes.get(channel).is_some_and(|changes| changes.receiver_count() == 0) {
            changes.remove(channel);
            drop(changes);
            self.edited.notify_one();
        }
    }

    fn all(&self) -> HashSet<Arc<str>> {
        lock(&self.changes).keys().cloned().collect()
    }

    fn notify(&self, channel: &str) {
        // Wakers run outside the lock.
        let changes = lock(&self.changes).get(channel).cloned();
        if let Some(changes) = changes {
            changes.send_modify(|count| *count += 1);
        }
    }
}

/// Ignores poisoning: a panic can't leave these values half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
