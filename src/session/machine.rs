//! The rules of a session as a pure state machine: (state, event, now) to (state, effects).
//!
//! It reads no clock, spawns nothing and waits for nothing. The [`driver`](super::driver) holds it under a
//! lock and performs its [`Effects`] after unlocking. This file dispatches; the parts below it never call
//! upward.
//!
//! # Demands
//!
//! | phase ↓ · demand → | `New` | `Rejected(id)` | `Requested` |
//! |---|---|---|---|
//! | fresh | use\* | newer than `id`: use; else `id` is marked first, so as rejected | join or start, wait |
//! | stale | use\*; start one if none is in flight | as fresh | join or start, wait |
//! | rejected | join or start, wait *briefly*, then use the rejected token | join or start, wait | join or start, wait |
//! | rejected, and the last refresh failed, two in a row were ineffective, or none can start | start one if permitted, use the rejected token at once (unless the grant ended and its expiry is unknown) | join or start, wait | join or start, wait |
//! | expired, empty | join or start, wait | same | same |
//! | signed out, or the demand (or its `id`) is of another sign-in | `SignedOut` | `SignedOut` | `SignedOut` |
//!
//! *Join or start*: the first that holds. One is in flight → join · its batch failed already → that error ·
//! grant ended → that error · shut down → `ShutDown` · backoff → the last error, or `Backoff` · no runtime →
//! `MissingRuntime` · start. If there is no flight to wait for, the reason why is the error; above
//! `max_waiters` it is `Overloaded`, or the rejected token, although a flight may have been started. With
//! `wait_through_backoff`, a caller that would get a backoff's error waits for its end, if that comes before
//! its timeout, and for the next flight.
//!
//! \* With less time left than the caller's minimum lifetime, unless a refresh is unlikely to help: join or
//! start, wait, then use the best token there is.
//!
//! A demand also warns, once for each refresh token, that the token is in the last 10 % of its lifetime (at
//! most 7 days).
//!
//! # Ends of flights
//!
//! | flight ↓ · result → | token | transient, unexplained, misconfigured | grant ended | outcome unknown | lost (timed out, panicked, dropped) | never ran |
//! |---|---|---|---|---|---|---|
//! | current | take; if a token was set meanwhile: keep that one, give it the successor, discard; ineffective: back off | back off | end the session | first: the next is its repeat; second: back off | as unknown | doesn't count |
//! | its refresh token was replaced | discard; a successor marks the presented token as spent | back off; a successor as beside a token | discard | discard | report | discard |
//! | of another sign-in | revoke | discard | discard | discard | discard | discard |
//! | abandoned (late) | take as current, or discard†; after another sign-in: revoke | discard | discard | discard | discard | discard |
//!
//! A token that is taken counts as one of these: *new* · *renewed*, the same token with a later expiry, and
//! not rejected · *ineffective*, if it has expired or is stale on arrival, is too short, or unchanged.
//!
//! A demand abandons a flight that is past its timeout, or of another sign-in. A successor that comes with a
//! failure of a current or late† flight is taken, too.
//!
//! † A late result is taken if the session still has what the flight presented and no other flight has a
//! successor for it. If a token was set meanwhile, only its successor is.
//!
//! # Saves
//!
//! Every change of what the session holds is followed by [`changed`](Turn::changed): the state is passed to
//! the hook at once, or right after the running save. A flight's response is passed to the hook before the
//! session holds it. A save that fails is retried by a call after a delay. A save that was given up is
//! followed by another when it ends, as it may have written last.

mod backoff;
mod decide;
mod demand;
mod effects;
mod ends;
mod flight;
mod grant;
mod health;
mod held;
mod in_flight;
mod landing;
mod late;
mod outcome;
mod retiring;
mod rules;
mod saves;
mod saving;
mod snapshot;
mod status;
#[cfg(feature = "store")]
mod stored;
mod turn;

use std::sync::Arc;

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    event::{EventKind, HookError, Warning},
    rt::{Nanos, Timestamp},
    token::{Epoch, RevocableTokens, Secret, Token, TokenId},
};

use flight::Flights;
use grant::Grant;
use saves::Saves;

#[cfg(feature = "store")]
pub(crate) use saves::Change;
pub(crate) use {
    demand::{Decision, Demand, Wait, WaitLimits, WaitStage},
    effects::Effects,
    flight::{FlightEnd, FlightInfo, Lost, Saving},
    outcome::Outcome,
    rules::{Persistence, Rules},
    saves::{ChangeKind, SaveOrder},
    snapshot::Snapshot,
    turn::{Machine, Turn},
};
pub use {health::Health, status::Status};

// === impl Machine ===

impl Machine {
    /// Creates a machine that is signed out.
    pub(crate) fn new(rules: Arc<Rules>, persistence: Persistence, seed: Option<u64>) -> Self {
        Self {
            rules,
            persistence,
            rng: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            epoch: Epoch::new(),
            flights: Flights::default(),
            grant: None,
            saves: Saves::default(),
            revocations: None,
            shutting_down: false,
            changed: None,
        }
    }

    /// Starts with a token.
    pub(crate) fn start_with(&mut self, token: Token, now: Timestamp) {
        self.grant = Some(Grant::of(&token, now));
        self.turn(now, 0, &mut Effects::default()).adopt(token);
    }

    /// Starts without an access token.
    pub(crate) fn start_with_refresh_token(&mut self, refresh_token: Option<Secret>) {
        self.grant = Some(Grant { refresh_token, ..Grant::default() });
    }

    /// When the next timeout of a running flight, save or revocation elapses. `None`: none is running.
    ///
    /// What is past its timeout doesn't count, as its runtime may no longer be driven.
    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<Nanos> {
        let Rules { refresh_timeout, save_timeout, .. } = *self.rules;
        let flight = self.flights.current.as_ref().map(|flight| flight.info.time_left(refresh_timeout, now));
        let save = self.saves.running().map(|save| save.time_left(save_timeout, now));
        let last = self.revocations.as_ref().map(|revocations| revocations.last);
        let revocation = last.map(|last| refresh_timeout.saturating_sub(now.since(last)));
        [flight, save, revocation].into_iter().flatten().filter(|left| *left > 0).min()
    }

    pub(crate) fn is_refreshing(&self) -> bool {
        self.flights.current.is_some()
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// Decides a demand. `can_start`: there is a runtime.
    pub(crate) fn demand(
        &mut self,
        demand: Demand,
        limits: &WaitLimits,
        can_start: bool,
    ) -> Result<Decision, Error> {
        self.advance();
        self.give_up_overdue_save();
        let decision = self.demand_token(demand, limits, can_start);
        self.warn_of_expiry();
        // A running flight is about to change the state, and saves it then.
        if demand != Demand::Requested && can_start && self.machine.running_flight(self.now).is_none() {
            self.save_if_due();
        }
        decision
    }

    /// Warns the user that the refresh token expires soon. Each flight is started by a demand, so those are
    /// enough.
    fn warn_of_expiry(&mut self) {
        let warning = self.machine.grant.as_mut().and_then(|grant| grant.take_expiry_warning(self.now));
        if let Some(expires_at) = warning {
            self.emit(EventKind::Warning { warning: Warning::RefreshTokenExpiresSoon { expires_at } });
        }
    }

    fn demand_token(
        &mut self,
        demand: Demand,
        limits: &WaitLimits,
        can_start: bool,
    ) -> Result<Decision, Error> {
        if let Demand::Rejected(id) = demand {
            self.machine.check(id.epoch)?;
            self.mark(id.epoch);
        }
        self.machine.check(self.machine.epoch)?;
        if self.machine.needs_refresh(demand, limits, self.now) {
            self.abandon_unwanted_flight();
        }
        self.decide(demand, limits, can_start)
    }

    /// Demands again for a waiter, because its flight or a backoff has ended.
    pub(crate) fn demand_again(
        &mut self,
        wait: &Wait,
        limits: &WaitLimits,
        can_start: bool,
    ) -> Result<Decision, Error> {
        self.machine.check(wait.epoch)?;
        // It is counted as a waiter already, and has waited for a longer lifetime once.
        let limits = WaitLimits { max_waiters: None, min_lifetime: 0, ..*limits };
        self.demand(wait.demand, &limits, can_start)
    }

    /// Replaces the token with a newer one of the same credential.
    pub(crate) fn set(&mut self, token: Token) -> Result<(), Error> {
        let kind = self.set_unsaved(token)?;
        self.changed_by_user(kind);
        self.wake_backoff_waiters();
        Ok(())
    }

    fn set_unsaved(&mut self, mut token: Token) -> Result<ChangeKind, Error> {
        self.advance();
        let Some(grant) = self.machine.grant.as_mut().filter(|grant| !grant.is_signed_out()) else {
            return Err(Error::new(ErrorKind::SignedOut));
        };
        if grant.has_successor_of(token.refresh_secret()) {
            token.replace_refresh_token(grant.refresh_token.clone());
        } else {
            token.inherit_refresh_token(grant.refresh_token.as_ref());
        }
        let is_same = token.refresh_secret() == grant.refresh_token.as_ref();
        let other_refresh_token = token.refresh_secret().filter(|_| !is_same).cloned();
        grant.outcome_unknown &= is_same;
        grant.set_refresh_token(token.refresh_secret().cloned(), token.receipt(self.now));
        self.adopt(token);
        self.forget_end();
        let now = self.now;
        if let Some(grant) = &mut self.machine.grant {
            if grant.held.as_ref().is_some_and(|held| held.is_usable(now)) {
                grant.begin_trial();
            } else {
                // It won't be used, so it has no trial.
                grant.backoff.cancel_trial();
            }
        }
        self.effects.publish = true;
        self.emit(EventKind::TokenSet);
        Ok(ChangeKind::Set { refresh_token: other_refresh_token })
    }

    /// Signs in with another credential.
    pub(crate) fn sign_in(&mut self, token: Token) {
        self.end_sign_in();
        self.machine.grant = Some(Grant::of(&token, self.now));
        self.adopt(token);
        self.emit(EventKind::SignedIn);
        self.changed_by_user(ChangeKind::SignedIn);
        self.wake_backoff_waiters();
    }

    /// Returns the session's tokens; the refresh token is the one that it would have presented next.
    pub(crate) fn sign_out(&mut self) -> RevocableTokens {
        let was_signed_out = self.machine.is_signed_out();
        let tokens = self.machine.grant.as_ref().map(|grant| {
            RevocableTokens::new(grant.held.as_ref().map(|held| &held.token), grant.refresh_token.clone())
        });
        self.end_sign_in();
        self.emit(EventKind::SignedOut);
        if !was_signed_out {
            self.changed_by_user(ChangeKind::SignedOut);
        }
        self.wake_backoff_waiters();
        tokens.unwrap_or_default()
    }

    /// Marks a token as rejected, if it is the session's.
    pub(crate) fn mark_rejected(&mut self, id: TokenId) {
        if self.machine.check(id.epoch).is_ok() {
            self.mark(id.epoch);
        }
    }

    /// Keeps the challenges of the response that rejected the current token, for the refresher.
    pub(crate) fn note_challenges(&mut self, id: TokenId, challenges: Challenges) {
        if let Some(grant) = self.machine.grant.as_mut().filter(|_| id.epoch == self.machine.epoch) {
            grant.challenges = Some(Box::new(challenges));
        }
    }

    /// Ends the running backoff; the count of ineffective refreshes stays.
    pub(crate) fn reset_backoff(&mut self) {
        self.advance();
        if let Some(grant) = &mut self.machine.grant {
            grant.backoff.reset();
            grant.was_reset = true;
        }
        self.effects.publish = true;
        self.effects.notify = true;
        self.wake_backoff_waiters();
    }

    /// No flight starts from now on.
    pub(crate) fn shut_down(&mut self) {
        self.machine.shutting_down = true;
        if let Some(queued) = self.machine.flights.current.as_ref().filter(|flight| flight.is_queued) {
            // It has presented nothing, and its task may not be polled.
            let info = queued.info.clone();
            self.land(&info, FlightEnd::Lost(Lost::ShutDown));
        }
        self.effects.publish = true;
        self.effects.notify = true;
        self.wake_backoff_waiters();
    }

    /// Whether no flight and no save is running. Gives up a save that is past its timeout.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        self.give_up_overdue_save();
        self.machine.flights.current.is_none() && self.machine.saves.running().is_none()
    }

    /// When the next timeout elapses; see [`Machine::next_timeout`].
    pub(crate) fn next_timeout(&mut self) -> Option<Nanos> {
        // What comes after it is waited for, too.
        self.give_up_overdue_save();
        self.machine.next_timeout(self.now)
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.machine.is_unsaved()
    }

    /// Whether the session is shared and has something that its store lacks.
    pub(crate) fn has_unsaved_for_store(&self) -> bool {
        self.machine.persistence.is_shared() && self.machine.is_unsaved()
    }

    /// Passes an unsaved state to the hook without a delay. Returns whether there was one.
    pub(crate) fn save_now(&mut self) -> bool {
        self.save()
    }

    /// Handles the end of a revocation.
    pub(crate) fn revocation_ended(&mut self, result: Result<(), HookError>) {
        self.machine.end_revocation();
        self.effects.notify = true;
        if let Err(error) = result {
            self.emit(EventKind::TokenRevokeFailed { error });
        }
    }

    pub(crate) fn joined(&mut self, waiters: usize) {
        self.emit(EventKind::RefreshJoined { waiters });
    }

    fn end_sign_in(&mut self) {
        self.machine.epoch = self.machine.epoch.next_sign_in();
        self.effects.drop_later(self.machine.grant.take());
        self.effects.publish = true;
    }
}

#[cfg(test)]
mod tests;
