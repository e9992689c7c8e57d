//! What a session says of itself.

use std::time::SystemTime;

use crate::{
    error::Error,
    rt::{self, Timestamp},
};

use super::{Last, Phase, State};

/// How a session stands at one instant. States overlap, so it answers questions.
#[derive(Clone, Debug)]
pub struct Status {
    pub(super) generation: u64,
    pub(super) phase: Option<Phase>,
    pub(super) signed_out: bool,
    pub(super) shutting_down: bool,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) refreshing: bool,
    pub(super) waiters: usize,
    pub(super) failures: u32,
    pub(super) retry_at: Option<SystemTime>,
    pub(super) ended: bool,
    pub(super) unsaved: bool,
    pub(super) last_error: Option<Error>,
}

// === impl Status ===

impl Status {
    /// How many tokens the session has had. 0: none yet.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Signed out, and not signed in since.
    pub fn is_signed_out(&self) -> bool {
        self.signed_out
    }

    /// The user has to sign in: the grant has ended, or the session is signed out. A token that is left may still be
    /// valid.
    pub fn needs_sign_in(&self) -> bool {
        self.ended || self.signed_out
    }

    /// There is no access token yet: the first demand fetches one.
    pub fn has_token(&self) -> bool {
        self.phase.is_some()
    }

    /// The token is valid, and not due to be refreshed.
    pub fn is_fresh(&self) -> bool {
        self.phase == Some(Phase::Fresh)
    }

    /// The token is valid, and due to be refreshed in the background.
    pub fn is_stale(&self) -> bool {
        self.phase == Some(Phase::Stale)
    }

    /// A server refused the token, and it hasn't expired.
    pub fn is_rejected(&self) -> bool {
        self.phase == Some(Phase::Refused)
    }

    /// The token has expired.
    pub fn is_expired(&self) -> bool {
        self.phase == Some(Phase::Expired)
    }

    /// The grant has ended: the user must sign in again. What token there is goes on being used until it expires.
    pub fn is_grant_ended(&self) -> bool {
        self.ended
    }

    /// The session was shut down: no refresh begins any more.
    pub fn is_shut_down(&self) -> bool {
        self.shutting_down
    }

    /// A refresh runs.
    pub fn is_refreshing(&self) -> bool {
        self.refreshing
    }

    /// How many callers wait for it.
    pub fn waiters(&self) -> usize {
        self.waiters
    }

    /// When the session stops using its token. `None`: no token, or no known end.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// How many refreshes in a row were useless, as the backoff counts them: until a token has gone unrefused for its
    /// trial, so also for a while after a refresh that worked. See [`SessionBuilder::backoff`](crate::SessionBuilder::backoff).
    pub fn consecutive_failures(&self) -> u32 {
        self.failures
    }

    /// The first instant at which the next refresh is permitted. `None`: now.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.retry_at
    }

    /// There is a token that the save hook hasn't saved.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved
    }

    /// The error of the refresh that ended last, if it failed.
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }
}

// === impl State ===

impl State {
    pub(crate) fn status(&mut self, now: Timestamp, waiters: usize) -> Status {
        self.settle(now);
        let retry_at = self.pace.left(now).map(|left| rt::system_time(now.wall.saturating_add(left)));
        Status {
            generation: self.generation,
            phase: self.phase(now),
            signed_out: self.signed_out,
            shutting_down: self.shutting_down,
            expires_at: self.issue().and_then(|token| token.expires_at()),
            refreshing: self.flight.is_some(),
            waiters,
            failures: self.pace.failures,
            retry_at,
            ended: self.ended.is_some(),
            unsaved: self.is_unsaved(),
            last_error: match &self.last {
                Last::Failed(error) => Some(error.clone()),
                _ => None,
            },
        }
    }
}
