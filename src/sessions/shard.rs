//! A part of the map, behind a lock of its own: which sessions it has, and which can be evicted.
//!
//! Eviction is the CLOCK (second-chance) algorithm: a hand moves over the sessions and evicts one that wasn't used
//! since it last passed.

use std::{hash::Hash, sync::Arc};

use indexmap::IndexMap;

use crate::{
    error::Error,
    rt::{Nanos, Timestamp},
};

use super::{handle::SessionHandle, load::Load};

pub(super) struct Shard<K, S> {
    /// These count towards the capacity.
    pub(super) resident: IndexMap<K, Resident<S>>,
    /// How many are left to look at in this round. It moves downwards: what `swap_remove` moves into a gap has then been
    /// looked at in this round, or is newer.
    hand: usize,
    /// Sessions that were in use when the hand passed. They don't count.
    pub(super) in_use: IndexMap<K, Resident<S>>,
    /// As `hand`.
    in_use_hand: usize,
    /// Keys without a usable session.
    pub(super) pending: IndexMap<K, PendingKey<S>>,
    failed: IndexMap<K, FailedLoad>,
}

pub(super) struct Resident<S> {
    pub(super) handle: S,
    used_at: Timestamp,
    /// It was used since the hand last passed.
    is_recent: bool,
}

pub(super) enum PendingKey<S> {
    /// `after`: a session of the key that must end first.
    Loading { load: Arc<Load<S>>, after: Option<S> },
    /// A session that is no longer handed out, but has a refresh or a save in progress, or is unsaved.
    Ending(S),
}

/// A load that failed, so that the next one waits.
struct FailedLoad {
    error: Error,
    at: Timestamp,
}

/// What the hand did.
pub(super) enum Step<S> {
    /// To be dropped without the lock.
    Evicted(S),
    /// It doesn't count any more.
    InUse,
    Kept,
}

/// Older failures are forgotten, so that made-up keys don't fill the memory.
const MAX_FAILED: usize = 64;
pub(super) const PAUSE_AFTER_FAILURE: Nanos = 1_000_000_000;

// === impl Shard ===

impl<K: Eq + Hash, S: SessionHandle> Shard<K, S> {
    pub(super) fn new() -> Self {
        Self {
            resident: IndexMap::new(),
            hand: 0,
            in_use: IndexMap::new(),
            in_use_hand: 0,
            pending: IndexMap::new(),
            failed: IndexMap::new(),
        }
    }

    /// The session of a key, which is thereby used.
    #[inline]
    pub(super) fn touch(&mut self, key: &K, now: Timestamp) -> Option<&S> {
        let resident = match self.resident.get_mut(key) {
            Some(resident) => resident,
            None => self.in_use.get_mut(key)?,
        };
        resident.used_at = now;
        resident.is_recent = true;
        Some(&resident.handle)
    }

    pub(super) fn insert(&mut self, key: K, handle: S, now: Timestamp) {
        self.resident.insert(key, Resident { handle, used_at: now, is_recent: true });
    }

    /// Takes a session out. Returns whether it counted.
    pub(super) fn take(&mut self, key: &K) -> Option<(S, bool)> {
        if let Some(resident) = self.resident.swap_remove(key) {
            return Some((resident.handle, true));
        }
        Some((self.in_use.swap_remove(key)?.handle, false))
    }

    /// The error of a load that failed a short time ago.
    pub(super) fn failure(&self, key: &K, now: Timestamp) -> Option<Error> {
        let failed = self.failed.get(key).filter(|failed| now.since(failed.at) < PAUSE_AFTER_FAILURE)?;
        Some(failed.error.clone())
    }

    /// Returns what it forgets instead, to be dropped without the lock.
    pub(super) fn remember_failure(&mut self, key: K, error: Error, at: Timestamp) -> [Option<Error>; 2] {
        let is_full = self.failed.len() >= MAX_FAILED && !self.failed.contains_key(&key);
        // The oldest.
        let forgotten = if is_full { self.failed.shift_remove_index(0) } else { None };
        let replaced = self.failed.insert(key, FailedLoad { error, at });
        [forgotten.map(|(_, failed)| failed.error), replaced.map(|failed| failed.error)]
    }

    /// Returns it, to be dropped without the lock.
    pub(super) fn forget_failure(&mut self, key: &K) -> Option<Error> {
        Some(self.failed.shift_remove(key)?.error)
    }

    /// Looks at one of those that were in use, and lets it count again if it isn't any more. Returns whether it does.
    pub(super) fn recount_in_use(&mut self) -> bool {
        if self.in_use_hand == 0 || self.in_use_hand > self.in_use.len() {
            self.in_use_hand = self.in_use.len();
        }
        self.in_use_hand = self.in_use_hand.saturating_sub(1);
        let is_free = |(_, resident): (&K, &Resident<S>)| !resident.handle.session().is_in_use();
        if !self.in_use.get_index(self.in_use_hand).is_some_and(is_free) {
            return false;
        }
        let freed = self.in_use.swap_remove_index(self.in_use_hand);
        self.resident.extend(freed);
        true
    }

    /// Moves the hand until it has made room for one session, or has passed all of them. If `spares_recent`, a session
    /// that was used since it last passed gets a second chance.
    pub(super) fn make_room(&mut self, spares_recent: bool) -> Step<S> {
        for _ in 0..self.resident.len() {
            match self.step(|resident| !(std::mem::take(&mut resident.is_recent) && spares_recent)) {
                Step::Kept => {}
                step => return step,
            }
        }
        Step::Kept
    }

    /// Moves the hand by one, and evicts what has been idle for that long.
    pub(super) fn evict_idle(&mut self, idle: Nanos, now: Timestamp) -> Step<S> {
        self.step(|resident| now.since(resident.used_at) > idle)
    }

    fn step(&mut self, may_evict: impl FnOnce(&mut Resident<S>) -> bool) -> Step<S> {
        if self.hand == 0 || self.hand > self.resident.len() {
            self.hand = self.resident.len();
        }
        self.hand = self.hand.saturating_sub(1);
        let Some((_, resident)) = self.resident.get_index_mut(self.hand) else { return Step::Kept };
        if resident.handle.session().is_in_use() {
            let in_use = self.resident.swap_remove_index(self.hand);
            self.in_use.extend(in_use);
            return Step::InUse;
        }
        if may_evict(resident) && resident.handle.session().try_retire() {
            if let Some((_, evicted)) = self.resident.swap_remove_index(self.hand) {
                return Step::Evicted(evicted.handle);
            }
        }
        Step::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{refresh::RefreshError, refresh_fn, session::Session};

    /// Callers may use a session again as fast as the hand comes around.
    #[test]
    fn p20_a_session_that_is_always_in_demand_does_not_fill_the_map() {
        let refresher = refresh_fn(|_| async { Err(RefreshError::transient("not called")) });
        let now = Timestamp { wall: 0, monotonic: 0 };
        let mut shard = Shard::new();
        shard.insert(1, Session::builder(refresher).build(), now);
        assert!(matches!(shard.make_room(true), Step::Kept));
        shard.touch(&1, now);
        assert!(matches!(shard.make_room(true), Step::Kept));
        shard.touch(&1, now);
        assert!(matches!(shard.make_room(false), Step::Evicted(_)));
    }
}
