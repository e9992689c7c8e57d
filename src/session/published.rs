//! The token that callers read without the lock, and for how long they may use it.

use std::sync::Arc;

use crate::{rt::Timestamp, shard::Sharded, sync::ArcSwapOption};

use super::machine::Snapshot;

/// A snapshot for each of a few threads.
///
/// A thread's snapshot is created when that thread first needs it: an empty shard is a miss, and the slow
/// path fills it. Everything but `read` is called under the session's lock, so that an older snapshot can't
/// replace a newer one, and nothing can be filled in after a sign-out.
pub(super) struct Published {
    /// Each over a header buffer of its own, to avoid contention on its reference count.
    shards: Sharded<ArcSwapOption<Snapshot>>,
}

// === impl Published ===

impl Published {
    pub(super) fn new() -> Self {
        Self { shards: Sharded::new(ArcSwapOption::empty) }
    }

    /// Reads this thread's snapshot, if there is a valid one.
    #[inline]
    pub(super) fn read<T>(&self, now: Timestamp, read: impl FnOnce(&Snapshot) -> Option<T>) -> Option<T> {
        let snapshot = self.shards.get().load();
        let snapshot = snapshot.as_deref().filter(|snapshot| snapshot.is_valid(now))?;
        read(snapshot)
    }

    /// Replaces every thread's snapshot: this thread's with `snapshot`, the others with nothing.
    pub(super) fn publish(&self, snapshot: Option<Snapshot>) {
        for shard in self.shards.iter() {
            shard.store(None);
        }
        self.fill(snapshot);
    }

    /// Sets this thread's snapshot.
    pub(super) fn fill(&self, snapshot: Option<Snapshot>) {
        let Some(mut snapshot) = snapshot else { return };
        // The first one has the machine's own buffer.
        if self.shards.iter().any(|shard| shard.load().is_some()) {
            snapshot.token = snapshot.token.deep_clone();
        }
        self.shards.get().store(Some(Arc::new(snapshot)));
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// If the wall clock is before the snapshot, the slow path re-anchors the token.
    #[inline]
    fn is_valid(&self, now: Timestamp) -> bool {
        now.wall >= self.taken_at.wall
            && now.wall < self.valid_until.wall
            && now.monotonic < self.valid_until.monotonic
    }
}
