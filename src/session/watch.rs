//! [`Watch`].

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::{event::Closed, sync::Notify};

use super::{machine::Status, shared::Shared};

/// Observes changes of a session. Created by [`Session::watch`](crate::Session::watch).
///
/// It doesn't keep its session alive, and ends with it.
#[derive(Clone)]
pub struct Watch {
    session: Weak<Shared>,
    changed: Arc<Notify>,
    seen: u64,
    last: Status,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (last, seen) = shared.status();
        Self { session: Arc::downgrade(shared), changed: Arc::clone(shared.notifier()), seen, last }
    }

    /// Returns the current status and marks it as seen.
    ///
    /// After the last [`Session`](crate::Session) is gone it returns the last status that it has seen.
    pub fn status(&mut self) -> Status {
        if let Some(shared) = self.session.upgrade() {
            (self.last, self.seen) = shared.status();
        }
        self.last.clone()
    }

    /// Waits for an unseen change, and marks it as seen.
    ///
    /// Expiry isn't a change, nor is a change in the number of waiters.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the last [`Session`](crate::Session) is gone, with its layers and services.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let changed = self.changed.notified();
            let version = self.session.upgrade().ok_or(Closed(()))?.lock().version;
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
