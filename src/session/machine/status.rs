//! [`Status`].

use std::{sync::Arc, time::SystemTime};

use crate::{error::Error, rt::Timestamp};

use super::{held::Phase, turn::Machine};

/// A snapshot of a session's status. States overlap, so it has methods instead of variants.
///
/// [`health`](Self::health) summarizes it as an enum. A `Status` displays as one line without secrets, such
/// as `github: signed in; generation 3, expires in 540 s`.
#[derive(Clone, Debug)]
pub struct Status {
    pub(crate) name: Option<Arc<str>>,
    pub(super) taken_at: SystemTime,
    pub(super) generation: u64,
    pub(super) phase: Option<Phase>,
    pub(super) signed_out: bool,
    pub(super) shutting_down: bool,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) refresh_token_expires_at: Option<SystemTime>,
    pub(super) refreshing: bool,
    pub(super) waiters: usize,
    pub(super) failures: u32,
    pub(super) retry_at: Option<SystemTime>,
    pub(super) failing_since: Option<SystemTime>,
    pub(super) ended: bool,
    pub(super) unsaved: bool,
    pub(super) last_error: Option<Error>,
}

// === impl Status ===

impl Status {
    /// The session's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The token's generation; 0 if there has been no token yet.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The session is signed out.
    pub fn is_signed_out(&self) -> bool {
        self.signed_out
    }

    /// The user has to sign in: the grant has ended, or the session is signed out. The current token may
    /// still be valid.
    pub fn needs_sign_in(&self) -> bool {
        self.ended || self.signed_out
    }

    /// Whether the session holds an access token, even one that is no longer valid. Without one, the next
    /// call obtains it, unless the user has to sign in or the session was shut down.
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

    /// A server rejected the token, and it hasn't expired.
    pub fn is_rejected(&self) -> bool {
        self.phase == Some(Phase::Rejected)
    }

    /// The token has expired.
    pub fn is_expired(&self) -> bool {
        self.phase == Some(Phase::Expired)
    }

    /// The grant has ended: the user must sign in again. The current token is used until it expires.
    pub fn is_grant_ended(&self) -> bool {
        self.ended
    }

    /// The session was shut down: no further refresh starts.
    pub fn is_shut_down(&self) -> bool {
        self.shutting_down
    }

    /// A refresh is in flight.
    pub fn is_refreshing(&self) -> bool {
        self.refreshing
    }

    /// The number of callers that wait for a token.
    pub fn waiters(&self) -> usize {
        self.waiters
    }

    /// When the token is treated as expired. `None` if there is no token or its expiry is unknown.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The reported expiry of the refresh token: the user must sign in again by then, unless a refresh
    /// replaces it. `None` if it is unknown or there is no refresh token.
    ///
    /// Shortly before it, the session emits a
    /// [warning](crate::event::Warning::RefreshTokenExpiresSoon).
    pub fn refresh_token_expires_at(&self) -> Option<SystemTime> {
        self.refresh_token_expires_at
    }

    /// The number of consecutive ineffective refreshes, failed ones included.
    ///
    /// It is reset when a token has survived its trial, not as soon as a refresh succeeds. See
    /// [`SessionBuilder::backoff`](crate::SessionBuilder::backoff).
    pub fn consecutive_failures(&self) -> u32 {
        self.failures
    }

    /// When the next refresh is permitted. `None`: now.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.retry_at
    }

    /// Whether the current state, a token or a sign-out, hasn't been saved by the save hook yet.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved
    }

    /// The error of the last refresh, if it failed.
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }
}

// === impl Machine ===

impl Machine {
    pub(crate) fn extra(&self, name: &str) -> Option<&str> {
        self.held_token()?.extra(name)
    }

    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.grant.as_ref()?.expires_at()
    }

    /// Reads the status without changing the machine.
    pub(crate) fn status(&self, now: Timestamp, waiters: usize) -> Status {
        let grant = self.grant.as_ref();
        let failing = grant.and_then(|grant| grant.failing.as_deref());
        Status {
            name: None,
            taken_at: now.wall(),
            generation: self.epoch.generation,
            phase: grant.and_then(|grant| grant.phase(now)),
            signed_out: self.is_signed_out(),
            shutting_down: self.shutting_down,
            expires_at: self.expires_at(),
            refresh_token_expires_at: grant.and_then(|grant| grant.refresh_token.as_ref()?.expires_at()),
            refreshing: self.flights.current.is_some(),
            waiters,
            failures: grant.map_or(0, |grant| grant.backoff.failures),
            retry_at: grant.and_then(|grant| grant.retry_at(now)),
            ended: grant.is_some_and(|grant| grant.ended.is_some() && !grant.is_signed_out()),
            unsaved: self.is_unsaved(),
            failing_since: grant.and_then(|grant| grant.failing_since(now)),
            last_error: failing.and_then(|failing| failing.error.clone()),
        }
    }
}
