//! What a refresher is told.

use std::{fmt, sync::Arc};

use crate::{
    challenge::Challenges,
    rt::{Clock, SystemClock},
    token::{Secret, Token},
};

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
    Initial,
    /// The token is still valid and due to be replaced.
    Stale,
    /// The token has expired.
    Expired,
    /// A server refused the token.
    Rejected,
    /// [`refresh`](crate::Session::refresh) asked for it.
    Requested,
    /// The refresh before was sent and not answered: the same refresh token is presented once more.
    Repeated,
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
    pub fn with_consecutive_failures(mut self, failures: u32) -> Self {
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

    /// The refresh token as an endpoint takes it: without white space around it (one that was read from a file ends with
    /// a line feed), and none if nothing is left.
    #[cfg(feature = "__endpoint")]
    pub(crate) fn presentable(&self) -> Option<&str> {
        self.refresh_token().map(str::trim).filter(|text| !text.is_empty())
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
    pub fn consecutive_failures(&self) -> u32 {
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
