//! Why a request could not be given a token.

use std::{error::Error as StdError, fmt, sync::Arc, time::SystemTime};

/// tower's error type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A token could not be had, or may not be sent.
///
/// It is one opaque type that answers questions. It is cheap to clone, as all who waited for one refresh share its
/// error; a refresher's own error is its [`source`](StdError::source) and can be downcast.
///
/// A layer's error is tower's `BoxError`; [`Error::find`] digs this one out of it.
///
/// # Examples
///
/// ```
/// use tower_reauth::Error;
///
/// fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
///     match Error::find(error) {
///         Some(error) if error.is_grant_ended() || error.is_signed_out() => "sign in again",
///         Some(error) if error.is_retryable() => "try again later",
///         Some(_) => "mend the set-up",
///         None => "not about the token",
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<ErrorInner>,
}

struct ErrorInner {
    kind: ErrorKind,
    retry_at: Option<SystemTime>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Transient,
    OutcomeUnknown,
    TaskDropped,
    Panicked,
    Misconfigured,
    GrantEnded,
    Backoff,
    Timeout,
    Overloaded,
    MissingRuntime,
    SignedOut,
    ShutDown,
    Reentrant,
    SameToken,
    Cleartext,
    MissingHost,
    TooManyHeaders,
    ShutdownTimeout,
    Unsaved,
    Deadline,
}

// === impl Error ===

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { inner: Arc::new(ErrorInner { kind, retry_at: None, source: None }) }
    }

    pub(crate) fn with_details(
        kind: ErrorKind,
        retry_at: Option<SystemTime>,
        source: Option<Arc<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { inner: Arc::new(ErrorInner { kind, retry_at, source }) }
    }

    /// Looks for an `Error` in `error` and its chain of sources.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// Whether a new try, unchanged, may succeed; not before [`retry_at`](Self::retry_at) where that is known.
    ///
    /// Not of a wrong configuration, though the session itself tries again at `retry_at`, in case that it was mended.
    pub fn is_retryable(&self) -> bool {
        match self.inner.kind {
            ErrorKind::Transient
            | ErrorKind::OutcomeUnknown
            | ErrorKind::TaskDropped
            | ErrorKind::Panicked
            | ErrorKind::Backoff
            | ErrorKind::Timeout
            | ErrorKind::Overloaded
            | ErrorKind::MissingRuntime
            | ErrorKind::ShutdownTimeout
            | ErrorKind::Unsaved
            | ErrorKind::Deadline => true,
            ErrorKind::Misconfigured
            | ErrorKind::GrantEnded
            | ErrorKind::SignedOut
            | ErrorKind::ShutDown
            | ErrorKind::Reentrant
            | ErrorKind::SameToken
            | ErrorKind::Cleartext
            | ErrorKind::MissingHost
            | ErrorKind::TooManyHeaders => false,
        }
    }

    /// The first instant at which the session tries again, on the wall clock.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.inner.retry_at
    }

    /// The refresh failed in passing: the network, a 5xx or 429 from the token endpoint.
    pub fn is_transient(&self) -> bool {
        self.is(ErrorKind::Transient)
    }

    /// The refresh was sent and not answered, so it isn't known whether the refresh token is spent; a refresher that
    /// panicked or whose runtime ended included.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::OutcomeUnknown | ErrorKind::TaskDropped | ErrorKind::Panicked)
    }

    /// The refresher (or the clone of a request) panicked.
    pub fn is_panic(&self) -> bool {
        self.is(ErrorKind::Panicked)
    }

    /// The task that ran the refresh was dropped before its end, mostly with its runtime.
    pub fn is_task_gone(&self) -> bool {
        self.is(ErrorKind::TaskDropped)
    }

    /// The client is set up wrongly (`invalid_client`, a secret that was rotated, an answer that is no token).
    pub fn is_misconfigured(&self) -> bool {
        self.is(ErrorKind::Misconfigured)
    }

    /// The grant has ended (`invalid_grant`): the user must sign in again.
    pub fn is_grant_ended(&self) -> bool {
        self.is(ErrorKind::GrantEnded)
    }

    /// There is no credential: the session was signed out, or became another's while the request waited.
    pub fn is_signed_out(&self) -> bool {
        self.is(ErrorKind::SignedOut)
    }

    /// Refreshes work but bring nothing that a server accepts, and the next isn't permitted before
    /// [`retry_at`](Self::retry_at).
    pub fn is_backoff(&self) -> bool {
        self.is(ErrorKind::Backoff)
    }

    /// The caller's patience ended before the refresh did. The refresh goes on, and its token is kept.
    pub fn is_timeout(&self) -> bool {
        self.is(ErrorKind::Timeout)
    }

    /// As many callers as `max_waiters` permits were waiting already.
    pub fn is_overloaded(&self) -> bool {
        self.is(ErrorKind::Overloaded)
    }

    /// There was no runtime to run the refresh on, or it has no timers.
    pub fn is_missing_runtime(&self) -> bool {
        self.is(ErrorKind::MissingRuntime)
    }

    /// The session was shut down and begins no refresh any more.
    pub fn is_shut_down(&self) -> bool {
        self.is(ErrorKind::ShutDown)
    }

    /// The refresher, or a hook, asked its own session for a token and would have waited for itself.
    pub fn is_reentrant(&self) -> bool {
        self.is(ErrorKind::Reentrant)
    }

    /// The refresh brought the very token that had been refused.
    pub fn is_same_token(&self) -> bool {
        self.is(ErrorKind::SameToken)
    }

    /// The request would have carried the token over cleartext `http` to a host that isn't loopback.
    pub fn is_cleartext(&self) -> bool {
        self.is(ErrorKind::Cleartext)
    }

    /// The request's URI names no host, so it can't be told where the token would go.
    pub fn is_missing_host(&self) -> bool {
        self.is(ErrorKind::MissingHost)
    }

    /// The request has as many headers as can be had.
    pub fn is_too_many_headers(&self) -> bool {
        self.is(ErrorKind::TooManyHeaders)
    }

    /// [`shutdown`](crate::Session::shutdown)'s limit came before the end of the refresh, which goes on.
    pub fn is_shutdown_timeout(&self) -> bool {
        self.is(ErrorKind::ShutdownTimeout)
    }

    /// [`shutdown`](crate::Session::shutdown) ended with a token that the save hook could not save.
    pub fn is_unsaved(&self) -> bool {
        self.is(ErrorKind::Unsaved)
    }

    /// The call's own deadline (`grpc-timeout`) came before a token did.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.is(ErrorKind::Deadline)
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    fn is(&self, kind: ErrorKind) -> bool {
        self.inner.kind == kind
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn shared_source(&self) -> Option<Arc<dyn StdError + Send + Sync>> {
        self.inner.source.clone()
    }

    /// The same error with another source.
    #[cfg(feature = "grpc")]
    pub(crate) fn over(&self, source: Arc<dyn StdError + Send + Sync>) -> Self {
        Self::with_details(self.inner.kind, self.inner.retry_at, Some(source))
    }

    /// The same error with another instant for the next try.
    pub(crate) fn at(&self, retry_at: Option<SystemTime>) -> Self {
        if retry_at == self.inner.retry_at {
            return self.clone();
        }
        Self::with_details(self.inner.kind, retry_at, self.inner.source.clone())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("retry_at", &self.inner.retry_at)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.inner.kind {
            ErrorKind::Transient => "the token could not be refreshed for now",
            ErrorKind::OutcomeUnknown => "the token refresh was sent and not answered: it is not known whether it took effect",
            ErrorKind::TaskDropped => "the task that refreshed the token ended before its answer came",
            ErrorKind::Panicked => "the refresher panicked",
            ErrorKind::Misconfigured => "the token endpoint refuses this client: mend its configuration",
            ErrorKind::GrantEnded => "the grant has ended: sign in again",
            ErrorKind::Backoff => "token refreshes bring nothing usable: the next one is not permitted yet",
            ErrorKind::Timeout => "the token refresh took longer than this caller's patience",
            ErrorKind::Overloaded => "too many callers wait for the token refresh already",
            ErrorKind::MissingRuntime => {
                "no runtime with timers to refresh the token on: call from within tokio with enable_time(), or set a spawner and a clock"
            }
            ErrorKind::SignedOut => "signed out meanwhile or never signed in: there is no token",
            ErrorKind::ShutDown => "the session was shut down and refreshes no more",
            ErrorKind::Reentrant => {
                "the refresher asked its own session for a token: mark its requests with SkipAuth or send them past the layer"
            }
            ErrorKind::SameToken => "the refresh brought the refused token again",
            ErrorKind::Cleartext => {
                "a token is not sent over cleartext http to another host: use https, or set dangerous_allow_cleartext"
            }
            ErrorKind::MissingHost => "the request's URI names no host: tell the layer where it goes with default_origin",
            ErrorKind::TooManyHeaders => "the request has too many headers to add one",
            ErrorKind::ShutdownTimeout => "the shutdown's limit came before the end of the token refresh",
            ErrorKind::Unsaved => "the token could not be saved",
            ErrorKind::Deadline => "the call's deadline came before a valid token did",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

/// The first error of a type in `error` and its chain of sources.
pub(crate) fn find_source<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn b79_an_error_is_found_at_any_depth() {
        let error: Box<dyn StdError + Send + Sync> = Box::new(Wrapped(Error::new(ErrorKind::GrantEnded)));
        assert!(Error::find(&*error).is_some_and(Error::is_grant_ended));
        assert!(Error::find(&Error::new(ErrorKind::GrantEnded)).is_some());
        assert!(Error::find(&fmt::Error).is_none());
    }
}
