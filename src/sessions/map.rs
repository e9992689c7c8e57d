//! The map: making room for sessions, and removing them.
//!
//! It isn't built on a cache: `quick_cache` can pin entries, but then exceeds its capacity, where this map must return
//! an error. It evicts nothing that is merely idle, and its placeholder for a load doesn't share a failure.

use std::{
    collections::hash_map::RandomState,
    fmt,
    future::Future,
    hash::{BuildHasher, Hash},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind},
    panics::catch_panic,
    sync,
};

use super::{
    builder::MapSettings,
    handle::SessionHandle,
    shard::{PendingKey, Shard, Step},
};

pub(super) struct Map<K, S> {
    pub(super) settings: MapSettings<K, S>,
    pub(super) shards: Box<[Mutex<Shard<K, S>>]>,
    hasher: RandomState,
    /// How many sessions count towards the capacity.
    resident: AtomicUsize,
    /// Held while room is made.
    admission: Mutex<()>,
    /// The next shard in which a session that was in use is counted again, if it is no longer.
    recounted: AtomicUsize,
    pub(super) is_closed: AtomicBool,
}

const SHARDS: usize = 16;
/// Longer than a removed session can take to end.
const LONGEST_END: Duration = Duration::from_secs(600);

// === impl Map ===

impl<K, S> Map<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    pub(super) fn new(settings: MapSettings<K, S>) -> Self {
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

    #[inline]
    pub(super) fn find_loaded<T>(&self, key: &K, read: impl FnOnce(&S) -> T) -> Option<T> {
        let now = self.settings.clock.now();
        self.shard(key).touch(key, now).map(read)
    }

    pub(super) fn remove(self: &Arc<Self>, key: &K) {
        let _forgotten;
        let mut shard = self.shard(key);
        _forgotten = shard.forget_failure(key);
        if let Some(PendingKey::Loading { load, .. }) = shard.pending.get(key) {
            load.discard();
        }
        let Some((session, counted)) = shard.take(key) else { return };
        self.uncount(usize::from(counted));
        shard.pending.insert(key.clone(), PendingKey::Ending(session.clone()));
        drop(shard);
        session.session().begin_shutdown();
        self.forget_when_ended(key, session);
    }

    /// Forgets a session that is ending once it has ended and nothing of it is unsaved.
    pub(super) fn forget_when_ended(self: &Arc<Self>, key: &K, session: S) {
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
                Some(PendingKey::Ending(session)) if is_same(session) => shard.pending.swap_remove(key),
                _ => None,
            }
        };
        // Dropped without the lock.
        drop(forgotten);
    }

    pub(super) fn len(&self) -> usize {
        let count = |shard: MutexGuard<'_, Shard<K, S>>| shard.resident.len() + shard.in_use.len();
        self.shards.iter().map(|shard| count(sync::lock(shard))).sum()
    }

    pub(super) fn evict_idle(&self) -> usize {
        let now = self.settings.clock.now();
        let mut evicted = Vec::new();
        for shard in &self.shards {
            let mut shard = sync::lock(shard);
            for _ in 0..shard.in_use.len() {
                self.recount_in_use(&mut shard);
            }
            let Some(idle) = self.settings.idle else { continue };
            for _ in 0..shard.resident.len() {
                let step = shard.evict_idle(idle, now);
                evicted.extend(self.take_step(step));
            }
        }
        let _admission = sync::lock(&self.admission);
        self.shrink_to(self.settings.capacity, 0, &mut evicted);
        evicted.len()
    }

    /// Evicts until no more than `most` count, as far as sessions can be evicted.
    fn shrink_to(&self, most: usize, home: usize, evicted: &mut Vec<S>) {
        // Two rounds, as the first spares recently used sessions. The second doesn't, as callers go on using them.
        for shard in home..home + 2 * SHARDS {
            let spares_recent = shard < home + SHARDS;
            let mut shard = sync::lock(&self.shards[shard % SHARDS]);
            while self.resident.load(Ordering::Relaxed) > most {
                let step = shard.make_room(spares_recent);
                if matches!(step, Step::Kept) {
                    break;
                }
                evicted.extend(self.take_step(step));
            }
        }
    }

    /// Makes room for one more session, which then counts. It must be inserted while the guard is held: otherwise
    /// another load could find the map full of sessions that aren't there yet.
    pub(super) fn make_room<'a>(
        &'a self,
        key: &K,
        evicted: &mut Vec<S>,
    ) -> Result<MutexGuard<'a, ()>, Error> {
        let home = self.index(key);
        let admission = sync::lock(&self.admission);
        // More than one, as one may be added with each load.
        let next = self.recounted.fetch_add(1, Ordering::Relaxed);
        for shard in [home, home, next, next] {
            self.recount_in_use(&mut sync::lock(&self.shards[shard % SHARDS]));
        }
        self.shrink_to(self.settings.capacity - 1, home, evicted);
        let has_room = self.resident.load(Ordering::Relaxed) < self.settings.capacity;
        self.resident.fetch_add(usize::from(has_room), Ordering::Relaxed);
        if has_room { Ok(admission) } else { Err(Error::new(ErrorKind::SessionsFull)) }
    }

    fn recount_in_use(&self, shard: &mut Shard<K, S>) {
        self.resident.fetch_add(usize::from(shard.recount_in_use()), Ordering::Relaxed);
    }

    /// Updates the count after a step of the hand.
    pub(super) fn take_step(&self, step: Step<S>) -> Option<S> {
        self.uncount(usize::from(!matches!(step, Step::Kept)));
        match step {
            Step::Evicted(session) => Some(session),
            Step::InUse | Step::Kept => None,
        }
    }

    pub(super) fn uncount(&self, sessions: usize) {
        self.resident.fetch_sub(sessions, Ordering::Relaxed);
    }

    pub(super) fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, S>> {
        sync::lock(&self.shards[self.index(key)])
    }

    fn index(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    /// A task that can't be spawned is dropped; a load's guard reports that.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
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
