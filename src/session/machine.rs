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
//! | fresh | use | newer than `id`: use; else `id` is marked first, so as rejected | join or start, wait |
//! | stale | use; start one if none is in flight | as fresh | join or start, wait |
//! | rejected, the last refresh was good | join or start, wait *briefly*, then use the rejected token | join or start, wait | join or start, wait |
//! | rejected, the last refresh was not good, or none can start | start one if permitted, use the rejected token at once (unless the grant ended and its expiry is unknown) | join or start, wait | join or start, wait |
//! | expired, empty | join or start, wait | same | same |
//! | signed out, or the demand (or its `id`) is of another sign-in | `SignedOut` | `SignedOut` | `SignedOut` |
//!
//! *Join or start*: the first that holds. One is in flight → join · its batch failed already → that error ·
//! grant ended → that error · shut down → `ShutDown` · backoff → the last error, or `Backoff` · no runtime →
//! `MissingRuntime` · start. If there is no flight to wait for, the reason why is the error; above
//! `max_waiters` it is `Overloaded`, or the rejected token, although a flight may have been started.
//!
//! # Ends of flights
//!
//! | flight ↓ · result → | token | transient, misconfigured | grant ended | outcome unknown | lost (timed out, panicked, dropped) | never ran |
//! |---|---|---|---|---|---|---|
//! | current | take; if a token was set meanwhile: keep that one, give it the successor, discard; ineffective: back off | back off | end the session | first: the next is its repeat; second: back off | as unknown | doesn't count |
//! | its refresh token was replaced | discard; a successor marks the presented token as spent | same | same | same | report | report |
//! | of another sign-in | revoke | discard | discard | discard | discard | discard |
//! | abandoned (late) | take as current, or discard\*; after another sign-in: revoke | discard | discard | discard | discard | discard |
//!
//! A successor that comes with a failure of a current or late\* flight is taken, too.
//!
//! \* A late result is taken if the session still has what the flight presented and no other flight has a
//! successor for it. If a token was set meanwhile, only its successor is.

mod backoff;
mod decide;
mod demand;
mod effects;
mod flight;
mod grant;
mod held;
mod in_flight;
mod landing;
mod late;
mod outcome;
mod rules;
mod saves;
mod status;
mod turn;

use std::sync::Arc;

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    event::{Event, EventKind, HookError},
    rt::{Nanos, Timestamp},
    token::{AccessToken, Epoch, RevocableTokens, Secret, Token, TokenId},
};

use flight::Flights;
use grant::Grant;
use held::Phase;
use outcome::FlightResult;
use saves::RunningSave;

pub use status::Status;
pub(crate) use {
    backoff::Delays,
    demand::{Decision, Demand, Wait},
    effects::Effects,
    flight::{FlightEnd, FlightInfo, Lost, Save, Saving},
    outcome::Outcome,
    rules::Rules,
    saves::SaveOrder,
    turn::{Machine, Turn},
};

/// A token, and until when it can be used without asking the machine again.
pub(crate) struct Snapshot {
    pub(crate) token: AccessToken,
    pub(crate) taken_at: Timestamp,
    pub(crate) valid_until: Timestamp,
    /// The refresher itself must not use it.
    pub(crate) stale: bool,
}

// === impl Machine ===

impl Machine {
    /// Creates a machine that is signed out.
    pub(crate) fn new(rules: Rules, seed: Option<u64>) -> Self {
        Self {
            rules,
            rng: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            epoch: Epoch::FIRST,
            flights: Flights::default(),
            grant: None,
            running_save: None,
            saves_marked: 0,
            revoking: 0,
            refresh_failed: false,
            save_failed: false,
            shutting_down: false,
        }
    }

    /// Starts with a token.
    pub(crate) fn start_with(&mut self, token: Token, now: Timestamp) {
        self.start_with_refresh_token(token.refresh_secret().cloned());
        self.turn(now, 0, &mut Effects::default()).adopt(token);
    }

    /// Starts without an access token.
    pub(crate) fn start_with_refresh_token(&mut self, refresh_token: Option<Secret>) {
        self.grant = Some(Grant { refresh_token, ..Grant::default() });
    }

    /// No flight and no save is running.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.flights.current.is_none() && self.running_save.is_none()
    }

    /// No flight, save or revocation is running.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_at_rest() && self.revoking == 0
    }

    /// The token that callers may use without the lock, and for how long.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Option<Snapshot> {
        let grant = self.grant.as_ref()?;
        let held = grant.held.as_ref()?;
        let (stale, mut length) = match held.phase(now) {
            Phase::Fresh => (false, held.time_until_stale(now)),
            Phase::Stale if grant.ended.is_some() || self.shutting_down => (true, held.time_left(now)),
            Phase::Stale => {
                let timeout = self.rules.refresh_timeout;
                let until_overdue =
                    self.flights.current.as_ref().map(|flight| flight.time_left(timeout, now));
                let until_permitted = until_overdue.or_else(|| grant.backoff.time_left(now))?;
                (true, until_permitted.min(held.time_left(now)))
            }
            Phase::Rejected | Phase::Expired => return None,
        };
        if self.is_at_rest() {
            if let Some(due) = grant.saves.due_in(now) {
                length = length.min(due);
            }
        }
        if length <= 0 {
            return None;
        }
        let after = |from: Nanos| from.saturating_add(length);
        Some(Snapshot {
            token: grant.access_token(self.token_id())?,
            taken_at: now,
            valid_until: Timestamp { wall: after(now.wall), monotonic: after(now.monotonic) },
            stale,
        })
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// Decides a demand. `has_room`: another caller may wait. `can_start`: there is a runtime.
    pub(crate) fn demand(
        &mut self,
        demand: Demand,
        has_room: bool,
        can_start: bool,
    ) -> Result<Decision, Error> {
        self.advance();
        if let Demand::Rejected(id) = demand {
            self.machine.check(id.epoch)?;
            self.mark(id.epoch);
        }
        self.machine.check(self.machine.epoch)?;
        if self.machine.needs_refresh(demand, self.now) {
            self.abandon_overdue_flight();
        }
        self.abandon_overdue_save();
        let decision = self.decide(demand, has_room, can_start);
        // A running flight saves its own.
        if demand != Demand::Requested && can_start && self.machine.flights.current.is_none() {
            self.retry_save(false);
        }
        decision
    }

    /// Demands again for a waiter whose flight has ended.
    pub(crate) fn demand_again(&mut self, wait: &Wait, can_start: bool) -> Result<Decision, Error> {
        self.machine.check(wait.epoch)?;
        self.demand(wait.demand, true, can_start)
    }

    /// Handles the end of a flight.
    pub(crate) fn land(&mut self, info: &FlightInfo, end: FlightEnd) {
        self.advance();
        let Some(flight) = self.machine.flights.current.take_if(|flight| flight.info.id == info.id) else {
            return self.land_late(info, end);
        };
        self.machine.flights.ended += 1;
        if let Some(RunningSave::Flight) = self.machine.running_save {
            self.machine.running_save = None;
        }
        self.effects.publish = true;
        let is_presented =
            self.machine.grant.as_ref().is_some_and(|grant| grant.is_presented_by(&flight.info));
        let result = if !self.machine.epoch.is_same_sign_in(flight.info.epoch) {
            self.land_foreign(&flight.info, end)
        } else if !is_presented {
            self.land_replaced(&flight.info, end)
        } else {
            self.land_current(&flight, end)
        };
        if let FlightResult::Failed(error) = &result {
            self.remember_batch_failure(error);
        }
        let outcome = self.outcome(result);
        self.effects.ended.push((flight.info.id, Arc::new(outcome)));
    }

    /// Replaces the token with a newer one of the same credential.
    pub(crate) fn set(&mut self, mut token: Token) -> Result<(), Error> {
        self.advance();
        let Some(grant) = &mut self.machine.grant else { return Err(Error::new(ErrorKind::SignedOut)) };
        if grant.keeps_refresh_token(&token) {
            token.replace_refresh_token(grant.refresh_token.clone());
        } else {
            grant.refresh_token = token.refresh_secret().cloned();
            grant.outcome_unknown = false;
            grant.saves.forget();
        }
        self.adopt(token);
        self.forget_end();
        self.machine.saves_marked += 1;
        let (now, version) = (self.now, self.machine.saves_marked);
        if let Some(grant) = &mut self.machine.grant {
            if let Some(held) = &grant.held {
                grant.saves.replace(version, &held.token);
            }
            if grant.held.as_ref().is_some_and(|held| held.is_usable(now)) {
                grant.begin_trial();
            } else {
                // It won't be used, so it has no trial.
                grant.backoff.cancel_trial();
            }
        }
        self.effects.publish = true;
        self.emit(EventKind::TokenSet);
        Ok(())
    }

    /// Signs in with another credential.
    pub(crate) fn sign_in(&mut self, token: Token) {
        self.end_sign_in();
        let refresh_token = token.refresh_secret().cloned();
        self.machine.grant = Some(Grant { refresh_token, ..Grant::default() });
        self.adopt(token);
        self.emit(EventKind::SignedIn);
    }

    /// Returns the session's tokens; the refresh token is the one that it would have presented next.
    pub(crate) fn sign_out(&mut self) -> RevocableTokens {
        let tokens = self.machine.grant.as_ref().map(|grant| {
            RevocableTokens::new(grant.held.as_ref().map(|held| &held.token), grant.refresh_token.clone())
        });
        self.end_sign_in();
        self.emit(EventKind::SignedOut);
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
            grant.challenges = challenges;
        }
    }

    /// Ends the running backoff; the count of ineffective refreshes stays.
    pub(crate) fn reset_backoff(&mut self) {
        self.advance();
        if let Some(grant) = &mut self.machine.grant {
            grant.backoff.reset();
        }
        self.effects.publish = true;
        self.effects.notify = true;
    }

    /// No flight starts from now on.
    pub(crate) fn shut_down(&mut self) {
        self.machine.shutting_down = true;
        self.effects.publish = true;
        self.effects.notify = true;
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.machine.is_at_rest()
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.machine.is_unsaved()
    }

    /// Passes an unsaved token to the hook immediately, for a shutdown. Returns whether there was one.
    pub(crate) fn save_now(&mut self) -> bool {
        self.abandon_overdue_save();
        self.retry_save(true);
        self.effects.save.is_some()
    }

    /// Handles the end of a save outside a flight.
    pub(crate) fn save_ended(&mut self, version: u64, result: Result<(), HookError>) {
        // A newer token may have been set meanwhile.
        let generation = match self.machine.running_save {
            Some(RunningSave::Retry { version: running, generation, .. }) if running == version => generation,
            _ => self.machine.epoch.generation,
        };
        let random = self.machine.random();
        self.end_save_retry(version, result.is_ok(), random);
        self.effects.publish = true;
        let kind = self.save_event(result);
        self.effects.events.push(Event { generation, kind });
    }

    /// Handles the end of a revocation.
    pub(crate) fn revocation_ended(&mut self, result: Result<(), HookError>) {
        self.machine.revoking = self.machine.revoking.saturating_sub(1);
        self.effects.notify = true;
        if let Err(error) = result {
            self.emit(EventKind::TokenRevokeFailed { error });
        }
    }

    pub(crate) fn joined(&mut self, waiters: usize) {
        self.emit(EventKind::RefreshJoined { waiters });
    }

    fn end_sign_in(&mut self) {
        self.machine.next_sign_in();
        self.machine.refresh_failed = false;
        self.machine.save_failed = false;
        self.effects.drop_later(self.machine.grant.take());
        self.effects.publish = true;
    }

    /// Abandons a flight that is past its timeout but hasn't ended by itself: its runtime may no longer be
    /// driven.
    fn abandon_overdue_flight(&mut self) {
        let timeout = self.machine.rules.refresh_timeout;
        let saves = self.machine.rules.saves;
        let Some(flight) = &mut self.machine.flights.current else { return };
        if flight.time_left(timeout, self.now) > 0 {
            return;
        }
        let info = flight.info.clone();
        let end = match flight.response.take() {
            Some(token) if saves => {
                FlightEnd::Response(token.clone(), Save::Tried(token, Err(HookError::TIMED_OUT)))
            }
            Some(token) => FlightEnd::Response(token, Save::NotTried),
            None => FlightEnd::Lost(Lost::TimedOut),
        };
        self.land(&info, end);
    }

    /// Late members of the batch whose token was rejected share this error.
    fn remember_batch_failure(&mut self, error: &Error) {
        self.forget_batch_failure();
        let flight = self.machine.flights.ended;
        if let Some(grant) = self.machine.grant.as_mut().filter(|grant| grant.is_rejected()) {
            grant.batch_failure = Some((flight, error.clone()));
        }
    }

    fn outcome(&self, result: FlightResult) -> Outcome {
        let (now, id) = (self.now, self.machine.token_id());
        let grant = self.machine.grant.as_ref();
        Outcome {
            epoch: self.machine.epoch,
            token: grant.and_then(|grant| grant.sendable(now, id)),
            usable: grant.is_some_and(|grant| grant.usable(now, id).is_some()),
            result,
        }
    }
}

#[cfg(test)]
mod tests;
