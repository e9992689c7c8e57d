//! How a refresh failed.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::error::{BoxError, find_source};
use crate::token::{InvalidToken, Secret};

/// How a refresh failed.
///
/// The four ways have different consequences, so a refresher should tell them apart:
///
/// | made by | what happened | what follows |
/// |---|---|---|
/// | [`transient`](Self::transient) | nothing reached the server, or it said "later" (5xx, 429) | tried again after a growing delay |
/// | [`outcome_unknown`](Self::outcome_unknown) | it was sent, and no answer came | repeated once at once, as servers that rotate tolerate that for seconds |
/// | [`misconfigured`](Self::misconfigured) | the client is refused, or the answer is no token | as transient, with another error |
/// | [`grant_ended`](Self::grant_ended) | the refresh token is dead (`invalid_grant`) | nobody is asked again until a token is set |
///
/// One that is made of another `RefreshError` keeps its [`retry_after`](Self::retry_after), unless another is set.
///
/// The error that it is made of is passed on as it is, in the source chain of each waiter's error: it should not
/// show a token itself.
#[derive(Clone)]
pub struct RefreshError {
    kind: FailureKind,
    retry_after: Option<Duration>,
    /// A refusal that can't be interpreted. It may last, so the session slows down after several in a row.
    unexplained: bool,
    successor: Option<Secret>,
    log_text: Option<Arc<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The four kinds of failed refresh; see [`RefreshError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// [`RefreshError::transient`].
    Transient,
    /// [`RefreshError::outcome_unknown`].
    OutcomeUnknown,
    /// [`RefreshError::misconfigured`].
    Misconfigured,
    /// [`RefreshError::grant_ended`].
    GrantEnded,
}

// === impl RefreshError ===

impl RefreshError {
    /// It failed in passing: try again later.
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Transient, error.into())
    }

    /// It was sent, and no answer came: the refresh token may be spent.
    pub fn outcome_unknown(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::OutcomeUnknown, error.into())
    }

    /// The client is set up wrongly, or the endpoint's answer is no token.
    pub fn misconfigured(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Misconfigured, error.into())
    }

    /// The grant has ended, or the refresher must not be called again: the user has to sign in.
    pub fn grant_ended(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::GrantEnded, error.into())
    }

    pub(crate) fn new(kind: FailureKind, error: BoxError) -> Self {
        // One that is made of another says something else of the same failure.
        let inner = error.downcast_ref::<Self>();
        let successor = inner.and_then(|inner| inner.successor.clone());
        let answered = successor.is_some() && kind == FailureKind::OutcomeUnknown;
        let kind = if answered { FailureKind::Transient } else { kind };
        Self {
            kind,
            retry_after: inner.and_then(|inner| inner.retry_after),
            unexplained: inner.is_some_and(|inner| inner.unexplained),
            successor,
            log_text: inner.and_then(|inner| inner.log_text.clone()),
            source: Some(error.into()),
        }
    }

    /// Sets how long the server asked to be left alone (`Retry-After`, RFC 9110 §10.2.3). More than an hour is an hour.
    /// `None`: it didn't.
    pub fn with_retry_after(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.retry_after = wait.into();
        self
    }

    /// Sets the refresh token that the answer brought, though it brought no access token that can be used: it replaces
    /// the session's, as the presented one may be spent. An outcome that was unknown is transient then.
    pub fn with_refresh_token(mut self, refresh_token: impl Into<String>) -> Self {
        self.successor = Some(Secret::new(refresh_token.into()));
        if self.kind == FailureKind::OutcomeUnknown {
            self.kind = FailureKind::Transient;
        }
        self
    }

    /// The server's `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    #[cfg(feature = "__endpoint")]
    pub(crate) fn unexplained(mut self) -> Self {
        self.unexplained = true;
        self
    }

    /// Sets what the log says of it (feature `tracing`), which must hold no secret. Of the error that it is made of nothing
    /// is logged, as that is not known of it.
    pub fn with_log_message(mut self, text: impl Into<Arc<str>>) -> Self {
        self.log_text = Some(text.into());
        self
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn log_text(&self) -> Option<&str> {
        self.log_text.as_deref()
    }

    /// Looks for a `RefreshError` in `error` and its chain of sources: for a refresher that calls another one.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// Whether it was made by [`transient`](Self::transient).
    pub fn is_transient(&self) -> bool {
        self.kind == FailureKind::Transient
    }

    /// Whether it was made by [`outcome_unknown`](Self::outcome_unknown).
    pub fn is_outcome_unknown(&self) -> bool {
        self.kind == FailureKind::OutcomeUnknown
    }

    /// Whether it was made by [`misconfigured`](Self::misconfigured).
    pub fn is_misconfigured(&self) -> bool {
        self.kind == FailureKind::Misconfigured
    }

    /// Whether it was made by [`grant_ended`](Self::grant_ended).
    pub fn is_grant_ended(&self) -> bool {
        self.kind == FailureKind::GrantEnded
    }

    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    pub(crate) fn is_unexplained(&self) -> bool {
        self.unexplained
    }

    pub(crate) fn has_successor(&self) -> bool {
        self.successor.is_some()
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
            .field("unexplained", &self.unexplained)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FailureKind::Transient => "the refresh failed in passing",
            FailureKind::OutcomeUnknown => "the refresh was sent and not answered",
            FailureKind::Misconfigured => "the refresh was refused for its configuration",
            FailureKind::GrantEnded => "the grant has ended",
        })
    }
}

impl StdError for RefreshError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
