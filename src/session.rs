//! The shared state of one credential.

mod builder;
mod completion;
mod driver;
mod flight;
#[cfg(feature = "tracing")]
mod log;
mod machine;
mod published;
mod reentrancy;
mod shared;
mod waiter;

use std::{fmt, future::poll_fn, sync::Arc, time::Duration};

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    rt::Timestamp,
    token::{AccessToken, RevocableTokens, Stamp, Token},
};

use shared::Core;

pub use builder::SessionBuilder;
pub(crate) use machine::Demand;
pub use machine::Status;
pub(crate) use shared::WaitLimits;
pub(crate) use waiter::{Asked, Waiter};

/// The shared state of one credential. Cheap to clone; all clones are one.
///
/// It holds a token and knows how to get the next one. All its clones are one: whoever needs a token that
/// isn't there waits for the one refresh that runs, and all get its outcome. The layer asks a session for each
/// request; a program without tower asks it itself.
/// See the [crate docs](crate) for what it promises.
///
/// # Examples
///
/// For a client without tower (another HTTP library, a websocket's handshake):
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
/// // The server answers 401: mark that token, and wait for a newer one.
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
    core: Arc<Core>,
}

/// Tells of changes of a session. Made by [`Session::watch`].
#[derive(Clone)]
pub struct Watch {
    core: Arc<Core>,
    seen: u64,
}

// === impl Session ===

impl Session {
    /// Gives a token that is valid now, waiting for a refresh where that is needed.
    ///
    /// A fresh or stale token comes at once; a stale one is refreshed in the background. Where there is none, it
    /// waits as long as the session's patience. After a rejection it waits for the refresh for a short time, then
    /// gives the refused token while that hasn't expired.
    ///
    /// # Errors
    ///
    /// The refresh's error; at once in a backoff, and where the grant has ended, the session is signed out or shut
    /// down, or there is no runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends this wait, and nothing else: the refresh goes on.
    pub async fn token(&self) -> Result<AccessToken, Error> {
        if let Some(token) = self.core.fast(self.core.clock.now(), AccessToken::clone) {
            return Ok(token);
        }
        self.ask(Demand::New).await
    }

    /// Marks `refused` as refused by a server, and gives a newer token.
    ///
    /// What a client without tower calls after a 401. Where a newer one is there already it comes at once.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token), also while the refused token hasn't expired. Whoever comes late shares the failure of
    /// the refresh that followed the token's refusal, for good: the way on is a new [`token`](Self::token). Signed out, if the session is another
    /// credential's by now; [`is_same_token`](Error::is_same_token) if the refresh brought the refused token again.
    ///
    /// # Cancel safety
    ///
    /// As [`token`](Self::token). The token stays marked.
    pub async fn token_after_rejection(&self, refused: &AccessToken) -> Result<AccessToken, Error> {
        self.ask(Demand::Refused(refused.stamp())).await
    }

    /// What [`token`](Self::token) would give at once. A pure read: it starts nothing and waits for nothing.
    pub fn try_token(&self) -> Option<AccessToken> {
        let now = self.core.clock.now();
        if let Some(token) = self.core.fast(now, AccessToken::clone) {
            return Some(token);
        }
        let can_start = self.core.spawn.is_ready();
        self.core.lock().state.peek(now, can_start)
    }

    /// Marks a token as refused by a server. It starts nothing: the next demand does.
    ///
    /// Nothing happens if the session has another token by now.
    pub fn mark_rejected(&self, refused: &AccessToken) {
        let now = self.core.clock.now();
        self.core.with_state(now, |shell, fx| shell.state.mark_rejected(refused.stamp(), now, fx));
    }

    /// Joins the refresh that runs, or starts one, also while the token is fresh.
    ///
    /// # Errors
    ///
    /// The refresh's own error, also while the token is fresh; in a backoff its error at once.
    ///
    /// # Cancel safety
    ///
    /// As [`token`](Self::token).
    pub async fn refresh(&self) -> Result<AccessToken, Error> {
        self.ask(Demand::Asked).await
    }

    /// Ends the backoff that runs, a `Retry-After` too: the network is back, or the secret was mended.
    ///
    /// It starts nothing, and the count of useless refreshes stays.
    pub fn reset_backoff(&self) {
        let now = self.core.clock.now();
        self.core.with_state(now, |shell, fx| shell.state.reset_backoff(now, fx));
    }

    /// Takes a newer token of the same credential, one that came by another way.
    ///
    /// New callers get it at once, and it isn't overwritten by a refresh that runs. Without a refresh token it keeps
    /// the session's. It revives a session whose grant had ended. It isn't handed to the save hook.
    ///
    /// # Errors
    ///
    /// [`is_signed_out`](Error::is_signed_out): nothing but [`sign_in`](Self::sign_in) undoes a sign-out.
    pub fn set_token(&self, token: Token) -> Result<(), Error> {
        let now = self.core.clock.now();
        self.core.with_state(now, |shell, fx| shell.state.set(token, now, fx))
    }

    /// Takes another credential. All that was before it ends: whoever waits is told "signed out meanwhile" and never
    /// gets the new token; what a running refresh still brings goes to the revoke hook.
    ///
    /// The save hook isn't called, as the caller has the token: store it before, or a restart takes the old one.
    pub fn sign_in(&self, token: Token) {
        let now = self.core.clock.now();
        self.core.with_state(now, |shell, fx| shell.state.sign_in(token, now, fx));
    }

    /// Forgets the credential. From now on demands fail at once, until a sign-in.
    ///
    /// It gives back what the session had, so that it can be revoked. What a running refresh still brings goes to the
    /// revoke hook.
    ///
    /// To erase a stored token as well, wait for [`idle`](Self::idle) first: a save may run.
    pub fn sign_out(&self) -> RevocableTokens {
        let now = self.core.clock.now();
        self.core.with_state(now, |shell, fx| shell.state.sign_out(fx))
    }

    /// How the session stands now.
    pub fn status(&self) -> Status {
        self.core.status().0
    }

    /// Tells of changes from now on.
    ///
    /// # Examples
    ///
    /// Tell the user that they must sign in:
    ///
    /// ```no_run
    /// # async fn example(session: tower_reauth::Session) {
    /// let mut watch = session.watch();
    /// while !watch.status().needs_sign_in() {
    ///     watch.changed().await;
    /// }
    /// println!("please sign in again");
    /// # }
    /// ```
    pub fn watch(&self) -> Watch {
        let (_, seen) = self.core.status();
        Watch { core: Arc::clone(&self.core), seen }
    }

    /// Waits for the refresh that runs and for its save, for a program that ends.
    ///
    /// From now on no refresh begins, for good. A demand joins the one that runs; a valid token goes on being served.
    /// A token that could not be saved is handed to the hook once more.
    ///
    /// # Errors
    ///
    /// [`is_shutdown_timeout`](Error::is_shutdown_timeout): the limit came first, and the refresh goes on.
    /// [`is_unsaved`](Error::is_unsaved): the token could not be saved. [`is_reentrant`](Error::is_reentrant):
    /// the refresher or a hook called it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. The session stays shut down.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), Error> {
        let core = &self.core;
        let now = core.clock.now();
        core.with_state(now, |shell, fx| shell.state.shut_down(fx));
        if reentrancy::is_inside(core.id()) {
            return Err(Error::new(ErrorKind::Reentrant));
        }
        let mut limit = core.clock.sleep(limit).map_err(|_| Error::new(ErrorKind::MissingRuntime))?;
        let mut tried = false;
        loop {
            let changed = core.changed();
            let now = core.clock.now();
            let (idle, unsaved) = core.with_state(now, |shell, fx| {
                let idle = shell.state.is_idle();
                let saves = idle && !tried && shell.state.save_now(now, fx);
                tried |= saves;
                (idle && !saves, shell.state.is_unsaved())
            });
            if idle {
                return if unsaved { Err(Error::new(ErrorKind::Unsaved)) } else { Ok(()) };
            }
            let mut changed = std::pin::pin!(changed);
            let over = poll_fn(|cx| match changed.as_mut().poll(cx) {
                std::task::Poll::Ready(()) => std::task::Poll::Ready(false),
                std::task::Poll::Pending => limit.as_mut().poll(cx).map(|()| true),
            });
            if over.await {
                return Err(Error::new(ErrorKind::ShutdownTimeout));
            }
        }
    }

    /// Waits until no refresh, no save and no revocation runs.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait.
    /// Called from within the refresher or a hook it returns at once, as it would wait for itself.
    pub async fn idle(&self) {
        while !reentrancy::is_inside(self.core.id()) {
            let changed = self.core.changed();
            if self.core.lock().state.is_settled() {
                return;
            }
            changed.await;
        }
    }

    /// What can be used at once without the lock; the layer's fast path.
    #[inline]
    pub(crate) fn fast<T>(&self, take: impl FnOnce(&AccessToken) -> T) -> Option<T> {
        self.core.fast(self.core.clock.now(), take)
    }

    /// What can't be answered by [`fast`](Self::fast).
    pub(crate) fn begin(&self, demand: Demand, limits: WaitLimits) -> Result<Asked, Error> {
        Waiter::ask(&self.core, demand, limits, None)
    }

    /// A request's token was refused: a newer one, or a wait for it.
    pub(crate) fn rejected(
        &self,
        stamp: Stamp,
        challenges: Challenges,
        limits: WaitLimits,
    ) -> Result<Asked, Error> {
        Waiter::ask(&self.core, Demand::Refused(stamp), limits, Some(challenges))
    }

    /// A request's token was refused, and the request isn't sent again.
    pub(crate) fn mark(&self, stamp: Stamp, challenges: Challenges) {
        let now = self.core.clock.now();
        self.core.with_state(now, |shell, fx| {
            shell.state.note_challenges(stamp, challenges);
            shell.state.mark_rejected(stamp, now, fx);
        });
    }

    /// Whether a token's credential is still the session's.
    pub(crate) fn is_signed_in_as(&self, stamp: Stamp) -> bool {
        self.core.lock().state.is_signed_in_as(stamp)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    pub(crate) fn limits(&self) -> WaitLimits {
        self.core.limits
    }

    async fn ask(&self, demand: Demand) -> Result<AccessToken, Error> {
        let limits = self.core.limits;
        match self.begin(demand, limits)? {
            Asked::Use(token) => Ok(token),
            Asked::Wait(mut waiter) => poll_fn(|cx| waiter.poll(cx, limits)).await,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Session")
            .field("name", &self.core.name)
            .field("status", &status)
            .finish_non_exhaustive()
    }
}

// === impl Watch ===

impl Watch {
    /// How the session stands now. Changes up to here are seen.
    pub fn status(&mut self) -> Status {
        let (status, version) = self.core.status();
        self.seen = version;
        status
    }

    /// Waits for a change since the last [`status`](Self::status); it returns at once if there was one.
    ///
    /// The passing of time is no change: a token that expires is not told of. Nor is one more or less who waits.
    ///
    /// # Cancel safety
    ///
    /// No change is lost by dropping the future.
    pub async fn changed(&mut self) {
        loop {
            let changed = self.core.changed();
            if self.core.lock().version != self.seen {
                return;
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
