//! What happens to a session, told as it happens.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{error::Error, refresh::RefreshReason};

pub use crate::token::warning::Warning;

/// Something that happened to a session.
///
/// Handed to the hook of [`SessionBuilder::on_event`](crate::SessionBuilder::on_event) and, with the feature
/// `tracing`, written to the log. No event holds a secret, but for what a hook or a refresher of the user's puts into
/// its own error; the log has none of that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The session's generation when it happened. A token is saved before it is given out, so its `TokenSaved` has the
    /// generation before that of its `Refreshed`.
    pub generation: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A refresh begins.
    #[non_exhaustive]
    RefreshStarted {
        /// Why.
        reason: RefreshReason,
    },
    /// A caller waits for the refresh that runs.
    #[non_exhaustive]
    RefreshJoined {
        /// How many wait now.
        waiters: usize,
    },
    /// The running refresh was sent and not answered, and is sent once more.
    RefreshRepeated,
    /// A refresh brought a new token.
    #[non_exhaustive]
    Refreshed {
        /// How long it took, with its save.
        elapsed: Duration,
        /// For how many waiters.
        waiters: usize,
    },
    /// A refresh worked, and its token is of no use.
    #[non_exhaustive]
    RefreshIneffective {
        /// In what way.
        reason: Ineffective,
        /// The first instant at which the next refresh is permitted.
        retry_at: Option<SystemTime>,
    },
    /// The answer of a refresh was odd, and brought a token all the same.
    #[non_exhaustive]
    Warning {
        /// In what way.
        warning: Warning,
    },
    /// A refresh failed, but for a grant that has ended.
    #[non_exhaustive]
    RefreshFailed {
        /// Why; it knows when the next try is permitted.
        error: Error,
        /// How long it took.
        elapsed: Duration,
        /// For how many waiters.
        waiters: usize,
    },
    /// The grant has ended.
    #[non_exhaustive]
    GrantEnded {
        /// The refresher's verdict.
        error: Error,
    },
    /// A refresh ended, and its outcome was not wanted any more: another token was set, or the user signed out.
    RefreshDiscarded,
    /// A server refused the token.
    TokenRejected,
    /// A token was saved.
    TokenSaved,
    /// A token could not be saved; the hook gets it again.
    #[non_exhaustive]
    TokenSaveFailed {
        /// The hook's own error. `None`: it panicked, or took longer than its limit.
        error: Option<Arc<dyn StdError + Send + Sync>>,
    },
    /// A token that nobody wants any more could not be revoked; it isn't tried again.
    #[non_exhaustive]
    TokenRevokeFailed {
        /// The hook's own error. `None`: it panicked, or took longer than its limit.
        error: Option<Arc<dyn StdError + Send + Sync>>,
    },
    /// A token was set.
    TokenSet,
    /// Another credential came.
    SignedIn,
    /// The credential went.
    SignedOut,
}

/// Why a refresh that worked is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ineffective {
    /// The token had expired when it arrived.
    Expired,
    /// It was due to be refreshed when it arrived.
    AlreadyStale,
    /// It lives for half a second or less.
    TooShort,
    /// It is the one that the session had.
    Unchanged,
}
