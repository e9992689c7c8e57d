//! A credential that is shared and kept valid.

mod builder;
mod completion;
mod driver;
mod flight;
mod hooks;
#[cfg(feature = "tracing")]
mod log;
mod machine;
mod options;
mod published;
mod reentrancy;
mod shared;
mod waiter;
mod watch;

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, TryLockError, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use futures_util::future::{Either, select};

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    rt::Timestamp,
    token::{AccessToken, Epoch, RevocableTokens, Token, TokenId},
};

use reentrancy::is_entered;
use shared::Shared;

pub use builder::SessionBuilder;
pub use machine::Status;
pub use options::TokenOptions;
pub use watch::Watch;
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
    /// The refresh's error. Fails immediately if the grant has ended, if the session is signed out or shut down,
    /// if there is no runtime, and during a backoff, unless
    /// [`wait_through_backoff`](SessionBuilder::wait_through_backoff) is set; [`retry_at`](Error::retry_at) says
    /// when the next refresh is allowed.
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

    /// Returns a valid token, as [`token`](Self::token), with options of this call.
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
    /// As [`token`](Self::token). A valid token is returned even if it doesn't last as long as asked for.
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
    /// [`is_signed_out`](Error::is_signed_out) if another user has signed in, or if the token is another
    /// session's;
    /// [`is_same_token`](Error::is_same_token) if the refresh returned the same token.
    ///
    /// # Cancel safety
    ///
    /// As [`token`](Self::token). The token stays marked as rejected.
    pub async fn token_after_rejection(&self, rejected: &AccessToken) -> Result<AccessToken, Error> {
        self.wait_for(Demand::Rejected(rejected.id()), self.limits()).await
    }

    /// Returns the token that [`token`](Self::token) would return immediately. Never starts a refresh or
    /// waits.
    pub fn try_token(&self) -> Option<AccessToken> {
        let now = self.now();
        if let Some(token) = self.shared.with_published(now, AccessToken::clone) {
            return Some(token);
        }
        let can_start = self.shared.spawner.is_ready();
        self.shared.turn(|turn| turn.try_token(can_start))
    }

    /// Marks a token as rejected by a server.
    ///
    /// Doesn't start a refresh; the next call does. No effect if the session already has another token, or if it
    /// is another session's.
    pub fn mark_rejected(&self, rejected: &AccessToken) {
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

    /// Replaces the token with one obtained elsewhere for the same user.
    ///
    /// It is used immediately, isn't overwritten by a refresh in flight, and is saved. Those who wait are served.
    /// If it has no refresh token, the session keeps its own. Revives a session whose grant had ended.
    ///
    /// For another user, call [`sign_in`](Self::sign_in), which fails those who wait. The token belongs to
    /// whoever is signed in when it is set: if another user may have signed in since it was fetched, check that
    /// first.
    ///
    /// # Errors
    ///
    /// [`is_signed_out`](Error::is_signed_out): only [`sign_in`](Self::sign_in) undoes a sign-out.
    pub fn set_token(&self, token: Token) -> Result<(), Error> {
        self.shared.turn(|turn| turn.set(token))
    }

    /// Signs in as another user.
    ///
    /// Callers waiting for the old token fail with [`is_signed_out`](Error::is_signed_out) and never get the new
    /// one; a token still returned for the old user goes to the revoke hook. The new token is saved.
    ///
    /// If the same user has signed in again, [`set_token`](Self::set_token) serves those who wait.
    pub fn sign_in(&self, token: Token) {
        self.shared.turn(|turn| turn.sign_in(token));
    }

    /// Signs out: calls fail until the next sign-in.
    ///
    /// Returns the session's tokens, so that they can be revoked. A token that a refresh in flight still
    /// returns goes to the revoke hook. The save hook is called with `None`, to erase the stored token;
    /// [`idle`](Self::idle) waits for that.
    pub fn sign_out(&self) -> RevocableTokens {
        self.shared.turn(|turn| turn.sign_out())
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

    /// Waits for the refresh in flight and its save before the program exits.
    ///
    /// No further refresh starts. Callers can still join the one in flight, and a valid token is still
    /// returned. What is unsaved is passed to the hook again, without a delay.
    ///
    /// # Errors
    ///
    /// - [`is_shutdown_timeout`](Error::is_shutdown_timeout): timed out; the refresh continues.
    /// - [`is_unsaved`](Error::is_unsaved): the token, or the sign-out, couldn't be saved.
    /// - [`is_reentrant`](Error::is_reentrant): called from the refresher, a hook or a listener.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait; the session stays shut down.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        shared.turn(|turn| turn.shut_down());
        if is_entered(shared.id()) {
            return Err(Error::new(ErrorKind::Reentrant));
        }
        let mut timer = shared.clock.sleep(timeout).map_err(|_| Error::new(ErrorKind::MissingRuntime))?;
        let mut has_retried = false;
        loop {
            let changed = shared.changed();
            let (done, next_timeout) = shared.turn(|turn| {
                let done = match () {
                    () if !turn.is_at_rest() => None,
                    () if !has_retried && turn.save_now() => {
                        has_retried = true;
                        None
                    }
                    () => Some(turn.is_unsaved()),
                };
                (done, turn.next_timeout())
            });
            match done {
                Some(true) => return Err(Error::new(ErrorKind::Unsaved)),
                Some(false) => return Ok(()),
                None => {}
            }
            let mut changed = pin!(changed);
            let changed = select(&mut changed, shared.sleep_or_forever(next_timeout));
            if let Either::Right(_) = select(changed, &mut timer).await {
                return Err(Error::new(ErrorKind::ShutdownTimeout));
            }
        }
    }

    /// Waits until no refresh, save or revocation is in progress, or they are past their timeouts.
    ///
    /// Returns immediately when called from the refresher, a hook or a listener.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait.
    pub async fn idle(&self) {
        while !is_entered(self.shared.id()) {
            let changed = self.shared.changed();
            let now = self.shared.now();
            let Some(left) = self.shared.lock().machine.next_timeout(now) else { return };
            select(pin!(changed), self.shared.sleep_or_forever(Some(left))).await;
            // What is driven ends by its own timer, which fires at the same time.
            yield_once().await;
        }
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

    /// Demands a token for a new request.
    pub(crate) fn demand_new(&self, limits: WaitLimits) -> Result<Demanded, Error> {
        // Without a minimum lifetime, the caller has looked already.
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
        self.shared.demand(demand, limits, challenges)
    }

    /// Marks the token of a rejected request that isn't retried.
    pub(crate) fn note_rejection(&self, id: TokenId, challenges: Challenges) {
        self.shared.turn(|turn| {
            turn.note_challenges(id, challenges);
            turn.mark_rejected(id);
        });
    }

    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(crate) fn limits(&self) -> WaitLimits {
        self.shared.limits
    }

    /// The token that can be used immediately and has the minimum lifetime.
    fn published_for(&self, limits: &WaitLimits) -> Option<AccessToken> {
        let now = self.now();
        let lasts = |token: &AccessToken| token.time_left(now) >= limits.min_lifetime;
        self.shared.with_published(now, |token| lasts(token).then(|| token.clone())).flatten()
    }

    async fn wait_for(&self, demand: Demand, limits: WaitLimits) -> Result<AccessToken, Error> {
        match self.demand(demand, limits, None)? {
            Demanded::Use(token) => Ok(token),
            Demanded::Wait(mut waiter) => poll_fn(|cx| waiter.poll(cx)).await,
        }
    }
}

/// Lets other tasks of a current-thread runtime run that have been woken.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
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
    use std::{sync::mpsc, thread};

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
