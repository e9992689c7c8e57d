//! Everything that begins and ends with a sign-in.

use std::time::SystemTime;

use crate::{
    challenge::Challenges,
    error::Error,
    refresh::{RefreshContext, RefreshReason},
    rt::{self, LONGEST, Nanos, Timestamp},
    token::{AccessToken, Secret, Token, TokenId},
};

use super::{
    backoff::{Backoff, Timespan},
    flight::FlightInfo,
    held::{Held, Phase},
};

/// What few idle sessions have is boxed.
#[derive(Default)]
pub(super) struct Grant {
    pub(super) held: Option<Held>,
    pub(super) refresh_token: Option<Secret>,
    /// Until the user is warned that the refresh token expires soon. `None`: never, or already warned.
    pub(super) expiry_warning: Option<Box<Timespan>>,
    /// The refresh token that was exchanged last, and has a successor.
    pub(super) previous_refresh_token: Option<Secret>,
    /// The outcome of the last exchange isn't known: the next flight is its repeat.
    pub(super) outcome_unknown: bool,
    pub(super) ended: Option<Error>,
    pub(super) failing: Option<Box<Failing>>,
    /// A flight failed after the current token was rejected: its number, and its error.
    pub(super) batch_failure: Option<(u64, Error)>,
    /// The challenges of the response that rejected the current token.
    pub(super) challenges: Option<Box<Challenges>>,
    pub(super) backoff: Backoff,
    /// The backoff was reset since the last refresh.
    pub(super) was_reset: bool,
}

/// The last refresh failed, or returned an ineffective token.
pub(super) struct Failing {
    /// `None`: it returned an ineffective token.
    pub(super) error: Option<Error>,
    /// When the first refresh of the series failed, on the wall clock.
    pub(super) since: Nanos,
    /// Another token was set since. The next failure begins a new series.
    pub(super) is_over: bool,
}

// === impl Grant ===

impl Grant {
    /// The store has a sign-out, or no sign-in. A refresh looks whether that has changed.
    pub(super) fn is_signed_out(&self) -> bool {
        self.ended.as_ref().is_some_and(Error::is_signed_out)
    }

    /// A grant that begins with this token.
    pub(super) fn of(token: &Token, now: Timestamp) -> Self {
        let mut grant = Self::default();
        grant.set_refresh_token(token.refresh_secret().cloned(), token.receipt(now));
        grant
    }

    /// Applies the passing of time. Returns whether the token was re-anchored, as the wall clock was set
    /// back.
    pub(super) fn advance_to(&mut self, now: Timestamp) -> bool {
        self.backoff.advance_to(now);
        let Some(held) = &mut self.held else { return false };
        let received = now.anchor(held.received);
        let is_moved = received != held.received;
        held.received = received;
        is_moved
    }

    pub(super) fn phase(&self, now: Timestamp) -> Option<Phase> {
        self.held.as_ref().map(|held| held.phase(now))
    }

    pub(super) fn is_too_short_for(&self, min_lifetime: Nanos, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_too_short_for(min_lifetime, now))
    }

    pub(super) fn is_rejected(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.rejected)
    }

    pub(super) fn access_token(&self, id: TokenId) -> Option<AccessToken> {
        Some(self.held.as_ref()?.token.to_access_token(id, self.expires_at()))
    }

    /// When the token is treated as expired.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        let held = self.held.as_ref()?;
        let expiry = held.expiry.filter(|_| held.has_known_end())?;
        Some(rt::system_time(held.received.wall.saturating_add(expiry)))
    }

    /// The token that a new request can be sent with: a usable one, or a rejected one that hasn't expired.
    pub(super) fn sendable(&self, now: Timestamp, id: TokenId) -> Option<AccessToken> {
        let held = self.held.as_ref()?;
        match held.phase(now) {
            Phase::Fresh | Phase::Stale => self.access_token(id),
            // With an unknown expiry it would be used forever, as no successor can come.
            Phase::Rejected if self.ended.is_none() || held.has_known_end() => self.access_token(id),
            Phase::Rejected | Phase::Expired => None,
        }
    }

    pub(super) fn usable(&self, now: Timestamp, id: TokenId) -> Option<AccessToken> {
        self.access_token(id).filter(|_| self.held.as_ref().is_some_and(|held| held.is_usable(now)))
    }

    pub(super) fn context(&self, reason: RefreshReason, jitter: bool) -> RefreshContext {
        let token = self.held.as_ref().map(|held| held.token.clone());
        let challenges = self.challenges.as_deref().cloned().unwrap_or_default();
        let (refresh_token, failures) = (self.refresh_token.clone(), self.backoff.failures);
        RefreshContext::new(token, refresh_token, reason, challenges, failures, jitter)
    }

    /// Whether a token from a refresh would end a row of failures, or be the first.
    pub(super) fn is_recovering(&self) -> bool {
        self.failing.is_some() || self.held.is_none()
    }

    /// Whether new requests skip the wait after a rejection: another refresh is unlikely to help soon.
    pub(super) fn is_unlikely_to_recover(&self) -> bool {
        let failing = self.failing.as_ref();
        failing.is_some_and(|failing| failing.error.is_some() || self.backoff.failures >= 2)
    }

    /// The rest of a valid token's lifetime. A backoff that begins now ends with it.
    pub(super) fn token_end(&self, now: Timestamp) -> Option<Timespan> {
        let held = self.held.as_ref().filter(|held| held.is_usable_for_now(now))?;
        Some(Timespan { from: held.received, length: held.expiry? })
    }

    /// Since when refreshes have failed, or one isn't permitted because they did.
    pub(super) fn failing_since(&self, now: Timestamp) -> Option<SystemTime> {
        let failing = self.failing.as_ref()?;
        let counts = !failing.is_over || self.backoff.time_left(now).is_some();
        counts.then(|| rt::system_time(failing.since))
    }

    /// When the next refresh is permitted. `None`: now.
    pub(super) fn retry_at(&self, now: Timestamp) -> Option<SystemTime> {
        let left: Nanos = self.backoff.time_left(now)?;
        Some(rt::system_time(now.wall.saturating_add(left)))
    }

    /// Sets the refresh token that is presented next.
    pub(super) fn set_refresh_token(&mut self, refresh_token: Option<Secret>, received: Timestamp) {
        let expiry = |token: &Option<Secret>| token.as_ref()?.expires_at().map(rt::nanos_since_epoch);
        let (old, new) = (expiry(&self.refresh_token), expiry(&refresh_token));
        let is_same_expiry = match (old, new) {
            (Some(old), Some(new)) => old.abs_diff(new) <= SAME_EXPIRY,
            (old, new) => old == new,
        };
        // The same refresh token is warned of once.
        if refresh_token != self.refresh_token || !is_same_expiry {
            self.expiry_warning = new.map(|expiry| {
                let lifetime = expiry.saturating_sub(received.wall).clamp(0, LONGEST);
                let length = lifetime - (lifetime / 10).min(LONGEST_NOTICE);
                Box::new(Timespan { from: received, length })
            });
        }
        self.refresh_token = refresh_token;
    }

    /// When the refresh token expires, if the user must be warned of that now.
    pub(super) fn take_expiry_warning(&mut self, now: Timestamp) -> Option<SystemTime> {
        // If the grant has ended, it is too late.
        self.expiry_warning.take_if(|until| until.is_over(now) && self.ended.is_none())?;
        self.refresh_token.as_ref()?.expires_at()
    }

    /// Takes the refresh token of a flight's response.
    pub(super) fn take_refresh_token(
        &mut self,
        flight: &FlightInfo,
        refresh_token: Option<Secret>,
        received: Timestamp,
    ) {
        if refresh_token != flight.presented {
            self.previous_refresh_token = flight.presented.clone();
            self.set_refresh_token(refresh_token, received);
        } else if refresh_token == self.refresh_token {
            // The same one, perhaps with another expiry.
            self.set_refresh_token(refresh_token, received);
        }
    }

    /// Whether the held token stays in use beside a new one that expires in the backoff that it causes.
    pub(super) fn prefers_current(&self, new: &Held, backoff: Nanos, now: Timestamp) -> bool {
        new.time_left(now) <= backoff && self.held.as_ref().is_some_and(|held| held.is_usable_for_now(now))
    }

    /// Gives the held token the current refresh token, so that both are saved together.
    pub(super) fn pass_on_refresh_token(&mut self) {
        if let Some(held) = &mut self.held {
            held.token.replace_refresh_token(self.refresh_token.clone());
        }
    }

    pub(super) fn begin_trial(&mut self) {
        if let Some(held) = &self.held {
            self.backoff.begin_trial(held.adopted_at, held.trial);
        }
    }

    /// Whether this refresh token was exchanged last, and so has been replaced by the current one.
    pub(super) fn has_successor_of(&self, refresh_token: Option<&Secret>) -> bool {
        refresh_token.is_some()
            && refresh_token != self.refresh_token.as_ref()
            && refresh_token == self.previous_refresh_token.as_ref()
    }

    pub(super) fn is_presented_by(&self, flight: &FlightInfo) -> bool {
        flight.presented == self.refresh_token
    }
}

/// The longest time before the refresh token's expiry at which the user is warned.
const LONGEST_NOTICE: Nanos = 7 * 86_400 * 1_000_000_000;
/// A server that states the same expiry again may round it differently.
const SAME_EXPIRY: u64 = 1_000_000_000;
