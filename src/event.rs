//! Session events.

use std::{
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    error::{BoxError, Error},
    refresh::RefreshReason,
};

pub use crate::token::warning::Warning;

/// An event of a session.
///
/// Passed to the hook of [`SessionBuilder::on_event`](crate::SessionBuilder::on_event) and, with the feature
/// `tracing`, written to the log: failures at `warn`; set tokens, sign-ins, sign-outs, ended grants, and the first
/// token after failures, at `info`; refreshes at `debug`; the rest at `debug` or `trace`. Events contain no secrets, unless a user's hook or
/// refresher puts one into its error; the log omits those errors.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The name of the session, if it has one: see [`SessionBuilder::name`](crate::SessionBuilder::name).
    pub session: Option<Arc<str>>,
    /// The session's generation when it happened; for a save, that of what was saved.
    pub generation: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A refresh started.
    #[non_exhaustive]
    RefreshStarted {
        /// The reason.
        reason: RefreshReason,
    },
    /// A caller joined the refresh in flight.
    #[non_exhaustive]
    RefreshJoined {
        /// Number of waiters now.
        waiters: usize,
    },
    /// The refresh got no response and is repeated.
    RefreshRepeated,
    /// A refresh returned a new token.
    #[non_exhaustive]
    Refreshed {
        /// The reason.
        reason: RefreshReason,
        /// Duration, including the save, but not time during which the machine was suspended.
        elapsed: Duration,
        /// Number of waiters.
        waiters: usize,
        /// Whether this token is the first one, or ends a series of failed or ineffective refreshes.
        recovered: bool,
    },
    /// A token that another process obtained was taken from the store.
    #[non_exhaustive]
    TokenAdopted {
        /// Whether this token is the first one, or ends a series of failed or ineffective refreshes.
        recovered: bool,
    },
    /// A refresh succeeded, but its token doesn't help.
    #[non_exhaustive]
    RefreshIneffective {
        /// The reason.
        reason: Ineffective,
        /// When the next refresh is allowed.
        retry_at: Option<SystemTime>,
    },
    /// The response of a refresh was unusual, but contained a token; or the refresh token expires soon.
    #[non_exhaustive]
    Warning {
        /// The warning.
        warning: Warning,
    },
    /// A refresh failed, other than by the end of the grant.
    #[non_exhaustive]
    RefreshFailed {
        /// The reason.
        reason: RefreshReason,
        /// The error; see [`retry_at`](Error::retry_at) for the next attempt.
        error: Error,
        /// Duration, not including time during which the machine was suspended.
        elapsed: Duration,
        /// Number of waiters.
        waiters: usize,
    },
    /// The grant has ended.
    #[non_exhaustive]
    GrantEnded {
        /// The refresher's error.
        error: Error,
    },
    /// The result of a refresh was discarded: another token was set, or the user signed out.
    RefreshDiscarded,
    /// A server rejected the token.
    TokenRejected,
    /// A token, or a sign-out, was saved.
    #[non_exhaustive]
    Saved {
        /// Whether the save before it failed.
        recovered: bool,
    },
    /// Saving a token, or a sign-out, failed; it will be passed to the hook again.
    #[non_exhaustive]
    SaveFailed {
        /// Why.
        error: HookError,
    },
    /// The store couldn't be used. The error's chain of sources has the `StoreError`.
    #[non_exhaustive]
    StoreFailed {
        /// The error.
        error: Error,
    },
    /// A refresh of a shared session took so long that another process could take over; then its response came.
    ClaimLost,
    /// Revoking a discarded token failed; it isn't retried.
    #[non_exhaustive]
    TokenRevokeFailed {
        /// Why.
        error: HookError,
    },
    /// A token was set.
    TokenSet,
    /// Signed in.
    SignedIn,
    /// Signed out.
    SignedOut,
}

/// Why a successful refresh didn't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ineffective {
    /// The token had already expired.
    Expired,
    /// The token was already stale.
    AlreadyStale,
    /// The token has a lifetime of at most 500 ms.
    TooShort,
    /// The token is the one that the session already had.
    Unchanged,
}

/// Why a save or revoke hook didn't succeed.
///
/// The hook's own error, if it returned one, is its [`source`](StdError::source).
#[derive(Clone, Debug)]
pub struct HookError {
    kind: HookErrorKind,
}

#[derive(Clone, Debug)]
enum HookErrorKind {
    Failed(Arc<dyn StdError + Send + Sync>),
    Panicked,
    TimedOut,
    Dropped,
}

/// The session of a [`Watch`](crate::Watch) is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(pub(crate) ());

// === impl HookError ===

impl HookError {
    pub(crate) const PANICKED: Self = Self { kind: HookErrorKind::Panicked };
    pub(crate) const TIMED_OUT: Self = Self { kind: HookErrorKind::TimedOut };
    pub(crate) const DROPPED: Self = Self { kind: HookErrorKind::Dropped };

    pub(crate) fn failed(error: BoxError) -> Self {
        Self { kind: HookErrorKind::Failed(error.into()) }
    }

    /// The hook panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, HookErrorKind::Panicked)
    }

    /// The hook didn't finish within its timeout.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, HookErrorKind::TimedOut)
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            HookErrorKind::Failed(_) => "the hook failed",
            HookErrorKind::Panicked => "the hook panicked",
            HookErrorKind::TimedOut => "the hook timed out",
            HookErrorKind::Dropped => {
                "the hook was dropped before it finished, or there was no runtime for it"
            }
        })
    }
}

impl StdError for HookError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            HookErrorKind::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

// === impl Closed ===

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is gone")
    }
}

impl StdError for Closed {}
