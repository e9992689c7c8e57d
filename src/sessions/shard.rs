//! A part of the map, behind a lock of its own: which sessions it has, and which can be evicted.

use std::{hash::Hash, sync::Arc};

use indexmap::IndexMap;

use crate::{error::Error, rt::Nanos};

use super::{handle::SessionHandle, load::Load};

pub(super) struct Shard<K, S> {
    /// These count towards the capacity. The hand goes around them.
    pub(super) resident: IndexMap<K, Resident<S>>,
    hand: usize,
    /// Sessions that others held when the hand came by. They don't count.
    pub(super) held: IndexMap<K, Resident<S>>,
    next_held: usize,
    /// Keys without a usable session.
    pub(super) pending: IndexMap<K, Pending<S>>,
    failed: IndexMap<K, Failed>,
}

pub(super) struct Resident<S> {
    pub(super) handle: S,
    /// On the monotonic clock.
    used_at: Nanos,
    /// It was used since the hand last came by.
    is_recent: bool,
}

pub(super) enum Pending<S> {
    /// `after`: the session that was removed, which must end first.
    Loading { load: Arc<Load<S>>, after: Option<S> },
    /// A session that was removed, but has a refresh or a save in progress, or is unsaved.
    Ending(S),
}

/// A load that failed, so that the next one waits.
struct Failed {
    error: Error,
    /// On the monotonic clock.
    until: Nanos,
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

// === impl Shard ===

impl<K: Eq + Hash, S: SessionHandle> Shard<K, S> {
    pub(super) fn new() -> Self {
        Self {
            resident: IndexMap::new(),
            hand: 0,
            held: IndexMap::new(),
            next_held: 0,
            pending: IndexMap::new(),
            failed: IndexMap::new(),
        }
    }

    /// The session of a key, which is thereby used.
    #[inline]
    pub(super) fn touch(&mut self, key: &K, now: Nanos) -> Option<&S> {
        let resident = match self.resident.get_mut(key) {
            Some(resident) => resident,
            None => self.held.get_mut(key)?,
        };
        resident.used_at = now;
        resident.is_recent = true;
        Some(&resident.handle)
    }

    pub(super) fn insert(&mut self, key: K, handle: S, now: Nanos) {
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
    pub(super) fn failure(&mut self, key: &K, now: Nanos) -> Option<Error> {
        let failed = self.failed.get(key)?;
        if now < failed.until {
            return Some(failed.error.clone());
        }
        self.failed.swap_remove(key);
        None
    }

    pub(super) fn remember_failure(&mut self, key: K, error: Error, until: Nanos) {
        if self.failed.len() >= MAX_FAILED {
            self.failed.swap_remove_index(0);
        }
        self.failed.insert(key, Failed { error, until });
    }

    pub(super) fn forget_failure(&mut self, key: &K) {
        self.failed.swap_remove(key);
    }

    /// Looks at one of those that others held, and lets it count again if nobody does. Returns whether it counts.
    pub(super) fn recount_held(&mut self) -> bool {
        self.next_held = if self.next_held < self.held.len() { self.next_held } else { 0 };
        match self.held.get_index(self.next_held) {
            Some((_, resident)) if !resident.handle.session().is_held() => {
                let (key, resident) =
                    self.held.swap_remove_index(self.next_held).expect("it was there a moment ago");
                self.resident.insert(key, resident);
                true
            }
            Some(_) => {
                self.next_held += 1;
                false
            }
            None => false,
        }
    }

    /// Moves the hand until it has made room for one session. It goes around twice at most: whoever was used recently
    /// gets a second chance.
    pub(super) fn make_room(&mut self) -> Step<S> {
        for _ in 0..2 * self.resident.len() {
            match self.step(|resident| !std::mem::take(&mut resident.is_recent)) {
                Step::Kept => {}
                step => return step,
            }
        }
        Step::Kept
    }

    /// Moves the hand by one, and evicts what has been idle since `before`.
    pub(super) fn evict_idle(&mut self, before: Nanos) -> Step<S> {
        self.step(|resident| resident.used_at < before)
    }

    fn step(&mut self, may_evict: impl FnOnce(&mut Resident<S>) -> bool) -> Step<S> {
        self.hand = if self.hand < self.resident.len() { self.hand } else { 0 };
        let Some((_, resident)) = self.resident.get_index_mut(self.hand) else { return Step::Kept };
        let session = resident.handle.session();
        if session.is_held() {
            let (key, resident) = self.resident.swap_remove_index(self.hand).expect("the hand is inside");
            self.held.insert(key, resident);
            return Step::Held;
        }
        if may_evict(resident) && resident.handle.session().try_retire() {
            let (_, resident) = self.resident.swap_remove_index(self.hand).expect("the hand is inside");
            return Step::Evicted(resident.handle);
        }
        self.hand += 1;
        Step::Kept
    }
}
