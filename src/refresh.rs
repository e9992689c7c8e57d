//! Where a new token comes from.
//!
//! A [`Refresher`] is one stateless exchange: it is told the refresh token, it brings the answer. When it is called,
//! by whom it is waited for and what becomes of its answer is the [`Session`](crate::Session)'s affair.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use tower_reauth::{RefreshContext, RefreshError, Refresher, Token};
//!
//! struct MyEndpoint;
//!
//! impl Refresher for MyEndpoint {
//!     async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
//!         let Some(refresh_token) = cx.refresh_token() else {
//!             return Err(RefreshError::ended("there is no refresh token"));
//!         };
//!         let (access, next) = exchange(refresh_token).await.map_err(RefreshError::transient)?;
//!         let token = Token::builder(access).refresh_token(next).expires_in(Duration::from_secs(300)).build()?;
//!         Ok(token)
//!     }
//! }
//! # async fn exchange(_: &str) -> Result<(String, String), std::io::Error> { Ok(("a".into(), "r".into())) }
//! # tokio_test::block_on(async {
//! let answer = MyEndpoint.refresh(RefreshContext::default().with_refresh_token("r0")).await?;
//! assert_eq!(answer.refresh_token(), Some("r"));
//! # Ok::<(), RefreshError>(())
//! # }).unwrap();
//! ```

use std::{error::Error as StdError, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    chain,
    challenge::Challenges,
    clock::{Clock, SystemClock},
    token::{InvalidToken, Secret, Token},
};

mod confirm;
mod ext;
mod map_err;
mod time_limit;

pub use confirm::ConfirmEnded;
pub use ext::RefresherExt;
pub use map_err::MapErr;
pub use time_limit::TimeLimit;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Exchanges what a session has for a new token.
///
/// See the [module docs](crate::Refresher#implementing) and [`refresh_fn`] for a closure.
///
/// # Implementing
///
/// It is written as an `async fn`. It runs in a task of its own, at most one at a time for a session. It should end by
/// itself well within the session's limit for a flight (60 s unless set), and say what it knows of a failure: see
/// [`RefreshError`]. It must not ask its own session for a token: a request that it sends through the layered client
/// must be marked with [`NoToken`](crate::NoToken).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no refresher",
    label = "this can't refresh a token",
    note = "implement `Refresher` with `async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError>`",
    note = "a closure is made one with `refresh_fn(|cx| async move {{ .. }})`"
)]
pub trait Refresher: Send + Sync + 'static {
    /// Brings a new token.
    ///
    /// # Errors
    ///
    /// One of the four ways in which a refresh fails.
    ///
    /// # Cancel safety
    ///
    /// It is dropped when it has not ended within the session's limit for a flight, or with its runtime; the session
    /// then takes the outcome for unknown. No caller's drop cancels it.
    fn refresh(&self, cx: RefreshContext) -> impl Future<Output = Result<Token, RefreshError>> + Send;
}

/// What a refresher is told.
#[derive(Clone)]
#[non_exhaustive]
pub struct RefreshContext {
    token: Option<Token>,
    refresh_token: Option<Secret>,
    reason: RefreshReason,
    challenges: Challenges,
    failures: u32,
    clock: Arc<dyn Clock>,
}

/// Why a refresh runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshReason {
    /// There is no access token yet.
    #[default]
    First,
    /// The token is still valid and due to be replaced.
    Stale,
    /// The token has expired.
    Expired,
    /// A server refused the token.
    Refused,
    /// [`refresh_now`](crate::Session::refresh_now) asked for it.
    Asked,
    /// The refresh before was sent and not answered: the same refresh token is presented once more.
    Repeat,
}

/// How a refresh failed.
///
/// The four ways have different consequences, so a refresher should tell them apart:
///
/// | made by | what happened | what follows |
/// |---|---|---|
/// | [`transient`](Self::transient) | nothing reached the server, or it said "later" (5xx, 429) | tried again after a growing delay |
/// | [`unknown_outcome`](Self::unknown_outcome) | it was sent, and no answer came | repeated once at once, as servers that rotate tolerate that for seconds |
/// | [`configuration`](Self::configuration) | the client is refused, or the answer is no token | as transient, with another error |
/// | [`ended`](Self::ended) | the refresh token is dead (`invalid_grant`) | nobody is asked again until a token is set |
///
/// The error that it is made of is passed on as it is, in the source chain of each waiter's error: it should not
/// show a token itself.
#[derive(Clone)]
pub struct RefreshError {
    kind: RefreshErrorKind,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshErrorKind {
    Transient,
    Unknown,
    Configuration,
    Ended,
}

/// A refresher made of a closure; see [`refresh_fn`].
#[derive(Clone, Copy)]
pub struct RefreshFn<F> {
    refresh: F,
}

/// A refresher whose type is forgotten: that of a layer made from a session, or one that is chosen at run time.
#[derive(Clone)]
pub struct AnyRefresher {
    inner: Arc<dyn ErasedRefresher>,
}

pub(crate) type BoxRefresh = Pin<Box<dyn Future<Output = Result<Token, RefreshError>> + Send>>;

trait ErasedRefresher: Send + Sync {
    fn refresh(self: Arc<Self>, cx: RefreshContext) -> BoxRefresh;
}

/// Makes a refresher of a closure.
///
/// # Examples
///
/// ```
/// use tower_reauth::{RefreshError, Token, refresh_fn};
///
/// let refresher = refresh_fn(|cx| async move {
///     let _present = cx.refresh_token();
///     Ok(Token::try_new("2YotnFZFEjr1zCsicMWpAA")?)
/// });
/// # let _ = tower_reauth::AuthLayer::new(refresher);
/// ```
pub fn refresh_fn<F, Fut>(refresh: F) -> RefreshFn<F>
where
    F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, RefreshError>> + Send,
{
    RefreshFn { refresh }
}

// === impl RefreshFn ===

impl<F, Fut> Refresher for RefreshFn<F>
where
    F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, RefreshError>> + Send,
{
    fn refresh(&self, cx: RefreshContext) -> impl Future<Output = Result<Token, RefreshError>> + Send {
        (self.refresh)(cx)
    }
}

impl<F> fmt::Debug for RefreshFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshFn").finish_non_exhaustive()
    }
}

// === impl AnyRefresher ===

impl AnyRefresher {
    /// Forgets a refresher's type: for one that is chosen at run time.
    pub fn new(refresher: impl Refresher) -> Self {
        Self { inner: Arc::new(refresher) }
    }

    pub(crate) fn call(&self, cx: RefreshContext) -> BoxRefresh {
        Arc::clone(&self.inner).refresh(cx)
    }
}

impl<R: Refresher> ErasedRefresher for R {
    fn refresh(self: Arc<Self>, cx: RefreshContext) -> BoxRefresh {
        // Also what `Refresher::refresh` does before its future exists runs in the task, within its panic guard.
        Box::pin(async move { Refresher::refresh(&*self, cx).await })
    }
}

impl Refresher for AnyRefresher {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        self.call(cx).await
    }
}

impl fmt::Debug for AnyRefresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyRefresher").finish_non_exhaustive()
    }
}

// === impl RefreshContext ===

impl RefreshContext {
    pub(crate) fn new(
        token: Option<Token>,
        refresh_token: Option<Secret>,
        reason: RefreshReason,
        challenges: Challenges,
        failures: u32,
    ) -> Self {
        Self { token, refresh_token, reason, challenges, failures, clock: Arc::new(SystemClock) }
    }

    /// Sets the current token, with its refresh token; for a test of a refresher.
    pub fn with_token(mut self, token: Token) -> Self {
        self.refresh_token = token.refresh_secret().cloned();
        self.token = Some(token);
        self
    }

    /// Sets the refresh token; for a test of a refresher.
    pub fn with_refresh_token(mut self, refresh_token: impl Into<String>) -> Self {
        self.refresh_token = Some(Secret::new(refresh_token.into()));
        self
    }

    /// Sets the challenges; for a test of a refresher.
    pub fn with_challenges(mut self, challenges: Challenges) -> Self {
        self.challenges = challenges;
        self
    }

    /// Sets the reason; for a test of a refresher.
    pub fn with_reason(mut self, reason: RefreshReason) -> Self {
        self.reason = reason;
        self
    }

    /// Sets how many refreshes in a row were useless; for a test of a refresher.
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the clock; for a test of a refresher.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with_shared_clock(Arc::new(clock))
    }

    pub(crate) fn with_shared_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The refresh token to present, if the session has one.
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    /// The token that is to be replaced, if there is one.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Why the refresh runs.
    pub fn reason(&self) -> RefreshReason {
        self.reason
    }

    /// What the server said when it refused the token: where and for what to ask (Docker), which claims it misses
    /// (Microsoft). Empty where it said nothing.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// How many refreshes in a row were useless before this one.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The session's clock: for a time limit, or for a date in an answer.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl Default for RefreshContext {
    fn default() -> Self {
        Self::new(None, None, RefreshReason::default(), Challenges::default(), 0)
    }
}

impl fmt::Debug for RefreshContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshContext")
            .field("token", &self.token)
            .field("refresh_token", &self.refresh_token)
            .field("reason", &self.reason)
            .field("challenges", &self.challenges)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

// === impl RefreshError ===

impl RefreshError {
    /// It failed in passing: try again later.
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Transient, error.into())
    }

    /// It was sent, and no answer came: the refresh token may be spent.
    pub fn unknown_outcome(error: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Unknown, error.into())
    }

    /// The client is set up wrongly, or the endpoint's answer is no token.
    pub fn configuration(error: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Configuration, error.into())
    }

    /// The grant has ended, or the refresher must not be called again: the user has to sign in.
    pub fn ended(error: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Ended, error.into())
    }

    pub(crate) fn new(kind: RefreshErrorKind, error: BoxError) -> Self {
        Self { kind, retry_after: None, source: Some(error.into()) }
    }

    /// Sets how long the server asked to be left alone (`Retry-After`, RFC 9110 §10.2.3). More than an hour is an hour.
    /// `None`: it didn't.
    pub fn retry_after(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.retry_after = wait.into();
        self
    }

    /// Looks for a `RefreshError` in `error` and its chain of sources: for a refresher that calls another one.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        chain::find(error)
    }

    /// Whether it was made by [`transient`](Self::transient).
    pub fn is_transient(&self) -> bool {
        self.kind == RefreshErrorKind::Transient
    }

    /// Whether it was made by [`unknown_outcome`](Self::unknown_outcome).
    pub fn is_unknown_outcome(&self) -> bool {
        self.kind == RefreshErrorKind::Unknown
    }

    /// Whether it was made by [`configuration`](Self::configuration).
    pub fn is_configuration(&self) -> bool {
        self.kind == RefreshErrorKind::Configuration
    }

    /// Whether it was made by [`ended`](Self::ended).
    pub fn is_ended(&self) -> bool {
        self.kind == RefreshErrorKind::Ended
    }

    pub(crate) fn kind(&self) -> RefreshErrorKind {
        self.kind
    }

    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<InvalidToken> for RefreshError {
    fn from(error: InvalidToken) -> Self {
        Self::configuration(error)
    }
}

impl fmt::Debug for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshError")
            .field("kind", &self.kind)
            .field("retry_after", &self.retry_after)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RefreshErrorKind::Transient => "the refresh failed in passing",
            RefreshErrorKind::Unknown => "the refresh was sent and not answered",
            RefreshErrorKind::Configuration => "the refresh was refused for its configuration",
            RefreshErrorKind::Ended => "the grant has ended",
        })
    }
}

impl StdError for RefreshError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
