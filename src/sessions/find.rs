//! Finding a session, and the task that loads it.

use std::{
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use futures_util::{
    FutureExt,
    future::{Either, select},
};

use crate::{
    error::{BoxError, Error, ErrorKind},
    panics::{catch_panic, drop_panic},
    rt::{Nanos, duration, nanos, system_time},
    session::Attachment,
};

use super::{
    handle::SessionHandle,
    load::Load,
    map::Map,
    shard::{PAUSE_AFTER_FAILURE, PendingKey, Shard},
};

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
    /// It is no longer wanted.
    Discarded,
    /// Its task was dropped.
    Dropped,
    NoRuntime,
}

/// The time after its own timeout at which an unfinished load is given up.
const OVERDUE: Nanos = 1_000_000_000;

// === impl Map ===

impl<K, S> Map<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    /// Finds the session of a key, or the load of it, which it starts if necessary.
    #[inline]
    pub(super) fn find<T>(self: &Arc<Self>, key: &K, read: impl Fn(&S) -> T) -> Result<Found<T, S>, Error> {
        match self.find_loaded(key, &read) {
            Some(found) => Ok(Found::Session(found)),
            None => self.find_or_load(key, read),
        }
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
            // If it is overdue, its task isn't being polled, and this one takes its place.
            Some(PendingKey::Loading { load, .. }) if !load.is_overdue(now) => {
                return Ok(Found::Loading(Arc::clone(load)));
            }
            Some(PendingKey::Loading { after, .. }) => after.clone(),
            Some(PendingKey::Ending(session)) => Some(session.clone()),
            None => None,
        };
        if let Some(error) = shard.failure(key, now) {
            return Err(error);
        }
        if !can_spawn {
            return Err(Error::new(ErrorKind::MissingRuntime));
        }
        let timeout = nanos(self.settings.load_timeout).saturating_add(OVERDUE);
        let load = Arc::new(Load::new(now.monotonic, timeout));
        let loading = PendingKey::Loading { load: Arc::clone(&load), after: after.clone() };
        _forgotten = shard.pending.insert(key.clone(), loading);
        drop(shard);
        let guard = LoadGuard {
            map: Arc::clone(self),
            key: key.clone(),
            load: Arc::clone(&load),
            after,
            end: LoadEnd::NoRuntime,
        };
        self.spawn(guard.run());
        Ok(Found::Loading(load))
    }
}

// === impl LoadGuard ===

impl<K, S> LoadGuard<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    async fn run(mut self) {
        self.end = LoadEnd::Dropped;
        let (map, key) = (Arc::clone(&self.map), self.key.clone());
        // From the start of the load, not from this first poll.
        let left = self.load.time_left(map.settings.clock.now()).saturating_sub(OVERDUE);
        let Ok(timeout) = map.settings.clock.sleep(duration(left)) else {
            self.end = LoadEnd::NoRuntime;
            return;
        };
        let load = Box::pin(async {
            if let Some(session) = &self.after {
                let ended = session.session().shutdown(map.settings.load_timeout).await;
                ended.map_err(|error| if error.is_unsaved() { error } else { failed(error.into()) })?;
            }
            if !self.is_wanted(&map.shard(&key)) {
                return Ok(None);
            }
            // The panic guard also covers what the function does before it returns its future.
            let load = AssertUnwindSafe(async { (map.settings.load)(key).await }).catch_unwind();
            match load.await {
                Ok(loaded) => loaded.map(Some).map_err(failed),
                Err(panic) => {
                    drop_panic(panic);
                    Err(failed("the function that loads a session panicked".into()))
                }
            }
        });
        let end = match select(load, timeout).await {
            Either::Left((Ok(Some(session)), _)) => LoadEnd::Loaded(session),
            Either::Left((Ok(None), _)) => LoadEnd::Discarded,
            Either::Left((Err(error), _)) => LoadEnd::Failed(error),
            Either::Right(_) => LoadEnd::Failed(timed_out()),
        };
        self.end = end;
    }

    /// Attaches a loaded session to the map.
    fn attach(&self, handle: &S) -> Result<(), Error> {
        let settings = &self.map.settings;
        let listener = settings.listener.clone().map(|listener| {
            let key = self.key.clone();
            Arc::new(move |event: &_| listener(&key, event)) as _
        });
        let attachment = Attachment { listener, refresh_limit: settings.refresh_limit.clone() };
        if handle.session().attach(attachment) {
            return Ok(());
        }
        Err(failed(
            "the session is already in a map: build a new one for each call, and use one key per credential"
                .into(),
        ))
    }

    /// Puts a session into the map. Returns whether it is still wanted.
    fn admit(&self, handle: &S) -> Result<bool, Error> {
        let map = &self.map;
        let now = map.settings.clock.now();
        // Dropped without the locks.
        let mut evicted = Vec::new();
        let _pending;
        let _admission = map.make_room(&self.key, &mut evicted)?;
        let mut shard = map.shard(&self.key);
        if !self.is_wanted(&shard) {
            map.uncount(1);
            return Ok(false);
        }
        _pending = shard.pending.swap_remove(&self.key);
        shard.insert(self.key.clone(), handle.clone(), now);
        // One that isn't needed any more makes room for later ones.
        let step = map.settings.idle.map(|idle| shard.evict_idle(idle, now));
        evicted.extend(step.and_then(|step| map.take_step(step)));
        Ok(true)
    }

    fn is_wanted(&self, shard: &Shard<K, S>) -> bool {
        self.is_current(shard) && !self.load.is_unwanted() && !self.map.is_closed.load(Ordering::Relaxed)
    }

    fn is_current(&self, shard: &Shard<K, S>) -> bool {
        let pending = shard.pending.get(&self.key);
        matches!(pending, Some(PendingKey::Loading { load, .. }) if Arc::ptr_eq(load, &self.load))
    }

    /// Gives the load up. What must end before the next one stays: the session that this one waited for, or the one
    /// that it has attached.
    fn give_up(&self, attached: Option<&S>, failure: Option<&Error>) {
        let is_ending = |session: &&S| !session.session().is_at_rest_and_saved();
        let ending = attached.or(self.after.as_ref()).filter(is_ending).cloned();
        let now = self.map.settings.clock.now();
        {
            // Dropped without the lock.
            let (_pending, _forgotten);
            let mut shard = self.map.shard(&self.key);
            if !self.is_current(&shard) {
                return;
            }
            _pending = match ending.clone() {
                Some(session) => shard.pending.insert(self.key.clone(), PendingKey::Ending(session)),
                None => shard.pending.swap_remove(&self.key),
            };
            _forgotten = failure.map(|error| shard.remember_failure(self.key.clone(), error.clone(), now));
        }
        match (ending, attached) {
            (Some(session), Some(_)) => self.map.forget_when_ended(&self.key, session),
            // The one that removed it waits for it, but may have looked before it was put back.
            (Some(session), None) if session.session().is_at_rest_and_saved() => {
                self.map.forget_ended(&self.key, &session);
            }
            _ => {}
        }
    }

    /// Returns what the callers get. `None`: they look again.
    fn finish(&self, end: LoadEnd<S>) -> Option<Result<S, Error>> {
        let paced = |error: Error| {
            let now = self.map.settings.clock.now().wall;
            error.at(Some(system_time(now.saturating_add(PAUSE_AFTER_FAILURE))))
        };
        let (attached, error) = match end {
            LoadEnd::Loaded(session) => match self.attach(&session).map(|()| self.admit(&session)) {
                Ok(Ok(true)) => return Some(Ok(session)),
                Ok(Ok(false)) => {
                    session.session().begin_shutdown();
                    self.give_up(Some(&session), None);
                    return None;
                }
                Ok(Err(error)) => {
                    session.session().begin_shutdown();
                    (Some(session), paced(error))
                }
                // It is another key's: that one goes on using it.
                Err(error) => (None, paced(error)),
            },
            LoadEnd::Failed(error) if !self.load.is_unwanted() => (None, paced(error)),
            // What it has read is out of date.
            LoadEnd::Failed(_) | LoadEnd::Discarded => {
                self.give_up(None, None);
                return None;
            }
            LoadEnd::Dropped => {
                self.give_up(None, None);
                return Some(Err(dropped()));
            }
            LoadEnd::NoRuntime => {
                self.give_up(None, None);
                return Some(Err(Error::new(ErrorKind::MissingRuntime)));
            }
        };
        self.give_up(attached.as_ref(), Some(&error));
        Some(Err(error))
    }
}

impl<K, S> Drop for LoadGuard<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, LoadEnd::Dropped);
        // A clock or a key may panic. The callers must not wait forever.
        let result = catch_panic(|| self.finish(end));
        self.load.end(result.unwrap_or_else(|| Some(Err(dropped()))));
    }
}

fn dropped() -> Error {
    failed("the task of the load was dropped with its runtime".into())
}

pub(super) fn timed_out() -> Error {
    failed("the load timed out".into())
}

fn failed(error: BoxError) -> Error {
    Error::with_details(ErrorKind::LoadFailed, None, Some(error.into()))
}
