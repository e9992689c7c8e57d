//! What belongs to a credential, set before its session begins.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::Duration,
};

use tokio::sync::Notify;

use crate::error::BoxError;
use crate::{
    event::Event,
    refresh::{AnyRefresher, Refresher},
    rt::{Clock, SystemClock, nanos},
    rt::{Spawner, TokioSpawner},
    token::{Secret, Token},
};

use super::{
    Session,
    machine::{Delays, Rules, State},
    published::Snapshots,
    shared::{Core, EventHook, Hook, HookFailed, Shell, WaitLimits},
};

/// Builds a [`Session`].
///
/// What isn't set has the default that its method names. Nonsense is clamped: a window longer than half of a token's
/// life is half of it, a limit of zero is a millisecond.
#[must_use]
pub struct SessionBuilder {
    refresher: AnyRefresher,
    start: Start,
    rules: Rules,
    seed: Option<u64>,
    limits: WaitLimits,
    limit: Duration,
    save_timeout: Duration,
    name: Option<Arc<str>>,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawner>,
    save_hook: Option<Hook>,
    revoke_hook: Option<Hook>,
    event_hook: Option<EventHook>,
}

enum Start {
    Empty,
    Token(Token),
    RefreshToken(Secret),
    SignedOut,
}

const SHORTEST_LIMIT: Duration = Duration::from_millis(1);

// === impl Session ===

impl Session {
    /// Starts to build a session. No runtime is needed for that.
    ///
    /// # Examples
    ///
    /// A session that starts from a stored token and stores each new one:
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
    ///
    /// # fn write(_: Token) -> std::io::Result<()> { Ok(()) }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
    /// let stored = Token::builder("A1")
    ///     .refresh_token("R1")
    ///     .received_at(SystemTime::now() - Duration::from_secs(60))
    ///     .expires_at(SystemTime::now() + Duration::from_secs(3540))
    ///     .build()?;
    /// let session = Session::builder(refresher)
    ///     .token(stored)
    ///     .save_with(|token: Token| async move { write(token) })
    ///     .build();
    /// assert!(session.status().is_fresh());
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(refresher: impl Refresher) -> SessionBuilder {
        SessionBuilder {
            refresher: AnyRefresher::new(refresher),
            start: Start::Empty,
            rules: Rules {
                early: true,
                window: None,
                margin: None,
                jitter: true,
                limit: 0,
                save_timeout: 0,
                delays: Delays { first: 1_000_000_000, most: 120_000_000_000, jitter: true },
                saves: false,
            },
            seed: None,
            limits: WaitLimits {
                patience: Duration::from_secs(30),
                to_deadline: false,
                after_rejection: Duration::from_secs(2),
                max_waiters: None,
            },
            limit: Duration::from_secs(60),
            save_timeout: Duration::from_secs(5),
            name: None,
            clock: Arc::new(SystemClock),
            spawn: Arc::new(TokioSpawner),
            save_hook: None,
            revoke_hook: None,
            event_hook: None,
        }
    }
}

// === impl SessionBuilder ===

impl SessionBuilder {
    /// Starts from a token, stored or just signed in with. Default: from nothing; the first demand fetches one.
    pub fn token(mut self, token: Token) -> Self {
        self.start = Start::Token(token);
        self
    }

    /// Starts from a refresh token alone.
    pub fn refresh_token(mut self, refresh_token: impl Into<String>) -> Self {
        self.start = Start::RefreshToken(Secret::new(refresh_token.into()));
        self
    }

    /// Starts signed out: demands fail at once until a [`sign_in`](Session::sign_in).
    pub fn signed_out(mut self) -> Self {
        self.start = Start::SignedOut;
        self
    }

    /// Hands each token that a refresh brings to `save`, before anybody uses it.
    ///
    /// The token has the refresh token that the next refresh presents, also where the answer brought none. One save
    /// runs at a time, in the refresh's own task. One that fails, panics or is cut by its limit takes nothing away:
    /// the status says so, and the token is handed over again by the first call after 1 s, 1.6 s and so on, and by
    /// [`shutdown`](Session::shutdown).
    ///
    /// `save` must not ask this session for a token.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io, path::{Path, PathBuf}};
    /// use tower_reauth::{Refresher, Session, Token};
    ///
    /// async fn write(_path: &Path, _token: &Token) -> io::Result<()> {
    ///     Ok(()) // to a new file, synced, and renamed
    /// }
    ///
    /// fn saved(refresher: impl Refresher, path: PathBuf) -> Session {
    ///     let save = move |token: Token| {
    ///         let path = path.clone();
    ///         async move { write(&path, &token).await }
    ///     };
    ///     Session::builder(refresher).save_with(save).build()
    /// }
    /// ```
    pub fn save_with<F, Fut, E>(mut self, save: F) -> Self
    where
        F: Fn(Token) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.save_hook = Some(hook(save));
        self.rules.saves = true;
        self
    }

    /// Hands a token to `revoke` that a refresh brought after its session was signed out, or in as another.
    pub fn revoke_with<F, Fut, E>(mut self, revoke: F) -> Self
    where
        F: Fn(Token) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.revoke_hook = Some(hook(revoke));
        self
    }

    /// Tells `listen` of each event. It runs where the event happens, in the caller's own task for what a caller does,
    /// and should be quick. Events of several threads may overtake one another.
    pub fn on_event(mut self, listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.event_hook = Some(Arc::new(listen));
        self
    }

    /// Sets whether a token is refreshed in the background before it expires. Default: it is.
    ///
    /// Off is for a program that makes a call and ends: no refresh begins that it wouldn't wait for.
    pub fn refresh_early(mut self, early: bool) -> Self {
        self.rules.early = early;
        self
    }

    /// Sets how long before its expiry a token is refreshed early, at most half of its life.
    /// Default: a quarter of its life, at most an hour.
    pub fn refresh_window(mut self, window: Duration) -> Self {
        self.rules.window = Some(nanos(window));
        self
    }

    /// Sets how long before its told end a token counts as expired, at most a quarter of its life.
    /// Default: a tenth of its life, at most 30 s.
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.rules.margin = Some(nanos(margin));
        self
    }

    /// Sets whether windows and delays are varied at random, so that many clients don't come at once. Default: yes.
    pub fn jitter(mut self, jitter: bool) -> Self {
        self.rules.jitter = jitter;
        self.rules.delays.jitter = jitter;
        self
    }

    /// Makes what is random repeatable.
    pub fn random_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the delay after the first useless refresh and the longest one; each is 1.6 times the one before.
    /// Default: 1 s, 120 s.
    ///
    /// A refresh is useless if it failed, if its token was useless on arrival, or if a server refused that token within
    /// its trial: a tenth of its life, 30 s at most. Ineffective ones are counted until a token has gone unrefused for its
    /// trial; so a token that is revoked in its trial after an outage is replaced only after the delay that the outage
    /// had brought about. Callers don't wait for the end of a delay: who has no usable token gets the error, and who was
    /// refused the server's answer.
    ///
    /// A delay that begins while a valid token is in use ends with that token, unless the server asked for more
    /// (`Retry-After`).
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        let first = first.max(SHORTEST_LIMIT);
        self.rules.delays.first = nanos(first);
        self.rules.delays.most = nanos(longest.max(first));
        self
    }

    /// Sets how long a caller waits for a refresh that runs. Default: 30 s. A layer or a request may have a patience of
    /// its own. Nobody waits for the end of a [`backoff`](Self::backoff).
    pub fn wait_timeout(mut self, patience: Duration) -> Self {
        self.limits.patience = patience;
        self
    }

    /// Sets how long a new call waits for the refresh that follows somebody else's rejection, before it goes out with
    /// the refused token. Default: 2 s.
    pub fn rejection_wait(mut self, wait: Duration) -> Self {
        self.limits.after_rejection = wait;
        self
    }

    /// Sets how many callers may wait at once; whoever comes over it fails at once. Default: no limit.
    pub fn max_waiters(mut self, most: usize) -> Self {
        self.limits.max_waiters = Some(most);
        self
    }

    /// Sets how long a refresh may take, with its save. Default: 60 s. It should be longer than the patience, as its
    /// answer may hold the only valid refresh token.
    pub fn refresh_timeout(mut self, limit: Duration) -> Self {
        self.limit = limit.max(SHORTEST_LIMIT);
        self
    }

    /// Sets how long a save may take. Default: 5 s.
    pub fn save_timeout(mut self, limit: Duration) -> Self {
        self.save_timeout = limit.max(SHORTEST_LIMIT);
        self
    }

    /// Names the session, for logs.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets where time comes from. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets where refreshes run. Default: [`TokioSpawner`], on the runtime of whoever needs one.
    pub fn spawner(mut self, spawn: impl Spawner) -> Self {
        self.spawn = Arc::new(spawn);
        self
    }

    /// Builds the session.
    pub fn build(mut self) -> Session {
        self.rules.limit = nanos(self.limit);
        self.rules.save_timeout = nanos(self.save_timeout);
        let now = self.clock.now();
        let mut state = State::new(self.rules, self.seed);
        match self.start {
            Start::Empty => {}
            Start::Token(token) => state.build_in(token, now),
            Start::RefreshToken(refresh_token) => state.build_in_refresh_token(refresh_token),
            Start::SignedOut => state.build_signed_out(),
        }
        let snapshots = Snapshots::new();
        snapshots.publish(state.quiet(now), now);
        let core = Core {
            name: self.name,
            refresher: self.refresher,
            clock: self.clock,
            spawn: self.spawn,
            save_hook: self.save_hook,
            revoke_hook: self.revoke_hook,
            event_hook: self.event_hook,
            limits: self.limits,
            limit: self.limit,
            save_timeout: self.save_timeout,
            snapshots,
            shell: Mutex::new(Shell { state, gates: Vec::new(), version: 0 }),
            waiters: AtomicUsize::new(0),
            changed: Notify::new(),
        };
        Session { core: Arc::new(core) }
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}

fn hook<F, Fut, E>(hook: F) -> Hook
where
    F: Fn(Token) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |token| {
        let call = hook(token);
        Box::pin(async move { call.await.map_err(|error| HookFailed(Some(Arc::from(error.into())))) })
    })
}
