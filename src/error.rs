//! Why a request could not be given a token.

use std::{error::Error as StdError, fmt, sync::Arc, time::SystemTime};

use crate::chain;

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
///         Some(error) if error.is_ended() || error.is_signed_out() => "sign in again",
///         Some(error) if error.is_retryable() => "try again later",
///         Some(_) => "mend the set-up",
///         None => "not about the token",
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: Kind,
    retry_at: Option<SystemTime>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Transient,
    Unknown,
    Gone,
    Panic,
    Configuration,
    Ended,
    Paced,
    Patience,
    TooManyWaiting,
    NoRuntime,
    SignedOut,
    ShutDown,
    NeedsItself,
    SameToken,
    Cleartext,
    NoAuthority,
    TooManyHeaders,
    Limit,
    Unsaved,
    Deadline,
}

// === impl Error ===

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { inner: Arc::new(Inner { kind, retry_at: None, source: None }) }
    }

    pub(crate) fn with_details(
        kind: Kind,
        retry_at: Option<SystemTime>,
        source: Option<Arc<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { inner: Arc::new(Inner { kind, retry_at, source }) }
    }

    /// Looks for an `Error` in `error` and its chain of sources.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        chain::find(error)
    }

    /// Whether a new try, unchanged, may succeed; not before [`retry_at`](Self::retry_at) where that is known.
    ///
    /// Not of a wrong configuration, though the session itself tries again at `retry_at`, in case that it was mended.
    pub fn is_retryable(&self) -> bool {
        match self.inner.kind {
            Kind::Transient
            | Kind::Unknown
            | Kind::Gone
            | Kind::Panic
            | Kind::Paced
            | Kind::Patience
            | Kind::TooManyWaiting
            | Kind::NoRuntime
            | Kind::Limit
            | Kind::Unsaved
            | Kind::Deadline => true,
            Kind::Configuration
            | Kind::Ended
            | Kind::SignedOut
            | Kind::ShutDown
            | Kind::NeedsItself
            | Kind::SameToken
            | Kind::Cleartext
            | Kind::NoAuthority
            | Kind::TooManyHeaders => false,
        }
    }

    /// The first instant at which the session tries again, on the wall clock.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.inner.retry_at
    }

    /// The refresh failed in passing: the network, a 5xx or 429 from the token endpoint.
    pub fn is_transient(&self) -> bool {
        self.is(Kind::Transient)
    }

    /// The refresh was sent and not answered, so it isn't known whether the refresh token is spent; a refresher that
    /// panicked or whose runtime ended included.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.inner.kind, Kind::Unknown | Kind::Gone | Kind::Panic)
    }

    /// The refresher (or the clone of a request) panicked.
    pub fn is_panic(&self) -> bool {
        self.is(Kind::Panic)
    }

    /// The task that ran the refresh was dropped before its end, mostly with its runtime.
    pub fn is_task_gone(&self) -> bool {
        self.is(Kind::Gone)
    }

    /// The client is set up wrongly (`invalid_client`, a secret that was rotated, an answer that is no token).
    pub fn is_configuration(&self) -> bool {
        self.is(Kind::Configuration)
    }

    /// The grant has ended (`invalid_grant`): the user must sign in again.
    pub fn is_ended(&self) -> bool {
        self.is(Kind::Ended)
    }

    /// There is no credential: the session was signed out, or became another's while the request waited.
    pub fn is_signed_out(&self) -> bool {
        self.is(Kind::SignedOut)
    }

    /// Refreshes work but bring nothing that a server accepts, and the next isn't permitted before
    /// [`retry_at`](Self::retry_at).
    pub fn is_paced(&self) -> bool {
        self.is(Kind::Paced)
    }

    /// The caller's patience ended before the refresh did. The refresh goes on, and its token is kept.
    pub fn is_patience_over(&self) -> bool {
        self.is(Kind::Patience)
    }

    /// As many callers as `max_waiting` permits were waiting already.
    pub fn is_too_many_waiting(&self) -> bool {
        self.is(Kind::TooManyWaiting)
    }

    /// There was no runtime to run the refresh on, or it has no timers.
    pub fn is_no_runtime(&self) -> bool {
        self.is(Kind::NoRuntime)
    }

    /// The session was shut down and begins no refresh any more.
    pub fn is_shut_down(&self) -> bool {
        self.is(Kind::ShutDown)
    }

    /// The refresher, or a hook, asked its own session for a token and would have waited for itself.
    pub fn is_needs_itself(&self) -> bool {
        self.is(Kind::NeedsItself)
    }

    /// The refresh brought the very token that had been refused.
    pub fn is_same_token(&self) -> bool {
        self.is(Kind::SameToken)
    }

    /// The request would have carried the token over cleartext `http` to a host that isn't loopback.
    pub fn is_cleartext(&self) -> bool {
        self.is(Kind::Cleartext)
    }

    /// The request's URI names no host, so it can't be told where the token would go.
    pub fn is_no_authority(&self) -> bool {
        self.is(Kind::NoAuthority)
    }

    /// The request has as many headers as can be had.
    pub fn is_too_many_headers(&self) -> bool {
        self.is(Kind::TooManyHeaders)
    }

    /// [`shutdown`](crate::Session::shutdown)'s limit came before the end of the refresh, which goes on.
    pub fn is_shutdown_limit(&self) -> bool {
        self.is(Kind::Limit)
    }

    /// [`shutdown`](crate::Session::shutdown) ended with a token that the save hook could not save.
    pub fn is_unsaved(&self) -> bool {
        self.is(Kind::Unsaved)
    }

    /// The call's own deadline (`grpc-timeout`) came before a token did.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.is(Kind::Deadline)
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn kind(&self) -> Kind {
        self.inner.kind
    }

    fn is(&self, kind: Kind) -> bool {
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
            Kind::Transient => "the token could not be refreshed for now",
            Kind::Unknown => "the token refresh was sent and not answered: it is not known whether it took effect",
            Kind::Gone => "the task that refreshed the token ended before its answer came",
            Kind::Panic => "the refresher panicked",
            Kind::Configuration => "the token endpoint refuses this client: mend its configuration",
            Kind::Ended => "the grant has ended: sign in again",
            Kind::Paced => "token refreshes bring nothing usable: the next one is not permitted yet",
            Kind::Patience => "the token refresh took longer than this caller's patience",
            Kind::TooManyWaiting => "too many callers wait for the token refresh already",
            Kind::NoRuntime => {
                "no runtime with timers to refresh the token on: call from within tokio with enable_time(), or set a spawner and a clock"
            }
            Kind::SignedOut => "signed out meanwhile or never signed in: there is no token",
            Kind::ShutDown => "the session was shut down and refreshes no more",
            Kind::NeedsItself => {
                "the refresher asked its own session for a token: mark its requests with NoToken or send them past the layer"
            }
            Kind::SameToken => "the refresh brought the refused token again",
            Kind::Cleartext => {
                "a token is not sent over cleartext http to another host: use https, or set dangerous_allow_cleartext"
            }
            Kind::NoAuthority => "the request's URI names no host: tell the layer where it goes with assume_origin",
            Kind::TooManyHeaders => "the request has too many headers to add one",
            Kind::Limit => "the shutdown's limit came before the end of the token refresh",
            Kind::Unsaved => "the token could not be saved",
            Kind::Deadline => "the call's deadline came before a valid token did",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
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
        let error: Box<dyn StdError + Send + Sync> = Box::new(Wrapped(Error::new(Kind::Ended)));
        assert!(Error::find(&*error).is_some_and(Error::is_ended));
        assert!(Error::find(&Error::new(Kind::Ended)).is_some());
        assert!(Error::find(&fmt::Error).is_none());
    }
}
