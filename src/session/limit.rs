//! [`RefreshLimit`].

use std::{fmt, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A maximum of refreshes at the same time, for any number of sessions.
///
/// After an outage, the sessions of thousands of users would otherwise call the token endpoint all at once. With a
/// limit they take turns, in the order in which they started. A refresh that waits for its turn has presented
/// nothing: its [`refresh_timeout`](crate::SessionBuilder::refresh_timeout) starts when its turn comes. The callers'
/// own timeouts run meanwhile. A session whose token is fresh needs no turn.
///
/// Clones are cheap and share the limit. Pass it to
/// [`SessionBuilder::refresh_limit`](crate::SessionBuilder::refresh_limit).
///
/// # A runtime that stands still
///
/// A refresh takes its turn in a task. If nobody drives the runtime of that task (a current-thread runtime after its
/// `block_on` has returned), the turn is lost for the other sessions until the runtime runs again or is dropped. Use
/// a [`Spawner`](crate::rt::Spawner) for a runtime that is always driven.
///
/// # Refreshes that need each other
///
/// A refresher or a save hook must not wait for a token of another session with the same limit: that one may need the
/// turn that this one has.
///
/// # Examples
///
/// ```
/// use tower_reauth::{RefreshContext, RefreshLimit, Session, Token, refresh_fn};
///
/// # fn refresher(_: u32) -> impl tower_reauth::Refresher {
/// #     refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) })
/// # }
/// let limit = RefreshLimit::new(64);
/// let sessions: Vec<_> = (0..1_000)
///     .map(|user| Session::builder(refresher(user)).refresh_limit(limit.clone()).build())
///     .collect();
/// # let _ = sessions;
/// ```
#[derive(Clone)]
pub struct RefreshLimit {
    permits: Arc<Semaphore>,
}

pub(super) type Permit = OwnedSemaphorePermit;

// === impl RefreshLimit ===

impl RefreshLimit {
    /// Creates a limit of `max` refreshes at the same time, at least 1.
    pub fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// A permit, if it is this caller's turn.
    pub(super) fn try_acquire(&self) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Waits for a permit, in the order of the calls.
    pub(super) async fn acquire(&self) -> Permit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }
}

impl fmt::Debug for RefreshLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshLimit").field("available", &self.permits.available_permits()).finish()
    }
}
