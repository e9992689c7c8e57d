//! [`SessionBuilder`].

use std::{fmt, future::Future, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use crate::{
    error::BoxError,
    event::Event,
    refresh::{AnyRefresher, Refresher},
    rt::{Clock, Spawner, nanos},
    token::{Secret, Token},
};

use super::{
    Session,
    limit::RefreshLimit,
    machine::{Persistence, Rules, SaveOrder},
    settings::Settings,
    shared::{Hook, hook},
};

/// Builds a [`Session`].
///
/// Clone a builder to build several sessions with the same settings, such as one for each user; they share the
/// settings' memory.
///
/// Each method documents its default. Out-of-range values are clamped: a refresh window is at most half the
/// lifetime, a timeout at least 1 ms.
#[derive(Clone)]
#[must_use]
pub struct SessionBuilder {
    pub(super) refresher: AnyRefresher,
    pub(super) initial: InitialToken,
    pub(super) settings: Arc<Settings>,
    pub(super) rules: Arc<Rules>,
    pub(super) persistence: Persistence,
    pub(super) seed: Option<u64>,
    pub(super) name: Option<Arc<str>>,
    pub(super) save_hook: Option<Hook<SaveOrder>>,
    pub(super) revoke_hook: Option<Hook<Token>>,
}

#[derive(Clone)]
pub(crate) enum InitialToken {
    None,
    Token(Token),
    RefreshToken(Secret),
    SignedOut,
}

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
            settings: Settings::shared_default(),
            rules: Rules::shared_default(),
            persistence: Persistence::Nowhere,
            seed: None,
            name: None,
            save_hook: None,
            revoke_hook: None,
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
        self.persistence = Persistence::Hook;
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
    pub fn on_event(self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.configure(|settings| settings.listeners.push(Arc::new(listener)))
    }

    /// Sets whether a token is refreshed in the background before it expires (`true`, the default), or only
    /// once it has expired (`false`).
    ///
    /// A call starts the refresh: an idle session never refreshes. Disable early refreshes for short-lived
    /// programs, which would not wait for them.
    pub fn refresh_early(self, early: bool) -> Self {
        self.rule(|rules| rules.early = early)
    }

    /// Sets how long before expiry a token is refreshed, at most half its lifetime.
    /// Default: a quarter of its lifetime, at most an hour. A call starts the refresh, not a timer.
    ///
    /// The time is counted back from when the token is treated as expired, see [`expiry_margin`](Self::expiry_margin):
    /// by default, a token of 600 s is refreshed from 420 s on and expires at 570 s, if there is no
    /// [`jitter`](Self::jitter).
    pub fn refresh_window(self, window: Duration) -> Self {
        self.rule(|rules| rules.window = Some(nanos(window)))
    }

    /// Sets how long before its reported expiry a token is treated as expired, at most a quarter of its
    /// lifetime. Default: a tenth of its lifetime, at most 30 s.
    pub fn expiry_margin(self, margin: Duration) -> Self {
        self.rule(|rules| rules.margin = Some(nanos(margin)))
    }

    /// Sets whether windows and delays are randomised, so that clients don't refresh in step (`true`, the
    /// default), or exact (`false`).
    ///
    /// A window is shortened by up to half, a delay varies by up to 20 % either way, and up to 10 % is added
    /// to a server's `Retry-After`. This includes the delays between the built-in refreshers' own retries.
    pub fn jitter(self, jitter: bool) -> Self {
        self.rule(|rules| {
            rules.jitter = jitter;
            rules.delays.jitter = jitter;
        })
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
    pub fn backoff(self, initial: Duration, max: Duration) -> Self {
        let initial = initial.max(MIN_TIMEOUT);
        self.rule(|rules| {
            rules.delays.initial = nanos(initial);
            rules.delays.max = nanos(max.max(initial));
        })
    }

    /// Sets whether callers without a usable token wait for a [`backoff`](Self::backoff) that ends within
    /// their wait timeout, and then for the next refresh. Default: `false`: they fail at once with the last
    /// error.
    ///
    /// A token that is set, a sign-in, a sign-out, [`reset_backoff`](Session::reset_backoff) and
    /// [`shutdown`](Session::shutdown) end the wait, too.
    pub fn wait_through_backoff(self, waits: bool) -> Self {
        self.rule(|rules| rules.wait_through_backoff = waits)
    }

    /// Sets how long a caller waits for a refresh. Default: 30 s. A layer or a request may set its own.
    pub fn wait_timeout(self, timeout: Duration) -> Self {
        self.configure(|settings| settings.limits.timeout = nanos(timeout))
    }

    /// Sets how long a new request waits for the refresh after another request's rejection, before it is sent
    /// with the rejected token. Default: 2 s.
    pub fn rejection_wait(self, wait: Duration) -> Self {
        self.configure(|settings| settings.limits.rejection_wait = nanos(wait))
    }

    /// Sets the maximum number of waiting callers; further ones fail immediately. Default: no maximum.
    /// Servers should set one.
    pub fn max_waiters(self, max: usize) -> Self {
        self.configure(|settings| settings.limits.max_waiters = Some(max))
    }

    /// Sets the timeout of a refresh, from its start to the end of its save. Default: 60 s.
    ///
    /// It should be longer than the wait timeout, as the response may contain the only valid refresh token.
    pub fn refresh_timeout(self, timeout: Duration) -> Self {
        self.rule(|rules| rules.refresh_timeout = nanos(timeout.max(MIN_TIMEOUT)))
    }

    /// Sets the timeout of a save. Default: 5 s.
    pub fn save_timeout(self, timeout: Duration) -> Self {
        self.rule(|rules| rules.save_timeout = nanos(timeout.max(MIN_TIMEOUT)))
    }

    /// Limits how many refreshes run concurrently, together with other sessions. Default: no limit.
    pub fn refresh_limit(self, limit: RefreshLimit) -> Self {
        self.configure(|settings| settings.refresh_limit = Some(limit))
    }

    /// Sets a name for logs, events and [`Status::name`](crate::Status::name). A shared session also writes it to the record, for the errors of other processes.
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
        self,
        name: HeaderName,
        value: impl Fn(&Token) -> V + Send + Sync + 'static,
    ) -> Self {
        self.configure(|settings| settings.headers.push(name, value))
    }

    /// Sets the clock. Default: [`SystemClock`](crate::rt::SystemClock).
    pub fn clock(self, clock: impl Clock) -> Self {
        self.configure(|settings| settings.clock = Arc::new(clock))
    }

    /// Sets the spawner. Default: [`TokioSpawner`](crate::rt::TokioSpawner), on the caller's runtime.
    pub fn spawner(self, spawner: impl Spawner) -> Self {
        self.configure(|settings| settings.spawner = Arc::new(spawner))
    }

    fn configure(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    fn rule(mut self, set: impl FnOnce(&mut Rules)) -> Self {
        set(Arc::make_mut(&mut self.rules));
        self
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}
