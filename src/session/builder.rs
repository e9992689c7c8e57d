//! [`SessionBuilder`].

use std::{fmt, future::Future, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use crate::{
    error::BoxError,
    event::Event,
    refresh::{AnyRefresher, Refresher},
    rt::{Clock, Nanos, Spawner, SystemClock, TokioSpawner, nanos},
    token::{Secret, Token, TokenHeaders},
};

use super::{
    Session,
    machine::{Delays, Rules, SaveOrder, WaitLimits},
    shared::{Hook, Listener, hook},
};

/// Builds a [`Session`].
///
/// Each method documents its default. Out-of-range values are clamped: a refresh window is at most half the
/// lifetime, a timeout at least 1 ms.
#[must_use]
pub struct SessionBuilder {
    pub(super) refresher: AnyRefresher,
    pub(super) initial: InitialToken,
    pub(super) rules: Rules,
    pub(super) seed: Option<u64>,
    pub(super) limits: WaitLimits,
    pub(super) refresh_timeout: Duration,
    pub(super) save_timeout: Duration,
    pub(super) name: Option<Arc<str>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawner: Arc<dyn Spawner>,
    pub(super) save_hook: Option<Hook<SaveOrder>>,
    pub(super) revoke_hook: Option<Hook<Token>>,
    pub(super) listeners: Vec<Listener>,
    pub(super) headers: TokenHeaders,
}

pub(crate) enum InitialToken {
    None,
    Token(Token),
    RefreshToken(Secret),
    SignedOut,
}

const SECOND: Nanos = 1_000_000_000;
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

// === impl Session ===

impl Session {
    /// Creates a builder. Needs no runtime.
    ///
    /// # Examples
    ///
    /// Start from a stored token, and store each new one:
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
    ///
    /// # fn write(_: Option<Token>) -> std::io::Result<()> { Ok(()) }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
    /// let stored = Token::builder("A1")
    ///     .refresh_token("R1")
    ///     .received_at(SystemTime::now() - Duration::from_secs(60))
    ///     .expires_at(SystemTime::now() + Duration::from_secs(3540))
    ///     .build()?;
    /// let session = Session::builder(refresher)
    ///     .token(stored)
    ///     .save_with(|token: Option<Token>| async move { write(token) })
    ///     .build();
    /// assert!(session.status().is_fresh());
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(refresher: impl Refresher) -> SessionBuilder {
        SessionBuilder {
            refresher: AnyRefresher::new(refresher),
            initial: InitialToken::None,
            rules: Rules {
                early: true,
                window: None,
                margin: None,
                jitter: true,
                refresh_timeout: 60 * SECOND,
                save_timeout: 5 * SECOND,
                delays: Delays { initial: SECOND, max: 120 * SECOND, jitter: true },
                saves: false,
                is_shared: false,
                wait_through_backoff: false,
            },
            seed: None,
            limits: WaitLimits {
                timeout: 30 * SECOND,
                until_deadline: false,
                rejection_wait: 2 * SECOND,
                max_waiters: None,
                min_lifetime: 0,
            },
            refresh_timeout: Duration::from_secs(60),
            save_timeout: Duration::from_secs(5),
            name: None,
            clock: Arc::new(SystemClock),
            spawner: Arc::new(TokioSpawner),
            save_hook: None,
            revoke_hook: None,
            listeners: Vec::new(),
            headers: TokenHeaders::default(),
        }
    }
}

// === impl SessionBuilder ===

impl SessionBuilder {
    /// Sets the initial token. Default: none; the first call fetches one.
    pub fn token(mut self, token: Token) -> Self {
        self.initial = InitialToken::Token(token);
        self
    }

    /// Sets an initial refresh token, without an access token. An empty or blank one counts as none.
    pub fn refresh_token(mut self, refresh_token: impl Into<String>) -> Self {
        self.initial = match Secret::refresh_token(refresh_token.into()) {
            Some(refresh_token) => InitialToken::RefreshToken(refresh_token),
            None => InitialToken::None,
        };
        self
    }

    /// Starts with the stored token, or signed out if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
    ///
    /// # fn load() -> Option<Token> { None }
    /// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
    /// let session = Session::builder(refresher).token_or_signed_out(load()).build();
    /// assert!(session.status().needs_sign_in());
    /// ```
    pub fn token_or_signed_out(self, stored: Option<Token>) -> Self {
        match stored {
            Some(token) => self.token(token),
            None => self.signed_out(),
        }
    }

    /// Starts signed out: calls fail until a [`sign_in`](Session::sign_in).
    pub fn signed_out(mut self) -> Self {
        self.initial = InitialToken::SignedOut;
        self
    }

    /// Calls `save` with what the session holds, whenever that changes: a token, or `None` after a sign-out,
    /// to erase the stored one.
    ///
    /// A refreshed token is saved before it is used. A token from [`set_token`](Session::set_token) or
    /// [`sign_in`](Session::sign_in) is used at once, and its save starts at once. Saves run one at a time; a
    /// change during a save is saved right after it. So what was saved last is what the session holds.
    ///
    /// The token is complete: it carries the refresh token to use next, even if the response had none, and
    /// its expiry and receipt as absolute times. If a save fails, panics or times out, the token is used
    /// anyway, and [`is_unsaved`](crate::Status::is_unsaved) is true. The first call after 1 s, 1.6 s and so
    /// on saves it again, and so does [`shutdown`](Session::shutdown).
    ///
    /// `save` must not block its thread: no timeout can interrupt that. It can't wait for a token of this
    /// session: such a call fails with [`is_reentrant`](crate::Error::is_reentrant).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io, path::{Path, PathBuf}};
    /// use tower_reauth::{Refresher, Session, Token};
    ///
    /// async fn write(_path: &Path, _token: Option<Token>) -> io::Result<()> {
    ///     Ok(()) // to a new file, synced, and renamed; `None`: remove the file
    /// }
    ///
    /// fn saved(refresher: impl Refresher, path: PathBuf) -> Session {
    ///     let save = move |token: Option<Token>| {
    ///         let path = path.clone();
    ///         async move { write(&path, token).await }
    ///     };
    ///     Session::builder(refresher).save_with(save).build()
    /// }
    /// ```
    pub fn save_with<F, Fut, E>(mut self, save: F) -> Self
    where
        F: Fn(Option<Token>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let save = hook(save);
        self.save_hook = Some(Arc::new(move |order| save(order.token)));
        self.rules.saves = true;
        self
    }

    /// Calls `revoke` with a token that a refresh returned after the session was signed out or signed in as
    /// someone else.
    ///
    /// `revoke` must not block its thread.
    pub fn revoke_with<F, Fut, E>(mut self, revoke: F) -> Self
    where
        F: Fn(Token) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.revoke_hook = Some(hook(revoke));
        self
    }

    /// Adds a listener, which is called for each event, in the task that causes it. It must not block.
    ///
    /// Events from different threads may arrive out of order. In the listener, a call that would wait for
    /// this session fails with [`is_reentrant`](crate::Error::is_reentrant).
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Sets whether a token is refreshed in the background before it expires (`true`, the default), or only
    /// once it has expired (`false`).
    ///
    /// A call starts the refresh: an idle session never refreshes. Disable early refreshes for short-lived
    /// programs, which would not wait for them.
    pub fn refresh_early(mut self, early: bool) -> Self {
        self.rules.early = early;
        self
    }

    /// Sets how long before expiry a token is refreshed, at most half its lifetime.
    /// Default: a quarter of its lifetime, at most an hour. A call starts the refresh, not a timer.
    pub fn refresh_window(mut self, window: Duration) -> Self {
        self.rules.window = Some(nanos(window));
        self
    }

    /// Sets how long before its reported expiry a token is treated as expired, at most a quarter of its
    /// lifetime. Default: a tenth of its lifetime, at most 30 s.
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.rules.margin = Some(nanos(margin));
        self
    }

    /// Sets whether windows and delays are randomised, so that clients don't refresh in step (`true`, the
    /// default), or exact (`false`).
    ///
    /// A window is shortened by up to half, a delay varies by up to 20 % either way, and up to 10 % is added
    /// to a server's `Retry-After`. This includes the delays between the built-in refreshers' own retries.
    pub fn jitter(mut self, jitter: bool) -> Self {
        self.rules.jitter = jitter;
        self.rules.delays.jitter = jitter;
        self
    }

    /// Seeds the randomisation.
    #[cfg(feature = "test-util")]
    pub fn random_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the initial and the maximum backoff. Default: 1 s and 120 s; each delay is 1.6 times the previous
    /// one. After a failure that a retry is unlikely to fix
    /// ([misconfigured](crate::RefreshError::misconfigured) or
    /// [unexplained](crate::RefreshError::unexplained)), it grows in the same steps to ten minutes, or to
    /// `max` if that is more.
    ///
    /// A refresh is ineffective if it failed, if the new token had expired, was already stale, too
    /// short-lived or unchanged, or if a server rejected it within its trial: a tenth of its lifetime, at
    /// most 30 s. Ineffective refreshes are counted until a token has survived its trial. As a consequence, a
    /// token revoked during its trial right after an outage is replaced only after the outage's backoff.
    /// Callers don't wait for it, unless [`wait_through_backoff`](Self::wait_through_backoff) is set: without a
    /// usable token they get the error; if rejected, the server's response.
    ///
    /// A backoff that starts while a token is still valid ends when it expires, unless the server sent a
    /// longer `Retry-After`, which is honoured up to an hour.
    pub fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        let initial = initial.max(MIN_TIMEOUT);
        self.rules.delays.initial = nanos(initial);
        self.rules.delays.max = nanos(max.max(initial));
        self
    }

    /// Sets whether callers without a usable token wait for a [`backoff`](Self::backoff) that ends within
    /// their wait timeout, and then for the next refresh. Default: `false`: they fail at once with the last
    /// error.
    ///
    /// A token that is set, a sign-in, a sign-out, [`reset_backoff`](Session::reset_backoff) and
    /// [`shutdown`](Session::shutdown) end the wait, too.
    pub fn wait_through_backoff(mut self, waits: bool) -> Self {
        self.rules.wait_through_backoff = waits;
        self
    }

    /// Sets how long a caller waits for a refresh. Default: 30 s. A layer or a request may set its own.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = nanos(timeout);
        self
    }

    /// Sets how long a new request waits for the refresh after another request's rejection, before it is sent
    /// with the rejected token. Default: 2 s.
    pub fn rejection_wait(mut self, wait: Duration) -> Self {
        self.limits.rejection_wait = nanos(wait);
        self
    }

    /// Sets the maximum number of waiting callers; further ones fail immediately. Default: no maximum.
    /// Servers should set one.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.limits.max_waiters = Some(max);
        self
    }

    /// Sets the timeout of a refresh, from its start to the end of its save. Default: 60 s.
    ///
    /// It should be longer than the wait timeout, as the response may contain the only valid refresh token.
    pub fn refresh_timeout(mut self, timeout: Duration) -> Self {
        self.refresh_timeout = timeout.max(MIN_TIMEOUT);
        self
    }

    /// Sets the timeout of a save. Default: 5 s.
    pub fn save_timeout(mut self, timeout: Duration) -> Self {
        self.save_timeout = timeout.max(MIN_TIMEOUT);
        self
    }

    /// Sets a name for logs. A shared session also writes it to the record, for the errors of other processes.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sends the token in this header, instead of `Authorization`; can be called several times.
    ///
    /// `value` is called once for each token. If it returns `None` or panics, the header isn't sent. All
    /// are marked as sensitive. A layer that follows redirects might not strip them; see [layer
    /// order](crate::docs::layer_order#redirects).
    ///
    /// # Examples
    ///
    /// The bare token, and the account that it belongs to:
    ///
    /// ```
    /// use http::{HeaderName, HeaderValue};
    /// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
    ///
    /// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
    /// let account = |token: &Token| HeaderValue::from_str(token.extra("account_id")?).ok();
    /// let session = Session::builder(refresher)
    ///     .header(HeaderName::from_static("x-auth-token"), Token::raw_header_value)
    ///     .header(HeaderName::from_static("x-account-id"), account)
    ///     .build();
    /// # let _ = session;
    /// ```
    pub fn header<V: Into<Option<HeaderValue>>>(
        mut self,
        name: HeaderName,
        value: impl Fn(&Token) -> V + Send + Sync + 'static,
    ) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the spawner. Default: [`TokioSpawner`], on the caller's runtime.
    pub fn spawner(mut self, spawner: impl Spawner) -> Self {
        self.spawner = Arc::new(spawner);
        self
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}
