//! A connection that listens for changes to many records.

use std::{
    collections::HashMap,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::select;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Connection};

/// A handle's share of a listening connection.
pub(crate) struct Subscription {
    listener: Arc<Listener>,
    name: Arc<str>,
    changes: watch::Receiver<u64>,
    /// The count of changes when the last load began.
    seen: AtomicU64,
}

/// A connection that is opened when a handle first waits, and closed with the last handle.
struct Listener {
    listen: Box<dyn Fn(Arc<Names>) -> Listening + Send + Sync>,
    names: Arc<Names>,
    task: Mutex<Option<JoinHandle<()>>>,
}

type Listening = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The names of all handles' records, and how often something may have changed in each.
#[derive(Default)]
struct Names {
    changes: Mutex<HashMap<Arc<str>, watch::Sender<u64>>>,
}

const LISTEN: &str = "LISTEN tower_reauth";
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// How long connecting, or a response, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that a firewall has dropped looks like one without notifications.
const CHECK_AFTER: Duration = Duration::from_secs(60);

// === impl Subscription ===

impl Subscription {
    pub(crate) fn new<F, Fut, S, T, E>(connect: F, name: Arc<str>) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(Client, Connection<S, T>), E>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Send + 'static,
    {
        let connect = Arc::new(connect);
        let listen = Box::new(move |names| -> Listening { Box::pin(listen(Arc::clone(&connect), names)) });
        Self::of(Arc::new(Listener { listen, names: Arc::default(), task: Mutex::default() }), name)
    }

    pub(crate) fn with_name(&self, name: Arc<str>) -> Self {
        Self::of(Arc::clone(&self.listener), name)
    }

    fn of(listener: Arc<Listener>, name: Arc<str>) -> Self {
        let changes = lock(&listener.names.changes).entry(Arc::clone(&name)).or_default().subscribe();
        Self { listener, name, changes, seen: AtomicU64::new(0) }
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
        let mut changes = lock(&self.listener.names.changes);
        if changes.get(&self.name).is_some_and(|changes| changes.receiver_count() == 0) {
            changes.remove(&self.name);
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Starts the task unless it is running: the runtime of an earlier one may have shut down.
    #[allow(clippy::disallowed_methods, reason = "the driver needs tokio, too")]
    fn start(&self) {
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn((self.listen)(Arc::clone(&self.names))));
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
async fn listen<F, Fut, S, T, E>(connect: Arc<F>, names: Arc<Names>)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(Client, Connection<S, T>), E>>,
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut delay = FIRST_DELAY;
    loop {
        // Handles poll while there is no connection, so nobody waits for the error.
        if let Ok(Ok((client, connection))) = timeout(TIMEOUT, connect()).await {
            listen_on(client, connection, &names, &mut delay).await;
        }
        sleep(delay.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        delay = delay.mul_f64(1.6).min(LONGEST_DELAY);
    }
}

#[allow(clippy::disallowed_methods, reason = "the driver uses tokio's time, too")]
async fn listen_on<S, T>(
    client: Client,
    mut connection: Connection<S, T>,
    names: &Names,
    delay: &mut Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let requests = async {
        let mut is_listening = false;
        // Sent again now and then to see whether the connection is alive.
        while let Ok(Ok(())) = timeout(TIMEOUT, client.batch_execute(LISTEN)).await {
            if !is_listening {
                is_listening = true;
                *delay = FIRST_DELAY;
                // Earlier changes weren't notified.
                names.notify_all();
            }
            sleep(CHECK_AFTER).await;
        }
    };
    let messages = async {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                names.notify(notification.payload());
            }
        }
    };
    select(pin!(requests), pin!(messages)).await;
}

// === impl Names ===

impl Names {
    fn notify(&self, name: &str) {
        // Wakers run outside the lock.
        let changes = lock(&self.changes).get(name).cloned();
        changes.iter().for_each(count);
    }

    fn notify_all(&self) {
        let changes: Vec<_> = lock(&self.changes).values().cloned().collect();
        changes.iter().for_each(count);
    }
}

fn count(changes: &watch::Sender<u64>) {
    changes.send_modify(|count| *count += 1);
}

/// Ignores poisoning: a panic can't leave these values half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
