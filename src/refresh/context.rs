//! [`RefreshContext`].

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "test-util")]
use crate::token::OptionalString;
use crate::{
    challenge::Challenges,
    rt::{self, Clock, Nanos, SystemClock},
    token::{Secret, Token},
};

/// The input of a [`Refresher`](crate::Refresher).
#[derive(Clone)]
pub struct RefreshContext {
    token: Option<Token>,
    refresh_token: Option<Secret>,
    reason: RefreshReason,
    challenges: Challenges,
    consecutive_failures: u32,
    clock: Arc<dyn Clock>,
    /// Delays between attempts are randomised.
    #[cfg_attr(not(feature = "__endpoint"), expect(dead_code, reason = "for the built-in refreshers"))]
    jitter: bool,
    /// When the refresh times out, on the monotonic clock.
    deadline: Option<Nanos>,
    /// `None`: always.
    is_wanted: Option<IsWanted>,
    /// The backoff was reset since the refresh before.
    was_reset: bool,
}

pub(crate) type IsWanted = Arc<dyn Fn() -> bool + Send + Sync>;

/// Builds a [`RefreshContext`], to test a refresher. Created by [`RefreshContext::builder`].
#[cfg(feature = "test-util")]
#[derive(Clone, Debug)]
#[must_use]
pub struct RefreshContextBuilder {
    cx: RefreshContext,
}

/// The reason for a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshReason {
    /// There is no access token yet.
    #[default]
    Initial,
    /// The token is valid, but due for replacement.
    Stale,
    /// The token has expired.
    Expired,
    /// A server rejected the token.
    Rejected,
    /// Requested by [`refresh`](crate::Session::refresh).
    Requested,
    /// The previous refresh got no response; the same refresh token is used again.
    Repeated,
}

// === impl RefreshContext ===

impl RefreshContext {
    pub(crate) fn new(
        token: Option<Token>,
        refresh_token: Option<Secret>,
        reason: RefreshReason,
        challenges: Challenges,
        consecutive_failures: u32,
        jitter: bool,
    ) -> Self {
        Self {
            token,
            refresh_token,
            reason,
            challenges,
            consecutive_failures,
            clock: Arc::new(SystemClock),
            jitter,
            deadline: None,
            is_wanted: None,
            was_reset: false,
        }
    }

    /// Creates a builder, to test a refresher.
    ///
    /// Needs the feature `test-util`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefreshError, Refresher, Token, refresh::RefreshReason, refresh_fn};
    ///
    /// let refresher = refresh_fn(|cx: RefreshContext| async move {
    ///     let refresh_token = cx.refresh_token().ok_or_else(|| RefreshError::grant_ended("no refresh token"))?;
    ///     Ok(Token::builder("A2").refresh_token(refresh_token).build()?)
    /// });
    ///
    /// # tokio_test::block_on(async {
    /// let cx = RefreshContext::builder().refresh_token("R1").reason(RefreshReason::Expired).build();
    /// assert_eq!(refresher.refresh(cx).await?.access_token(), "A2");
    /// assert!(refresher.refresh(RefreshContext::default()).await.is_err());
    /// # Ok::<(), RefreshError>(())
    /// # }).unwrap();
    /// ```
    #[cfg(feature = "test-util")]
    pub fn builder() -> RefreshContextBuilder {
        RefreshContextBuilder { cx: Self::default() }
    }

    /// Adds what only a running refresh has.
    pub(crate) fn in_flight(mut self, clock: Arc<dyn Clock>, deadline: Nanos, is_wanted: IsWanted) -> Self {
        self.clock = clock;
        self.deadline = Some(deadline);
        self.is_wanted = Some(is_wanted);
        self
    }

    /// Whether the backoff was reset since the refresh before.
    pub(crate) fn after_reset(mut self, was_reset: bool) -> Self {
        self.was_reset = was_reset;
        self
    }

    #[cfg(feature = "store")]
    pub(crate) fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// For the exchange of a refresh token that a store has.
    #[cfg(feature = "store")]
    pub(crate) fn for_exchange(
        &self,
        token: Option<Token>,
        refresh_token: Option<Secret>,
        reason: RefreshReason,
        deadline: Nanos,
        is_wanted: IsWanted,
    ) -> Self {
        let deadline = self.deadline.map_or(deadline, |own| own.min(deadline));
        Self {
            token: token.or_else(|| self.token.clone()),
            refresh_token,
            reason,
            deadline: Some(deadline),
            is_wanted: Some(is_wanted),
            ..self.clone()
        }
    }

    /// For another grant, after this refresh token was refused.
    pub(crate) fn without_refresh_token(mut self) -> Self {
        self.refresh_token = None;
        self
    }

    /// The refresh token to send, if the session has one.
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    /// The refresh token without surrounding whitespace (one that was read from a file ends with a newline).
    /// `None` if nothing is left.
    #[cfg(feature = "__endpoint")]
    pub(crate) fn presentable(&self) -> Option<&str> {
        self.refresh_token().map(str::trim).filter(|token| !token.is_empty())
    }

    /// The current token, if any.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The reason for the refresh.
    pub fn reason(&self) -> RefreshReason {
        self.reason
    }

    /// The challenges sent with the rejection: where to ask and for what (Docker), missing claims
    /// (Microsoft). Empty if there were none.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Consecutive ineffective refreshes before this one.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// What is left of the refresh timeout. `None` if the refresh isn't run by a session.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.deadline?.saturating_sub(self.clock.now().monotonic);
        Some(rt::duration(left))
    }

    /// Whether the session still wants a token for this refresh token.
    ///
    /// `false` after a sign-in or sign-out, after another refresh token was set, and once the session has
    /// abandoned this refresh: don't present the refresh token again. Check this before each further request
    /// to the token endpoint.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.as_ref().is_none_or(|is_wanted| is_wanted())
    }

    #[cfg(feature = "__endpoint")]
    pub(crate) fn jitter(&self) -> bool {
        self.jitter
    }

    /// The session's clock, for timeouts and for interpreting dates.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl Default for RefreshContext {
    fn default() -> Self {
        Self::new(None, None, RefreshReason::default(), Challenges::default(), 0, true)
    }
}

impl fmt::Debug for RefreshContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshContext")
            .field("token", &self.token)
            .field("refresh_token", &self.refresh_token)
            .field("reason", &self.reason)
            .field("challenges", &self.challenges)
            .field("consecutive_failures", &self.consecutive_failures)
            .finish_non_exhaustive()
    }
}

// === impl RefreshContextBuilder ===

#[cfg(feature = "test-util")]
impl RefreshContextBuilder {
    /// Sets the current token, and its refresh token.
    pub fn token(mut self, token: Token) -> Self {
        self.cx.refresh_token = token.refresh_secret().cloned();
        self.cx.token = Some(token);
        self
    }

    /// Sets the refresh token.
    pub fn refresh_token(mut self, refresh_token: impl OptionalString) -> Self {
        self.cx.refresh_token = refresh_token.into_option().and_then(Secret::refresh_token);
        self
    }

    /// Sets the reason. Default: [`RefreshReason::Initial`].
    pub fn reason(mut self, reason: RefreshReason) -> Self {
        self.cx.reason = reason;
        self
    }

    /// Sets the challenges. Default: none.
    pub fn challenges(mut self, challenges: Challenges) -> Self {
        self.cx.challenges = challenges;
        self
    }

    /// Sets the number of consecutive ineffective refreshes. Default: 0.
    pub fn consecutive_failures(mut self, count: u32) -> Self {
        self.cx.consecutive_failures = count;
        self
    }

    /// Sets whether the token is still wanted. Default: always.
    pub fn wanted_while(mut self, is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cx.is_wanted = Some(Arc::new(is_wanted));
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.cx.clock = Arc::new(clock);
        self
    }

    /// Builds the context.
    pub fn build(self) -> RefreshContext {
        self.cx
    }
}
