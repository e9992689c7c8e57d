//! [`View`]: the record, as this process has read or written it.

use crate::rt::{Nanos, Timestamp};

use super::{Version, document::Document, known::Known};

/// A record that was read or written.
pub(super) struct View {
    /// `None`: there is no record.
    pub(super) document: Option<Document>,
    pub(super) version: Option<Version>,
    pub(super) time: StoreTime,
    /// The sign-in that was known before it was read.
    pub(super) epoch: Option<u64>,
}

/// The store's clock at a load, if it has one.
#[derive(Clone, Copy)]
pub(super) struct StoreTime {
    pub(super) at: Option<Nanos>,
    pub(super) sent: Timestamp,
    pub(super) received: Timestamp,
}

// === impl StoreTime ===

impl StoreTime {
    /// By how much the store's clock is ahead of this host's wall clock.
    pub(super) fn ahead_when_read(self) -> Nanos {
        self.at.map_or(0, |at| at.saturating_sub(self.received.wall))
    }

    /// The same for a write: the wall clock may have been set since.
    pub(super) fn ahead_when_written(self, now: Timestamp) -> Nanos {
        let passed = now.monotonic.saturating_sub(self.sent.monotonic);
        self.at.map_or(0, |at| at.saturating_add(passed).saturating_sub(now.wall))
    }
}

// === impl View ===

impl View {
    /// Whether it was written by the write with this mark.
    pub(super) fn is_write(&self, mark: &str) -> bool {
        self.document.as_ref().is_some_and(|document| document.write == mark)
    }

    pub(super) fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Whether there was no record, and this process has signed in since.
    pub(super) fn is_outdated(&self, known: &Known) -> bool {
        self.document.is_none() && self.epoch != known.epoch
    }
}
