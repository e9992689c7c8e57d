//! The map: finding, loading and removing sessions.

use std::{
    collections::hash_map::RandomState,
    fmt,
    future::Future,
    hash::{BuildHasher, Hash},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Either, select},
};

use crate::{
    error::{BoxError, Error, ErrorKind},
    panics::{catch_panic, drop_panic},
    rt::{Nanos, system_time},
    session::Attachment,
    sync,
};

use super::{
    builder::Settings,
    handle::SessionHandle,
    load::Load,
    shard::{Pending, Shard, Step},
};

pub(super) struct Map<K, S> {
    pub(super) settings: Settings<K, S>,
    pub(super) shards: Box<[Mutex<Shard<K, S>>]>,
    hasher: RandomState,
    /// How many sessions count towards the capacity.
    resident: AtomicUsize,
    pub(super) is_closed: AtomicBool,
}

pub(super) enum Found<T, S> {
    Session(T),
    Loading(Arc<Load<S>>),
}

/// Ends a load when it is dropped, whatever has become of its task.
struct LoadGuard<K: Clone + Eq + Hash + Send + Sync + 'static, S: SessionHandle> {
    map: Arc<Map<K, S>>,
    key: K,
    load: Arc<Load<S>>,
    end: LoadEnd<S>,
}

enum LoadEnd<S> {
    Loaded(S),
    /// Further callers get the error for a while.
    Failed(Error),
    /// It never ran, or was dropped.
    Lost(ErrorKind),
}

const SHARDS: usize = 16;
const PAUSE_AFTER_FAILURE: Nanos = 1_000_000_000;
/// A removed session ends by its own timeouts before that.
const LONGEST_END: Duration = Duration::from_secs(600);

// === impl Map ===

impl<K, S> Map<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    pub(super) fn new(settings: Settings<K, S>) -> Self {
        Self {
            settings,
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            hasher: RandomState::new(),
            resident: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Finds the session of a key, or the load of it, which it starts if necessary.
    pub(super) fn find<T>(
        self: &Arc<Self>,
        key: &K,
        read: impl FnOnce(&S) -> T,
    ) -> Result<Found<T, S>, Error> {
        let now = self.settings.clock.now().monotonic;
        let mut shard = self.shard(key);
        if let Some(handle) = shard.touch(key, now) {
            return Ok(Found::Session(read(handle)));
        }
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::ShutDown));
        }
        if let Some(Pending::Loading { load, .. }) = shard.pending.get(key) {
            return Ok(Found::Loading(Arc::clone(load)));
        }
        if let Some(error) = shard.failure(key, now) {
            return Err(error);
        }
        if !self.settings.spawner.is_ready() {
            return Err(Error::new(ErrorKind::MissingRuntime));
        }
        let load = Arc::new(Load::new());
        let after = match shard.pending.swap_remove(key) {
            Some(Pending::Ending(session)) => Some(session),
            _ => None,
        };
        let loading = Pending::Loading { load: Arc::clone(&load), after: after.clone() };
        shard.pending.insert(key.clone(), loading);
        drop(shard);
        let guard = LoadGuard {
            map: Arc::clone(self),
            key: key.clone(),
            load: Arc::clone(&load),
            end: LoadEnd::Lost(ErrorKind::MissingRuntime),
        };
        self.spawn(guard.run(after));
        Ok(Found::Loading(load))
    }

    pub(super) fn find_loaded<T>(&self, key: &K, read: impl FnOnce(&S) -> T) -> Option<T> {
        let now = self.settings.clock.now().monotonic;
        self.shard(key).touch(key, now).map(read)
    }

    pub(super) fn remove(self: &Arc<Self>, key: &K) {
        let mut shard = self.shard(key);
        shard.forget_failure(key);
        let removed = match shard.take(key) {
            Some((session, counted)) => {
                self.uncount(counted);
                shard.pending.insert(key.clone(), Pending::Ending(session.clone()));
                Some(session)
            }
            None => {
                // A load in progress is no longer wanted. What it had to wait for still is.
                if let Some(Pending::Loading { load, after }) = shard.pending.swap_remove(key) {
                    if let Some(session) = after {
                        shard.pending.insert(key.clone(), Pending::Ending(session));
                    }
                    load.end(None);
                }
                None
            }
        };
        drop(shard);
        let Some(session) = removed else { return };
        session.session().begin_shutdown();
        if session.session().is_at_rest_and_saved() {
            self.forget_ended(key, &session);
            return;
        }
        let (map, key) = (Arc::clone(self), key.clone());
        self.spawn(async move {
            if session.session().shutdown(LONGEST_END).await.is_ok() {
                map.forget_ended(&key, &session);
            }
        });
    }

    /// A removed session has ended, and nothing of it is unsaved.
    pub(super) fn forget_ended(&self, key: &K, ended: &S) {
        let is_same = |session: &S| session.session().is_same(ended.session());
        let forgotten = {
            let mut shard = self.shard(key);
            match shard.pending.get(key) {
                Some(Pending::Ending(session)) if is_same(session) => shard.pending.swap_remove(key),
                _ => None,
            }
        };
        // Dropped without the lock.
        drop(forgotten);
    }

    pub(super) fn len(&self) -> usize {
        let count = |shard: MutexGuard<'_, Shard<K, S>>| shard.resident.len() + shard.held.len();
        self.shards.iter().map(|shard| count(sync::lock(shard))).sum()
    }

    pub(super) fn evict_idle(&self) -> usize {
        let Some(idle) = self.settings.idle else { return 0 };
        let before = self.settings.clock.now().monotonic.saturating_sub(idle);
        let mut evicted = Vec::new();
        for shard in &self.shards {
            let mut shard = sync::lock(shard);
            for _ in 0..shard.held.len() {
                if shard.recount_held() {
                    self.resident.fetch_add(1, Ordering::Relaxed);
                }
            }
            for _ in 0..shard.resident.len() {
                evicted.extend(self.take_step(shard.evict_idle(before)));
            }
        }
        evicted.len()
    }

    /// Makes room for one more session, which then counts.
    fn make_room(&self, key: &K) -> Result<(), Error> {
        let home = self.index(key);
        {
            let mut shard = sync::lock(&self.shards[home]);
            if shard.recount_held() {
                self.resident.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.resident.fetch_add(1, Ordering::Relaxed);
        for offset in 0..self.shards.len() {
            while self.resident.load(Ordering::Relaxed) > self.settings.capacity {
                let step = sync::lock(&self.shards[(home + offset) % self.shards.len()]).make_room();
                if matches!(step, Step::Kept) {
                    break;
                }
                drop(self.take_step(step));
            }
        }
        if self.resident.load(Ordering::Relaxed) > self.settings.capacity {
            self.uncount(true);
            return Err(Error::new(ErrorKind::SessionsFull));
        }
        Ok(())
    }

    /// Counts what the hand did.
    fn take_step(&self, step: Step<S>) -> Option<S> {
        self.uncount(!matches!(step, Step::Kept));
        match step {
            Step::Evicted(session) => Some(session),
            Step::Held | Step::Kept => None,
        }
    }

    pub(super) fn uncount(&self, counted: bool) {
        self.resident.fetch_sub(usize::from(counted), Ordering::Relaxed);
    }

    pub(super) fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, S>> {
        sync::lock(&self.shards[self.index(key)])
    }

    fn index(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    /// A task that can't be spawned is dropped; a load's guard reports that.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        catch_panic(|| {
            let _ = self.settings.spawner.spawn(Box::pin(task));
        });
    }
}

impl<K, S> fmt::Debug for Map<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("resident", &self.resident.load(Ordering::Relaxed))
            .field("capacity", &self.settings.capacity)
            .finish_non_exhaustive()
    }
}

// === impl LoadGuard ===

impl<K, S> LoadGuard<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    async fn run(mut self, after: Option<S>) {
        self.end = LoadEnd::Lost(ErrorKind::TaskDropped);
        let (map, key) = (Arc::clone(&self.map), self.key.clone());
        let Ok(timeout) = map.settings.clock.sleep(map.settings.load_timeout) else {
            self.end = LoadEnd::Lost(ErrorKind::MissingRuntime);
            return;
        };
        let load = Box::pin(async {
            if let Some(session) = after {
                session.session().shutdown(map.settings.load_timeout).await?;
            }
            // The panic guard also covers what the function does before it returns its future.
            let load = AssertUnwindSafe(async { (map.settings.load)(key).await }).catch_unwind();
            match load.await {
                Ok(loaded) => loaded.map_err(failed),
                Err(panic) => {
                    drop_panic(panic);
                    Err(failed("the function that loads a session panicked".into()))
                }
            }
        });
        self.end = match select(load, timeout).await {
            Either::Left((Ok(session), _)) => LoadEnd::Loaded(session),
            Either::Left((Err(error), _)) => LoadEnd::Failed(error),
            Either::Right(_) => LoadEnd::Failed(failed("the load timed out".into())),
        };
    }

    /// Puts a loaded session into the map, unless its key was removed in the meantime.
    fn admit(&self, handle: S) -> Result<Option<S>, Error> {
        let map = &self.map;
        let listener = map.settings.listener.clone().map(|listener| {
            let key = self.key.clone();
            Arc::new(move |event: &_| listener(&key, event)) as _
        });
        let attachment = Attachment { listener, refresh_limit: map.settings.refresh_limit.clone() };
        if !handle.session().attach(attachment) {
            return Err(failed(
                "the session is already in a map: build a new one for each call, and use one key per credential"
                    .into(),
            ));
        }
        map.make_room(&self.key)?;
        let now = map.settings.clock.now().monotonic;
        let mut shard = map.shard(&self.key);
        if !self.is_current(&shard) || map.is_closed.load(Ordering::Relaxed) {
            drop(shard);
            map.uncount(true);
            handle.session().begin_shutdown();
            return Ok(None);
        }
        shard.pending.swap_remove(&self.key);
        shard.insert(self.key.clone(), handle.clone(), now);
        // One that isn't needed any more makes room for later ones.
        let step = map.settings.idle.map(|idle| shard.evict_idle(now.saturating_sub(idle)));
        drop(shard);
        drop(step.and_then(|step| map.take_step(step)));
        Ok(Some(handle))
    }

    fn is_current(&self, shard: &Shard<K, S>) -> bool {
        let pending = shard.pending.get(&self.key);
        matches!(pending, Some(Pending::Loading { load, .. }) if Arc::ptr_eq(load, &self.load))
    }

    fn fail(&self, error: Error, is_paced: bool) -> Error {
        let now = self.map.settings.clock.now();
        let until = now.monotonic.saturating_add(PAUSE_AFTER_FAILURE);
        let error = match is_paced {
            true => error.at(Some(system_time(now.wall.saturating_add(PAUSE_AFTER_FAILURE)))),
            false => error,
        };
        let mut shard = self.map.shard(&self.key);
        if !self.is_current(&shard) {
            return error;
        }
        if let Some(Pending::Loading { after: Some(session), .. }) = shard.pending.swap_remove(&self.key) {
            if !session.session().is_at_rest_and_saved() {
                shard.pending.insert(self.key.clone(), Pending::Ending(session));
            }
        }
        if is_paced {
            shard.remember_failure(self.key.clone(), error.clone(), until);
        }
        error
    }
}

impl<K, S> Drop for LoadGuard<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, LoadEnd::Lost(ErrorKind::TaskDropped));
        let result = match end {
            LoadEnd::Loaded(session) => match self.admit(session) {
                Ok(Some(session)) => Some(Ok(session)),
                Ok(None) => None,
                Err(error) => Some(Err(self.fail(error, true))),
            },
            LoadEnd::Failed(error) => Some(Err(self.fail(error, true))),
            LoadEnd::Lost(kind) => Some(Err(self.fail(Error::new(kind), false))),
        };
        self.load.end(result);
    }
}

fn failed(error: BoxError) -> Error {
    Error::with_details(ErrorKind::LoadFailed, None, Some(error.into()))
}
