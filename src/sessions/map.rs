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
    rt::{Nanos, nanos, system_time},
    session::Attachment,
    sync,
};

use super::{
    builder::Settings,
    handle::SessionHandle,
    load::Load,
    shard::{PAUSE_AFTER_FAILURE, Pending, Shard, Step},
};

pub(super) struct Map<K, S> {
    pub(super) settings: Settings<K, S>,
    pub(super) shards: Box<[Mutex<Shard<K, S>>]>,
    hasher: RandomState,
    /// How many sessions count towards the capacity.
    resident: AtomicUsize,
    /// Held while room is made.
    admission: Mutex<()>,
    /// The next shard in which a session that was held is counted again, if it is free.
    recounted: AtomicUsize,
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
    /// A session of the key that must end first.
    after: Option<S>,
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
/// How long after its timeout a load is given up that hasn't ended by itself.
const OVERDUE: Nanos = 1_000_000_000;
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
            admission: Mutex::new(()),
            recounted: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Finds the session of a key, or the load of it, which it starts if necessary.
    #[inline]
    pub(super) fn find<T>(self: &Arc<Self>, key: &K, read: impl Fn(&S) -> T) -> Result<Found<T, S>, Error> {
        match self.find_loaded(key, &read) {
            Some(found) => Ok(Found::Session(found)),
            None => self.find_or_load(key, read),
        }
    }

    #[inline]
    pub(super) fn find_loaded<T>(&self, key: &K, read: impl FnOnce(&S) -> T) -> Option<T> {
        let now = self.settings.clock.now();
        self.shard(key).touch(key, now).map(read)
    }

    #[cold]
    fn find_or_load<T>(self: &Arc<Self>, key: &K, read: impl Fn(&S) -> T) -> Result<Found<T, S>, Error> {
        let can_spawn = self.settings.spawner.is_ready();
        let now = self.settings.clock.now();
        // Dropped without the lock.
        let _forgotten;
        let mut shard = self.shard(key);
        if let Some(handle) = shard.touch(key, now) {
            return Ok(Found::Session(read(handle)));
        }
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::ShutDown));
        }
        let after = match shard.pending.get(key) {
            // If it is overdue, nobody drives it, and this one takes its place.
            Some(Pending::Loading { load, .. }) if !load.is_overdue(now) => {
                return Ok(Found::Loading(Arc::clone(load)));
            }
            Some(Pending::Loading { after, .. }) => after.clone(),
            Some(Pending::Ending(session)) => Some(session.clone()),
            None => None,
        };
        if let Some(error) = shard.failure(key, now) {
            return Err(error);
        }
        if !can_spawn {
            return Err(Error::new(ErrorKind::MissingRuntime));
        }
        let timeout = nanos(self.settings.load_timeout).saturating_add(OVERDUE);
        let load = Arc::new(Load::new(now, timeout));
        let loading = Pending::Loading { load: Arc::clone(&load), after: after.clone() };
        _forgotten = shard.pending.insert(key.clone(), loading);
        drop(shard);
        let guard = LoadGuard {
            map: Arc::clone(self),
            key: key.clone(),
            load: Arc::clone(&load),
            after,
            end: LoadEnd::Lost(ErrorKind::MissingRuntime),
        };
        self.spawn(guard.run());
        Ok(Found::Loading(load))
    }

    pub(super) fn remove(self: &Arc<Self>, key: &K) {
        let _forgotten;
        let mut shard = self.shard(key);
        _forgotten = shard.forget_failure(key);
        if let Some(Pending::Loading { load, .. }) = shard.pending.get(key) {
            load.reject();
        }
        let Some((session, counted)) = shard.take(key) else { return };
        self.uncount(counted);
        shard.pending.insert(key.clone(), Pending::Ending(session.clone()));
        drop(shard);
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
        let now = self.settings.clock.now();
        let mut evicted = Vec::new();
        for shard in &self.shards {
            let mut shard = sync::lock(shard);
            for _ in 0..shard.held.len() {
                self.recount_held(&mut shard);
            }
            let Some(idle) = self.settings.idle else { continue };
            for _ in 0..shard.resident.len() {
                let step = shard.evict_idle(idle, now);
                evicted.extend(self.take_step(step));
            }
        }
        evicted.len()
    }

    /// Makes room for one more session, which then counts.
    fn make_room(&self, key: &K) -> Result<(), Error> {
        let home = self.index(key);
        // Dropped without the locks.
        let mut evicted = Vec::new();
        // One at a time: two that make room together could both find the map full.
        let admission = sync::lock(&self.admission);
        // More than one, as one may be added with each load.
        let next = self.recounted.fetch_add(1, Ordering::Relaxed);
        for shard in [home, home, next, next] {
            self.recount_held(&mut sync::lock(&self.shards[shard % SHARDS]));
        }
        // Once around spares whoever was used recently.
        for shard in home..home + 2 * SHARDS {
            let mut shard = sync::lock(&self.shards[shard % SHARDS]);
            while self.resident.load(Ordering::Relaxed) >= self.settings.capacity {
                let step = shard.make_room();
                if matches!(step, Step::Kept) {
                    break;
                }
                evicted.extend(self.take_step(step));
            }
        }
        let has_room = self.resident.load(Ordering::Relaxed) < self.settings.capacity;
        self.resident.fetch_add(usize::from(has_room), Ordering::Relaxed);
        drop(admission);
        if has_room { Ok(()) } else { Err(Error::new(ErrorKind::SessionsFull)) }
    }

    fn recount_held(&self, shard: &mut Shard<K, S>) {
        self.resident.fetch_add(usize::from(shard.recount_held()), Ordering::Relaxed);
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
    async fn run(mut self) {
        self.end = LoadEnd::Lost(ErrorKind::TaskDropped);
        let (map, key) = (Arc::clone(&self.map), self.key.clone());
        let Ok(timeout) = map.settings.clock.sleep(map.settings.load_timeout) else {
            self.end = LoadEnd::Lost(ErrorKind::MissingRuntime);
            return;
        };
        let load = Box::pin(async {
            if let Some(session) = &self.after {
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
    fn admit(&self, handle: &S) -> Result<bool, Error> {
        let map = &self.map;
        let now = map.settings.clock.now();
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
        map.make_room(&self.key).inspect_err(|_| handle.session().begin_shutdown())?;
        // Dropped without the lock.
        let (_ended, _evicted);
        let mut shard = map.shard(&self.key);
        if !self.is_current(&shard) || self.load.is_unwanted() || map.is_closed.load(Ordering::Relaxed) {
            drop(shard);
            map.uncount(true);
            handle.session().begin_shutdown();
            return Ok(false);
        }
        _ended = shard.pending.swap_remove(&self.key);
        shard.insert(self.key.clone(), handle.clone(), now);
        // One that isn't needed any more makes room for later ones.
        let step = map.settings.idle.map(|idle| shard.evict_idle(idle, now));
        _evicted = step.and_then(|step| map.take_step(step));
        Ok(true)
    }

    fn is_current(&self, shard: &Shard<K, S>) -> bool {
        let pending = shard.pending.get(&self.key);
        matches!(pending, Some(Pending::Loading { load, .. }) if Arc::ptr_eq(load, &self.load))
    }

    /// Gives the load up. What must end before the next one stays: the session that this one waited for, or the one
    /// that it has loaded.
    fn give_up(&self, loaded: Option<&S>, failure: Option<&Error>) {
        let is_ending = |session: &&S| !session.session().is_at_rest_and_saved();
        let ending = loaded.or(self.after.as_ref()).filter(is_ending).cloned();
        let now = self.map.settings.clock.now();
        // Dropped without the lock.
        let (_pending, _forgotten);
        let mut shard = self.map.shard(&self.key);
        if !self.is_current(&shard) {
            return;
        }
        _pending = match ending {
            Some(session) => shard.pending.insert(self.key.clone(), Pending::Ending(session)),
            None => shard.pending.swap_remove(&self.key),
        };
        _forgotten = failure.map(|error| shard.remember_failure(self.key.clone(), error.clone(), now));
    }

    fn finish(&self, end: LoadEnd<S>) -> Option<Result<S, Error>> {
        let retry_at = || {
            let now = self.map.settings.clock.now().wall;
            Some(system_time(now.saturating_add(PAUSE_AFTER_FAILURE)))
        };
        match end {
            LoadEnd::Loaded(session) => match self.admit(&session) {
                Ok(true) => Some(Ok(session)),
                Ok(false) => {
                    self.give_up(Some(&session), None);
                    None
                }
                Err(error) => {
                    let error = error.at(retry_at());
                    self.give_up(Some(&session), Some(&error));
                    Some(Err(error))
                }
            },
            LoadEnd::Failed(error) => {
                let error = error.at(retry_at());
                self.give_up(None, Some(&error));
                Some(Err(error))
            }
            LoadEnd::Lost(kind) => {
                self.give_up(None, None);
                Some(Err(Error::new(kind)))
            }
        }
    }
}

impl<K, S> Drop for LoadGuard<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, LoadEnd::Lost(ErrorKind::TaskDropped));
        // A clock or a key may panic. The callers must not wait forever.
        let result = catch_panic(|| self.finish(end));
        self.load.end(result.unwrap_or_else(|| Some(Err(Error::new(ErrorKind::TaskDropped)))));
    }
}

fn failed(error: BoxError) -> Error {
    Error::with_details(ErrorKind::LoadFailed, None, Some(error.into()))
}
