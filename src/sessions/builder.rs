//! [`SessionsBuilder`].

use std::{fmt, future::Future, hash::Hash, pin::Pin, sync::Arc, time::Duration};

use crate::{
    error::BoxError,
    event::Event,
    rt::{Clock, Nanos, Spawner, SystemClock, TokioSpawner, nanos},
    session::RefreshLimit,
};

use super::{SessionHandle, Sessions, map::Map};

/// Builds [`Sessions`].
#[must_use]
pub struct SessionsBuilder<K, S> {
    settings: MapSettings<K, S>,
}

pub(super) struct MapSettings<K, S> {
    pub(super) load: LoadFn<K, S>,
    pub(super) load_timeout: Duration,
    pub(super) capacity: usize,
    /// `None`: never evicted for that.
    pub(super) idle: Option<Nanos>,
    pub(super) refresh_limit: Option<RefreshLimit>,
    pub(super) listener: Option<KeyedListener<K>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawner: Arc<dyn Spawner>,
}

type LoadFn<K, S> = Box<dyn Fn(K) -> LoadFuture<S> + Send + Sync>;
type LoadFuture<S> = Pin<Box<dyn Future<Output = Result<S, BoxError>> + Send>>;
type KeyedListener<K> = Arc<dyn Fn(&K, &Event) + Send + Sync>;

// === impl SessionsBuilder ===

impl<K, S> SessionsBuilder<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    pub(super) fn new<F, Fut, E>(load: F) -> Self
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let load = move |key| {
            let load = load(key);
            Box::pin(async move { load.await.map_err(Into::into) }) as LoadFuture<S>
        };
        Self {
            settings: MapSettings {
                load: Box::new(load),
                load_timeout: Duration::from_secs(30),
                capacity: 10_000,
                idle: None,
                refresh_limit: None,
                listener: None,
                clock: Arc::new(SystemClock),
                spawner: Arc::new(TokioSpawner),
            },
        }
    }

    /// Sets how many sessions are kept while they aren't in use; at least 1. Default: 10,000.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.settings.capacity = capacity.max(1);
        self
    }

    /// Sets the time without use after which a session is evicted. Default: none; sessions are evicted only to make
    /// room.
    ///
    /// Such a session is evicted when another one is loaded, or by [`Sessions::evict_idle`].
    pub fn idle(mut self, idle: Duration) -> Self {
        self.settings.idle = Some(nanos(idle));
        self
    }

    /// Limits how many refreshes of the map's sessions run concurrently; see [`RefreshLimit`]. Default: no limit.
    ///
    /// A session that was built with a [limit](crate::SessionBuilder::refresh_limit) keeps its own.
    pub fn max_refreshes(mut self, max: usize) -> Self {
        self.settings.refresh_limit = Some(RefreshLimit::new(max));
        self
    }

    /// Sets the timeout of a load, which includes waiting for the session that was [removed](Sessions::remove) before
    /// it. Default: 30 s.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.settings.load_timeout = timeout;
        self
    }

    /// Sets a listener for the events of all sessions, in addition to their own listeners and under the same rules as
    /// [`SessionBuilder::on_event`](crate::SessionBuilder::on_event).
    pub fn on_event(mut self, listener: impl Fn(&K, &Event) + Send + Sync + 'static) -> Self {
        self.settings.listener = Some(Arc::new(listener));
        self
    }

    /// Sets the clock. Default: [`SystemClock`]. The sessions keep those of their own builders.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Sets the spawner of loads. Default: [`TokioSpawner`], on the caller's runtime. The sessions keep those of their own builders.
    pub fn spawner(mut self, spawner: impl Spawner) -> Self {
        self.settings.spawner = Arc::new(spawner);
        self
    }

    /// Builds the map. It is empty.
    pub fn build(self) -> Sessions<K, S> {
        Sessions::new(Map::new(self.settings))
    }
}

impl<K, S> fmt::Debug for SessionsBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder")
            .field("capacity", &self.settings.capacity)
            .field("idle", &self.settings.idle)
            .finish_non_exhaustive()
    }
}
