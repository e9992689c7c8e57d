//! What callers read without the lock: the token, and until when nothing but using it is called for.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;

use crate::{
    rt::{Nanos, Timestamp},
    shard::Sharded,
    token::AccessToken,
};

use super::machine::Quiet;

pub(super) struct Snapshots {
    /// Each over a buffer of its own: the counter of a header's value is what threads would contend for.
    copies: Sharded<ArcSwapOption<Snapshot>>,
    /// Nothing is published: there is nothing to be taken back. Changed under the session's lock.
    empty: AtomicBool,
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
        Self { copies: Sharded::new(ArcSwapOption::empty), empty: AtomicBool::new(true) }
    }

    #[inline]
    pub(super) fn read<T>(&self, take: impl FnOnce(&Snapshot) -> Option<T>) -> Option<T> {
        self.copies.mine().load().as_deref().and_then(take)
    }

    /// Called under the session's lock, so that an older one never takes a newer one's place.
    pub(super) fn publish(&self, quiet: Option<Quiet>, now: Timestamp) {
        let was_empty = self.empty.swap(quiet.is_none(), Ordering::Relaxed);
        if was_empty && quiet.is_none() {
            return;
        }
        for copy in self.copies.iter() {
            copy.store(quiet.as_ref().map(|Quiet { token, length, stale }| {
                let old = copy.load();
                let known = old.as_ref().filter(|old| {
                    old.token.stamp() == token.stamp() && old.token.expires_at() == token.expires_at()
                });
                let token = known.map_or_else(|| token.deep_clone(), |old| old.token.clone());
                Arc::new(Snapshot { token, from: now, length: *length, stale: *stale })
            }));
        }
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
