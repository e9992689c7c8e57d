//! What callers read without the lock: the token, and until when nothing but using it is called for.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::{
    clock::{Nanos, Timestamp},
    token::AccessToken,
};

use super::state::Quiet;

pub(super) struct Snapshots {
    current: ArcSwapOption<Snapshot>,
}

pub(super) struct Snapshot {
    pub(super) token: AccessToken,
    from: Timestamp,
    length: Nanos,
    pub(super) stale: bool,
}

// === impl Snapshots ===

impl Snapshots {
    pub(super) fn new() -> Self {
        Self { current: ArcSwapOption::empty() }
    }

    #[inline]
    pub(super) fn read<T>(&self, take: impl FnOnce(&Snapshot) -> Option<T>) -> Option<T> {
        self.current.load().as_deref().and_then(take)
    }

    /// Called under the session's lock, so that an older one never takes a newer one's place.
    pub(super) fn publish(&self, quiet: Option<Quiet>, now: Timestamp) {
        self.current
            .store(quiet.map(|Quiet { token, length, stale }| {
                Arc::new(Snapshot { token, from: now, length, stale })
            }));
    }
}

// === impl Snapshot ===

impl Snapshot {
    #[inline]
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        // A wall clock before the making of the snapshot: the slow path anchors the token anew.
        now.wall >= self.from.wall && now.since(self.from) < self.length
    }
}
