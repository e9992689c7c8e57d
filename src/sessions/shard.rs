//! A part of the map, behind a lock of its own: which sessions it has, and which can be evicted.

use std::{hash::Hash, sync::Arc};

use indexmap::IndexMap;

use crate::{
    error::Error,
    rt::{Nanos, Timestamp},
};

use super::{handle::SessionHandle, load::Load};

pub(super) struct Shard<K, S> {
    /// These count towards the capacity. The hand goes around them.
    pub(super) resident: IndexMap<K, Resident<S>>,
    /// How many are left to look at in this round. It goes downwards: what `swap_remove` moves into a gap has then been
    /// looked at in this round, or is newer.
    hand: usize,
    /// Sessions that others held when the hand came by. They don't count.
    pub(super) held: IndexMap<K, Resident<S>>,
    /// As `hand`.
    held_hand: usize,
    /// Keys without a usable session.
    pub(super) pending: IndexMap<K, Pending<S>>,
    failed: IndexMap<K, Failed>,
}

pub(super) struct Resident<S> {
    pub(super) handle: S,
    used_at: Timestamp,
    /// It was used since the hand last came by.
    is_recent: bool,
}

pub(super) enum Pending<S> {
    /// `after`: a session of the key that must end first.
    Loading { load: Arc<Load<S>>, after: Option<S> },
    /// A session that is no longer handed out, but has a refresh or a save in progress, or is unsaved.
    Ending(S),
}

/// A load that failed, so that the next one waits.
struct Failed {
    error: Error,
    at: Timestamp,
}

/// What the hand did.
pub(super) enum Step<S> {
    /// To be dropped without the lock.
    Evicted(S),
    /// It doesn't count any more.
    Held,
    Kept,
}

/// Failures beyond these are forgotten, so that made-up keys don't fill the memory.
const MAX_FAILED: usize = 64;
pub(super) const PAUSE_AFTER_FAILURE: Nanos = 1_000_000_000;

// === impl Shard ===

impl<K: Eq + Hash, S: SessionHandle> Shard<K, S> {
    pub(super) fn new() -> Self {
        Self {
            resident: IndexMap::new(),
            hand: 0,
            held: IndexMap::new(),
            held_hand: 0,
            pending: IndexMap::new(),
            failed: IndexMap::new(),
        }
    }

    /// The session of a key, which is thereby used.
    #[inline]
    pub(super) fn touch(&mut self, key: &K, now: Timestamp) -> Option<&S> {
        let resident = match self.resident.get_mut(key) {
            Some(resident) => resident,
            None => self.held.get_mut(key)?,
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
        Some((self.held.swap_remove(key)?.handle, false))
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
        let replaced = self.failed.insert(key, Failed { error, at });
        [forgotten.map(|(_, failed)| failed.error), replaced.map(|failed| failed.error)]
    }

    /// Returns it, to be dropped without the lock.
    pub(super) fn forget_failure(&mut self, key: &K) -> Option<Error> {
        Some(self.failed.shift_remove(key)?.error)
    }

    /// Looks at one of those that others held, and lets it count again if nobody does. Returns whether it counts.
    pub(super) fn recount_held(&mut self) -> bool {
        if self.held_hand == 0 || self.held_hand > self.held.len() {
            self.held_hand = self.held.len();
        }
        self.held_hand = self.held_hand.saturating_sub(1);
        let is_free = |(_, resident): (&K, &Resident<S>)| !resident.handle.session().is_held();
        if !self.held.get_index(self.held_hand).is_some_and(is_free) {
            return false;
        }
        let freed = self.held.swap_remove_index(self.held_hand);
        self.resident.extend(freed);
        true
    }

    /// Moves the hand until it has made room for one session, or has gone around. Whoever was used since it last came by
    /// gets a second chance.
    pub(super) fn make_room(&mut self) -> Step<S> {
        for _ in 0..self.resident.len() {
            match self.step(|resident| !std::mem::take(&mut resident.is_recent)) {
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
        if resident.handle.session().is_held() {
            let held = self.resident.swap_remove_index(self.hand);
            self.held.extend(held);
            return Step::Held;
        }
        if may_evict(resident) && resident.handle.session().try_retire() {
            if let Some((_, evicted)) = self.resident.swap_remove_index(self.hand) {
                return Step::Evicted(evicted.handle);
            }
        }
        Step::Kept
    }
}
