//! The error type.

use std::{error::Error as StdError, fmt, sync::Arc, time::SystemTime};

/// tower's error type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A token couldn't be obtained, or must not be sent.
///
/// An opaque type with `is_*` methods. Cheap to clone, since all waiters of a refresh share its error. The
/// refresher's own error is the [`source`](StdError::source) and can be downcast.
///
/// The layer returns tower's `BoxError`; [`Error::find`] extracts this type from it.
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
///         Some(_) => "fix the configuration",
///         None => "unrelated to the token",
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Error {
    pub(crate) inner: Arc<ErrorInner>,
}

pub(crate) struct ErrorInner {
    pub(crate) kind: ErrorKind,
    pub(crate) retry_at: Option<SystemTime>,
    pub(crate) source: Option<Arc<dyn StdError + Send + Sync>>,
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
    StoreUnavailable,
    StoreUnusable,
    MissingSession,
    SessionsFull,
    LoadFailed,
}

// === impl Error ===

impl Error {
    /// Finds an `Error` in `error` and its chain of sources.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

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

    fn is(&self, kind: ErrorKind) -> bool {
        self.inner.kind == kind
    }

    /// The same error with another time of the next refresh.
    pub(crate) fn at(&self, retry_at: Option<SystemTime>) -> Self {
        if retry_at == self.inner.retry_at {
            return self.clone();
        }
        Self::with_details(self.inner.kind, retry_at, self.inner.source.clone())
    }
}

/// # Retry
///
/// If one of these is `true`, so is [`is_retryable`](Self::is_retryable).
impl Error {
    /// Whether the same request may succeed later, not before [`retry_at`](Self::retry_at) if that is known.
    ///
    /// `false` for a misconfigured client, although the session tries again at `retry_at` in case it was fixed.
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
            | ErrorKind::Deadline
            | ErrorKind::StoreUnavailable
            | ErrorKind::SessionsFull
            | ErrorKind::LoadFailed => true,
            ErrorKind::Misconfigured
            | ErrorKind::GrantEnded
            | ErrorKind::SignedOut
            | ErrorKind::ShutDown
            | ErrorKind::Reentrant
            | ErrorKind::SameToken
            | ErrorKind::Cleartext
            | ErrorKind::MissingHost
            | ErrorKind::TooManyHeaders
            | ErrorKind::StoreUnusable
            | ErrorKind::MissingSession => false,
        }
    }

    /// When the next refresh, or the next load of a session, is allowed. `None`: unknown.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.inner.retry_at
    }

    /// The refresh failed temporarily: the network, a 503 or 429 from the token endpoint, or a token store that is
    /// unavailable.
    pub fn is_transient(&self) -> bool {
        self.is(ErrorKind::Transient) || self.is(ErrorKind::StoreUnavailable)
    }

    /// The refresh got no response, so the refresh token may or may not be used up.
    ///
    /// Includes a refresher that panicked or whose runtime shut down.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::OutcomeUnknown | ErrorKind::TaskDropped | ErrorKind::Panicked)
    }

    /// Refreshes succeed, but servers keep rejecting the new tokens; the next refresh isn't allowed before
    /// [`retry_at`](Self::retry_at).
    pub fn is_backoff(&self) -> bool {
        self.is(ErrorKind::Backoff)
    }

    /// The caller's wait timeout elapsed before a token was available. The refresh, or the load of the session, that
    /// it waited for continues.
    pub fn is_timeout(&self) -> bool {
        self.is(ErrorKind::Timeout)
    }

    /// The call's own deadline expired before a token was available: its `grpc-timeout`, or the timeout of a
    /// reqwest request.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.is(ErrorKind::Deadline)
    }

    /// The limit set by `max_waiters` was reached.
    pub fn is_overloaded(&self) -> bool {
        self.is(ErrorKind::Overloaded)
    }

    /// A map of sessions is at its capacity, and none of its unused sessions can be evicted: what each of them holds
    /// couldn't be loaded again.
    pub fn is_full(&self) -> bool {
        self.is(ErrorKind::SessionsFull)
    }

    /// The function that loads a session failed, panicked or timed out, or its task was dropped with its runtime. The
    /// function's own error is the [`source`](StdError::source).
    pub fn is_load_failed(&self) -> bool {
        self.is(ErrorKind::LoadFailed)
    }

    /// No runtime is available for the refresh or the load, or it has no timers.
    pub fn is_missing_runtime(&self) -> bool {
        self.is(ErrorKind::MissingRuntime)
    }
}

/// # Sign in
///
/// If one of these is `true`, requests fail until the user signs in again:
/// [`Session::sign_in`](crate::Session::sign_in).
impl Error {
    /// The grant has ended (`invalid_grant`): the user must sign in again.
    pub fn is_grant_ended(&self) -> bool {
        self.is(ErrorKind::GrantEnded)
    }

    /// There is no credential: the session was signed out, or another user signed in while the request
    /// waited.
    pub fn is_signed_out(&self) -> bool {
        self.is(ErrorKind::SignedOut)
    }
}

/// # Fix the configuration
///
/// If one of these is `true`, the client, the layer or the request must be changed.
impl Error {
    /// The refresh is misconfigured (`invalid_client`, a rotated secret, a token that can't be used), or the
    /// record in a token store can't be read.
    pub fn is_misconfigured(&self) -> bool {
        self.is(ErrorKind::Misconfigured) || self.is(ErrorKind::StoreUnusable)
    }

    /// The refresh returned the same token that had been rejected.
    pub fn is_same_token(&self) -> bool {
        self.is(ErrorKind::SameToken)
    }

    /// A refresher, a hook or a listener would have waited for its own session, which is a deadlock.
    pub fn is_reentrant(&self) -> bool {
        self.is(ErrorKind::Reentrant)
    }

    /// The request carries no session, or nothing that its key is made from. It was not sent.
    pub fn is_missing_session(&self) -> bool {
        self.is(ErrorKind::MissingSession)
    }

    /// The request would have carried the token over cleartext `http` to a host that isn't loopback
    /// (127.0.0.0/8, `::1` or `localhost`).
    pub fn is_cleartext(&self) -> bool {
        self.is(ErrorKind::Cleartext)
    }

    /// The request's URI has no host, or more than a plain host and port, so the token's destination is
    /// unknown.
    pub fn is_missing_host(&self) -> bool {
        self.is(ErrorKind::MissingHost)
    }
}

/// # Shutdown
///
/// See [`Session::shutdown`](crate::Session::shutdown).
impl Error {
    /// The session was shut down and starts no further refreshes, or its map was closed.
    pub fn is_shut_down(&self) -> bool {
        self.is(ErrorKind::ShutDown)
    }

    /// `shutdown` timed out; the refresh continues.
    pub fn is_shutdown_timeout(&self) -> bool {
        self.is(ErrorKind::ShutdownTimeout)
    }

    /// `shutdown` finished, but the save hook failed to save the token or the sign-out. Also the error of loading a
    /// session again that was removed from a map and still couldn't be saved.
    pub fn is_unsaved(&self) -> bool {
        self.is(ErrorKind::Unsaved)
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
            ErrorKind::Transient => "token refresh failed temporarily",
            ErrorKind::OutcomeUnknown => {
                "no response to the token refresh: it may or may not have taken effect"
            }
            ErrorKind::TaskDropped => "the refresh task was dropped before it finished",
            ErrorKind::Panicked => "the refresher panicked",
            ErrorKind::Misconfigured => "the token refresh is misconfigured; the cause says what to fix",
            ErrorKind::GrantEnded => "the grant is no longer valid: sign in again",
            ErrorKind::Backoff => "refreshed tokens keep being rejected: waiting before the next refresh",
            ErrorKind::Timeout => "timed out waiting for a token",
            ErrorKind::Overloaded => "too many callers are already waiting for the token refresh",
            ErrorKind::MissingRuntime => {
                "no runtime with timers available: call from a tokio runtime with enable_time(), or set a spawner and a clock"
            }
            ErrorKind::SignedOut => "not signed in, or signed out in the meantime",
            ErrorKind::ShutDown => "the session was shut down, or its map was closed",
            ErrorKind::Reentrant => {
                "a refresher, hook or listener would wait for its own session: mark its requests with SkipAuth, or send them around the layer"
            }
            ErrorKind::SameToken => "the refresh returned the rejected token again",
            ErrorKind::Cleartext => {
                "a token is sent over cleartext http only to loopback: use https, or set dangerous_allow_cleartext"
            }
            ErrorKind::MissingHost => "the request URI has no host, or an invalid one: use a plain host and port, or set default_origin",
            ErrorKind::TooManyHeaders => "too many headers in the request",
            ErrorKind::ShutdownTimeout => "shutdown timed out before the token refresh finished",
            ErrorKind::StoreUnavailable => "the token store can't be used now: retry",
            ErrorKind::StoreUnusable => "the token store can't be used: the cause says what to fix",
            ErrorKind::Unsaved => "failed to save the token or the sign-out",
            ErrorKind::Deadline => "deadline exceeded while waiting for a token",
            ErrorKind::MissingSession => {
                "the request has no session: insert one, or what its key is made from, into its extensions"
            }
            ErrorKind::SessionsFull => {
                "the map of sessions is full, and nothing in it could be loaded again after an eviction: raise the capacity, or save tokens with a hook"
            }
            ErrorKind::LoadFailed => "failed to load the session; the cause says why",
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
        let error: BoxError = Box::new(Wrapped(Error::new(ErrorKind::GrantEnded)));
        assert!(Error::find(&*error).is_some_and(Error::is_grant_ended));
        assert!(Error::find(&Error::new(ErrorKind::GrantEnded)).is_some());
        assert!(Error::find(&fmt::Error).is_none());
    }
}
