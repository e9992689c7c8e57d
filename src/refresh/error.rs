//! [`RefreshError`].

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::error::{BoxError, Error, find_source};
use crate::token::{InvalidToken, OptionalString, Secret};

/// A failed refresh.
///
/// A refresher should distinguish five kinds:
///
/// | constructor | what happened | what follows |
/// |---|---|---|
/// | [`transient`](Self::transient) | nothing reached the server, or it asked to retry later (503, 429) | retried with backoff |
/// | [`unexplained`](Self::unexplained) | a response that can't be interpreted, such as one without a token | as transient, but the backoff grows to ten minutes |
/// | [`outcome_unknown`](Self::outcome_unknown) | the request was sent, but got no response, or one after which it may have been processed (500, 504) | repeated once immediately, which rotating servers tolerate for a few seconds |
/// | [`misconfigured`](Self::misconfigured) | the client was refused, or the token can't be used | as unexplained, but reported differently |
/// | [`grant_ended`](Self::grant_ended) | the refresh token is dead (`invalid_grant`) | no further attempts until a token is set |
///
/// Wrapping a `RefreshError` keeps its [`retry_after`](Self::retry_after). The wrapped error becomes the
/// source of every waiter's error, so it must not contain a token.
///
/// If a refresher fails because it waited for its own session, the error is always misconfigured, whichever
/// constructor it uses.
#[derive(Clone)]
pub struct RefreshError {
    kind: FailureKind,
    retry_after: Option<Duration>,
    successor: Option<Secret>,
    log_message: Option<Arc<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Nobody is signed in.
#[derive(Debug)]
struct NotSignedIn;

/// The kinds of failed refresh; see [`RefreshError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(not(feature = "__endpoint"), expect(unreachable_pub, reason = "public in `endpoint`"))]
pub enum FailureKind {
    /// [`RefreshError::transient`].
    Transient,
    /// [`RefreshError::unexplained`].
    Unexplained,
    /// [`RefreshError::outcome_unknown`].
    OutcomeUnknown,
    /// [`RefreshError::misconfigured`].
    Misconfigured,
    /// [`RefreshError::grant_ended`].
    GrantEnded,
}

// === impl RefreshError ===

impl RefreshError {
    /// A temporary failure.
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Transient, error.into())
    }

    /// A refusal or a success response that can't be interpreted.
    ///
    /// An outage can look like this, and so can a failure that no retry will fix.
    pub fn unexplained(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Unexplained, error.into())
    }

    /// Sent, but no response: the refresh token may be used up.
    pub fn outcome_unknown(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::OutcomeUnknown, error.into())
    }

    /// The client is misconfigured, or the token can't be used.
    pub fn misconfigured(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Misconfigured, error.into())
    }

    /// The grant has ended, or the refresher must not be called again: the user has to sign in.
    pub fn grant_ended(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::GrantEnded, error.into())
    }

    pub(crate) fn new(kind: FailureKind, error: BoxError) -> Self {
        // A wrapped `RefreshError` is the same failure, classified differently.
        let inner = error.downcast_ref::<Self>();
        let successor = inner.and_then(|inner| inner.successor.clone());
        let is_known = successor.is_some() && kind == FailureKind::OutcomeUnknown;
        let waited_for_itself = waited_for_itself(&*error);
        let kind = match kind {
            _ if waited_for_itself => FailureKind::Misconfigured,
            _ if is_known => FailureKind::Transient,
            kind => kind,
        };
        let log_message = match waited_for_itself {
            true => Some(WAITED_FOR_ITSELF.into()),
            false => inner.and_then(|inner| inner.log_message.clone()),
        };
        Self {
            kind,
            retry_after: inner.and_then(|inner| inner.retry_after),
            successor,
            log_message,
            source: Some(error.into()),
        }
    }

    /// Sets the server's `Retry-After` (RFC 9110 §10.2.3), at most an hour. `None` removes it.
    pub fn with_retry_after(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.retry_after = wait.into();
        self
    }

    /// Sets a refresh token from a response without a usable access token.
    ///
    /// It replaces the session's, which may be used up. Turns an unknown outcome into a transient one. An empty
    /// or blank one counts as none.
    ///
    /// A refresher that calls another one and then fails passes on the token's
    /// [`refresh_token`](crate::Token::refresh_token); [`map_token`](crate::RefresherExt::map_token) does so
    /// itself.
    pub fn with_refresh_token(self, refresh_token: impl OptionalString) -> Self {
        self.with_successor(refresh_token.into_option().and_then(Secret::refresh_token))
    }

    pub(crate) fn with_successor(mut self, successor: Option<Secret>) -> Self {
        if successor.is_none() {
            return self;
        }
        self.successor = successor;
        if self.kind == FailureKind::OutcomeUnknown {
            self.kind = FailureKind::Transient;
        }
        self
    }

    /// The server's `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Sets the log message (feature `tracing`), which must not contain secrets.
    ///
    /// The wrapped error isn't logged, as it might contain some.
    pub fn with_log_message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.log_message = Some(message.into());
        self
    }

    #[cfg(any(feature = "store", feature = "tracing"))]
    pub(crate) fn log_message(&self) -> Option<&str> {
        self.log_message.as_deref()
    }

    /// Finds a `RefreshError` in `error` and its chain of sources, for a refresher that calls another one.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// Whether it is [`transient`](Self::transient) or [`unexplained`](Self::unexplained).
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, FailureKind::Transient | FailureKind::Unexplained)
    }

    /// Whether it [can't be interpreted](Self::unexplained).
    pub fn is_unexplained(&self) -> bool {
        self.kind == FailureKind::Unexplained
    }

    /// Whether its [outcome is unknown](Self::outcome_unknown).
    pub fn is_outcome_unknown(&self) -> bool {
        self.kind == FailureKind::OutcomeUnknown
    }

    /// Whether the client is [misconfigured](Self::misconfigured).
    pub fn is_misconfigured(&self) -> bool {
        self.kind == FailureKind::Misconfigured
    }

    /// Whether the [grant has ended](Self::grant_ended).
    pub fn is_grant_ended(&self) -> bool {
        self.kind == FailureKind::GrantEnded
    }

    /// Whether a retry is unlikely to help.
    pub(crate) fn is_persistent(&self) -> bool {
        matches!(self.kind, FailureKind::Unexplained | FailureKind::Misconfigured)
    }

    /// The store has no sign-in.
    #[cfg(feature = "store")]
    pub(crate) fn signed_out() -> Self {
        Self::grant_ended(NotSignedIn)
    }

    pub(crate) fn is_signed_out(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is::<NotSignedIn>())
    }

    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    pub(crate) fn has_successor(&self) -> bool {
        self.successor.is_some()
    }

    pub(crate) fn successor(&self) -> Option<&Secret> {
        self.successor.as_ref()
    }

    pub(crate) fn take_successor(&mut self) -> Option<Secret> {
        self.successor.take()
    }
}

impl From<InvalidToken> for RefreshError {
    fn from(error: InvalidToken) -> Self {
        Self::misconfigured(error)
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
            _ if self.source.as_deref().is_some_and(|source| waited_for_itself(source)) => WAITED_FOR_ITSELF,
            FailureKind::Transient => "temporary refresh failure",
            FailureKind::Unexplained => "the response to the refresh can't be interpreted",
            FailureKind::OutcomeUnknown => "no response to the refresh",
            FailureKind::Misconfigured => "the refresh can't succeed until its cause is fixed",
            FailureKind::GrantEnded => "the grant is no longer valid",
        })
    }
}

impl StdError for RefreshError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Whether the refresher waited for its own session. If so, a retry won't help.
fn waited_for_itself(error: &(dyn StdError + 'static)) -> bool {
    Error::find(error).is_some_and(Error::is_reentrant)
}

const WAITED_FOR_ITSELF: &str = "the refresher waited for its own session: mark its requests with SkipAuth, or send \
                            them around the layer";

// === impl NotSignedIn ===

impl fmt::Display for NotSignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody is signed in")
    }
}

impl StdError for NotSignedIn {}
