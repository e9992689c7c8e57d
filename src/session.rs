//! A credential that is shared and kept valid.

mod attachment;
mod build;
mod builder;
mod changes;
mod completion;
mod driver;
mod flight;
mod hooks;
mod keep_fresh;
mod limit;
#[cfg(feature = "tracing")]
mod log;
mod machine;
#[cfg(feature = "sessions")]
mod mapped;
mod options;
mod published;
mod reentrancy;
mod settings;
mod shared;
mod shutdown;
#[cfg(feature = "store")]
mod stored;
mod tokens;
mod waiter;
mod watch;

use std::{fmt, future::poll_fn, sync::Arc};

use http::HeaderName;

use crate::{
    challenge::Challenges,
    error::Error,
    rt::Timestamp,
    sync::{Ordering, TryLockError},
    token::{AccessToken, Epoch, TokenId},
};

use shared::Shared;

#[cfg(feature = "sessions")]
pub(crate) use attachment::Attachment;
pub use builder::SessionBuilder;
pub use limit::RefreshLimit;
pub use machine::{Health, Status};
pub use options::TokenOptions;
pub use watch::Watch;
#[cfg(feature = "store")]
pub(crate) use {
    builder::InitialToken,
    machine::{Change, ChangeKind, SaveOrder},
    shared::Hook,
    stored::{SessionLink, StoreParts},
};
pub(crate) use {
    driver::Demanded,
    machine::{Demand, WaitLimits},
    waiter::Waiter,
};

/// A credential that is shared and kept valid.
///
/// It holds a token and knows how to refresh it. Clones are cheap and share their state: callers that need a
/// new token wait for a single refresh and share its result. [`AuthLayer`](crate::AuthLayer) uses a session
/// for every request; code without tower can use it directly. [`docs::promises`](crate::docs::promises) has
/// its guarantees.
///
/// # Examples
///
/// For a client without tower (another HTTP library, a WebSocket handshake):
///
/// ```
/// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
///
/// # tokio_test::block_on(async {
/// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
/// let session = Session::builder(refresher).build();
///
/// let token = session.token().await?;
/// assert_eq!(token.header_value(), "Bearer A2");
/// // The server responds with 401: report that, and wait for a newer token.
/// # let session = Session::builder(refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A3")?) }))
/// #     .token(Token::try_new("A2")?).build();
/// # let token = session.token().await?;
/// let newer = session.token_after_rejection(&token).await?;
/// assert_eq!(newer.header_value(), "Bearer A3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

// === impl Session ===

impl Session {
    /// Returns a valid token, refreshing it first if necessary.
    ///
    /// A fresh or stale token is returned immediately; a stale one is refreshed in the background. If there
    /// is none, the call waits for at most the session's wait timeout. After a rejection it waits briefly for
    /// the refresh, then returns the rejected token unless that has expired.
    ///
    /// # Errors
    ///
    /// The refresh's error. Without a usable token, fails immediately if the grant has ended, if the session
    /// is signed out or shut down, if there is no runtime, and during a backoff, unless
    /// [`wait_through_backoff`](SessionBuilder::wait_through_backoff) is set; [`retry_at`](Error::retry_at)
    /// says when the next refresh is allowed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only cancels the wait; the refresh continues.
    pub async fn token(&self) -> Result<AccessToken, Error> {
        if let Some(token) = self.with_published(AccessToken::clone) {
            return Ok(token);
        }
        self.wait_for(Demand::New, self.limits()).await
    }

    /// Returns a valid token, like [`token`](Self::token), with options for this call.
    ///
    /// # Examples
    ///
    /// A job of twenty minutes needs a token that lasts that long:
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_reauth::{RefreshContext, Session, TokenOptions, Token, refresh_fn};
    ///
    /// # tokio_test::block_on(async {
    /// let lasting = |name, seconds| Token::builder(name).expires_in(Duration::from_secs(seconds)).build();
    /// let refresher = refresh_fn(move |_: RefreshContext| async move { Ok(lasting("A2", 3600)?) });
    /// let session = Session::builder(refresher).token(lasting("A1", 600)?).build();
    ///
    /// assert_eq!(session.token().await?.secret(), "A1");
    /// let options = TokenOptions::new().min_lifetime(Duration::from_secs(20 * 60));
    /// assert_eq!(session.token_with(options).await?.secret(), "A2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token). A valid token is returned even if it doesn't last as long as requested.
    ///
    /// # Cancel safety
    ///
    /// As [`token`](Self::token).
    pub async fn token_with(&self, options: TokenOptions) -> Result<AccessToken, Error> {
        let limits = options.limits(self.limits());
        match self.published_for(&limits) {
            Some(token) => Ok(token),
            None => self.wait_for(Demand::New, limits).await,
        }
    }

    /// Reports that a server rejected `rejected`, and returns a newer token.
    ///
    /// Call it after a 401 when not using the layer. Returns immediately if a newer token is already there.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token), even if the rejected token hasn't expired. A late caller gets the error of
    /// the refresh that followed the rejection; call [`token`](Self::token) to try again.
    /// [`is_signed_out`](Error::is_signed_out) if there was a sign-in or sign-out in the meantime, or if the
    /// token belongs to another session; [`is_same_token`](Error::is_same_token) if the refresh returned the
    /// same token.
    ///
    /// # Cancel safety
    ///
    /// As [`token`](Self::token). The token stays marked as rejected.
    pub async fn token_after_rejection(&self, rejected: &AccessToken) -> Result<AccessToken, Error> {
        self.token_after_rejection_with(rejected, Challenges::default(), TokenOptions::new()).await
    }

    /// Like [`token_after_rejection`](Self::token_after_rejection), with options. The refresher gets `challenges`.
    ///
    /// # Errors
    ///
    /// As [`token_after_rejection`](Self::token_after_rejection).
    ///
    /// # Cancel safety
    ///
    /// As [`token_after_rejection`](Self::token_after_rejection).
    pub async fn token_after_rejection_with(
        &self,
        rejected: &AccessToken,
        challenges: Challenges,
        options: TokenOptions,
    ) -> Result<AccessToken, Error> {
        let limits = options.limits(self.limits());
        match self.demand(Demand::Rejected(rejected.id()), limits, Some(challenges))? {
            Demanded::Use(token) => Ok(token),
            Demanded::Wait(mut waiter) => poll_fn(|cx| waiter.poll(cx)).await,
        }
    }

    /// Returns the token that [`token`](Self::token) would return immediately. Never starts a refresh or
    /// waits.
    pub fn try_token(&self) -> Option<AccessToken> {
        let now = self.now();
        if let Some(token) = self.shared.with_published(now, AccessToken::clone) {
            return Some(token);
        }
        let can_start = self.shared.settings.spawner.is_ready();
        self.shared.turn(|turn| turn.try_token(can_start))
    }

    /// Marks a token as rejected by a server.
    ///
    /// Doesn't start a refresh; the next call does. No effect if the session already has another token, or if
    /// `rejected` belongs to another session.
    pub fn mark_rejected(&self, rejected: &AccessToken) {
        self.record_rejection();
        self.shared.turn(|turn| turn.mark_rejected(rejected.id()));
    }

    /// Refreshes now, or joins the refresh in flight, even if the token is fresh.
    ///
    /// # Errors
    ///
    /// The refresh's own error, even if the current token is still valid. Fails immediately during a backoff,
    /// even with [`wait_through_backoff`](SessionBuilder::wait_through_backoff).
    ///
    /// # Cancel safety
    ///
    /// As [`token`](Self::token).
    pub async fn refresh(&self) -> Result<AccessToken, Error> {
        self.wait_for(Demand::Requested, self.limits()).await
    }

    /// Ends a running backoff, including a `Retry-After`.
    ///
    /// Call it when the network is back or the configuration was fixed. Doesn't start a refresh or reset the
    /// failure count.
    pub fn reset_backoff(&self) {
        self.shared.turn(|turn| turn.reset_backoff());
    }

    /// Another field of the response that the current token came from, such as `instance_url`. `None` if the
    /// response lacked it, or without a token.
    ///
    /// It is a copy, which isn't zeroed when it is dropped. A refresh whose response lacks the field removes it,
    /// unless [`keep_extras`](crate::RefresherExt::keep_extras) keeps it. After a [`sign_in`](Self::sign_in) it is
    /// the new user's.
    pub fn extra(&self, name: &str) -> Option<String> {
        self.shared.lock().machine.extra(name).map(str::to_owned)
    }

    /// Its name, if it has one: see [`SessionBuilder::name`].
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// The current status.
    pub fn status(&self) -> Status {
        self.shared.status().0
    }

    /// Returns a [`Watch`] for changes from now on.
    ///
    /// # Examples
    ///
    /// Ask the user to sign in again:
    ///
    /// ```no_run
    /// # async fn example(session: tower_reauth::Session) {
    /// let mut watch = session.watch();
    /// while !watch.status().needs_sign_in() {
    ///     if watch.changed().await.is_err() {
    ///         return; // the session is gone
    ///     }
    /// }
    /// println!("please sign in again");
    /// # }
    /// ```
    pub fn watch(&self) -> Watch {
        Watch::new(&self.shared)
    }

    /// Reads the token that can be used immediately, without the lock.
    #[inline]
    pub(crate) fn with_published<T>(&self, read: impl FnOnce(&AccessToken) -> T) -> Option<T> {
        self.shared.with_published(self.now(), read)
    }

    /// The token that can be used immediately, even if this thread has no snapshot of it yet.
    pub(crate) fn current(&self) -> Option<AccessToken> {
        self.shared.current(self.now())
    }

    /// Fails if the session was signed out, or signed in again, since `epoch`.
    pub(crate) fn check(&self, epoch: Epoch) -> Result<(), Error> {
        self.shared.lock().machine.check(epoch)
    }

    pub(crate) fn has_expired(&self, token: &AccessToken) -> bool {
        let now = self.now();
        self.shared.lock().machine.has_expired(token, now)
    }

    /// Demands a token for a new request.
    pub(crate) fn demand_new(&self, limits: WaitLimits) -> Result<Demanded, Error> {
        // Without a minimum lifetime, the caller has already tried the published token.
        if limits.min_lifetime > 0 {
            if let Some(token) = self.published_for(&limits) {
                return Ok(Demanded::Use(token));
            }
        }
        self.demand(Demand::New, limits, None)
    }

    pub(crate) fn demand(
        &self,
        demand: Demand,
        limits: WaitLimits,
        challenges: Option<Challenges>,
    ) -> Result<Demanded, Error> {
        if let Demand::Rejected(_) = demand {
            self.record_rejection();
        }
        self.shared.demand(demand, limits, challenges)
    }

    /// Marks the token of a rejected request that isn't retried.
    pub(crate) fn note_rejection(&self, id: TokenId, challenges: Challenges) {
        self.record_rejection();
        self.shared.turn(|turn| {
            turn.note_challenges(id, challenges);
            turn.mark_rejected(id);
        });
    }

    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.settings.clock.now()
    }

    /// The names of the headers that carry the token.
    #[inline]
    pub(crate) fn header_names(&self) -> &[HeaderName] {
        self.shared.settings.headers.names()
    }

    pub(crate) fn limits(&self) -> WaitLimits {
        self.shared.settings.limits
    }

    /// The token that can be used immediately and has the minimum lifetime.
    fn published_for(&self, limits: &WaitLimits) -> Option<AccessToken> {
        self.shared.published_for(self.now(), limits.min_lifetime)
    }

    fn record_rejection(&self) {
        #[cfg(feature = "metrics")]
        self.shared.recorder().rejected();
    }

    /// Records that a rejected request is retried.
    pub(crate) fn record_retry(&self, cause: &'static str) {
        #[cfg(feature = "metrics")]
        self.shared.recorder().retried(cause);
        #[cfg(not(feature = "metrics"))]
        let _ = cause;
    }

    async fn wait_for(&self, demand: Demand, limits: WaitLimits) -> Result<AccessToken, Error> {
        match self.demand(demand, limits, None)? {
            Demanded::Use(token) => Ok(token),
            Demanded::Wait(mut waiter) => poll_fn(|cx| waiter.poll(cx)).await,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, waiters) = (self.now(), self.shared.waiters.load(Ordering::Relaxed));
        let mut debug = f.debug_struct("Session");
        debug.field("name", &self.shared.name);
        let locked = match self.shared.locked.try_lock() {
            Ok(locked) => Some(locked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        match locked {
            Some(locked) => debug.field("status", &locked.machine.status(now, waiters)),
            None => debug.field("status", &format_args!("<locked>")),
        };
        debug.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::{refresh::RefreshError, refresh_fn};

    /// That it changes nothing follows from its types: it reads through a shared reference.
    #[test]
    fn d34_debug_does_not_wait_for_the_lock() {
        let refresher = refresh_fn(|_| async { Err(RefreshError::transient("not called")) });
        let session = Session::builder(refresher).build();
        let (sender, formatted) = mpsc::channel();
        let locked = session.shared.lock();
        thread::spawn({
            let session = session.clone();
            move || sender.send(format!("{session:?}"))
        });
        // The timeout only ends a test that would hang.
        let formatted = formatted.recv_timeout(Duration::from_secs(60));
        drop(locked);
        assert!(formatted.is_ok_and(|formatted| formatted.contains("<locked>")));
    }
}
