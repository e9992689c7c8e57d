//! Session events.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{error::Error, refresh::RefreshReason};

pub use crate::token::warning::Warning;

/// An event of a session.
///
/// Passed to the hook of [`SessionBuilder::on_event`](crate::SessionBuilder::on_event) and, with the feature
/// `tracing`, written to the log. Events contain no secrets, unless a user's hook or refresher puts one into
/// its error; the log omits those errors.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The session's generation when it happened. A token is saved before it is used, so `TokenSaved` still
    /// carries the previous generation.
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
        /// Duration, including the save.
        elapsed: Duration,
        /// Number of waiters.
        waiters: usize,
    },
    /// A refresh succeeded, but its token doesn't help.
    #[non_exhaustive]
    RefreshIneffective {
        /// The reason.
        reason: Ineffective,
        /// When the next refresh is allowed.
        retry_at: Option<SystemTime>,
    },
    /// The response of a refresh was unusual, but contained a token.
    #[non_exhaustive]
    Warning {
        /// The warning.
        warning: Warning,
    },
    /// A refresh failed, other than by the end of the grant.
    #[non_exhaustive]
    RefreshFailed {
        /// The error; see [`retry_at`](Error::retry_at) for the next attempt.
        error: Error,
        /// Duration.
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
    /// A token was saved.
    TokenSaved,
    /// Saving a token failed; it will be handed to the hook again.
    #[non_exhaustive]
    TokenSaveFailed {
        /// The hook's own error. `None`: it panicked or timed out.
        error: Option<Arc<dyn StdError + Send + Sync>>,
    },
    /// Revoking a discarded token failed; it isn't retried.
    #[non_exhaustive]
    TokenRevokeFailed {
        /// The hook's own error. `None`: it panicked or timed out.
        error: Option<Arc<dyn StdError + Send + Sync>>,
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
