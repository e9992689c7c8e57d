//! [`RefreshLimit`].

use std::{fmt, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on concurrent refreshes, shared by any number of sessions.
///
/// After an outage, the sessions of thousands of users would otherwise all call the token endpoint together. With a
/// limit each refresh needs a permit, and they get it in the order in which they started. A refresh that waits for its
/// permit has presented nothing: its [`refresh_timeout`](crate::SessionBuilder::refresh_timeout) starts when it gets
/// one. The callers' own timeouts run meanwhile. A session whose token is fresh needs no permit.
///
/// Clones are cheap and share the limit. Pass it to
/// [`SessionBuilder::refresh_limit`](crate::SessionBuilder::refresh_limit).
///
/// # A runtime that isn't running
///
/// The task of a refresh holds the permit. On a runtime that isn't running (a current-thread runtime after its
/// `block_on` has returned), it keeps the permit until the runtime runs again or is dropped. Use a
/// [`Spawner`](crate::rt::Spawner) for a runtime that always runs.
///
/// # Refreshes that need each other
///
/// A refresher or a save hook must not wait for a token of another session with the same limit: that one may need the
/// permit that this one has.
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
    /// Creates a limit of `max` concurrent refreshes, at least 1.
    pub fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Returns a permit if there is one and nobody waits for it.
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
