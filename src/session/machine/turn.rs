//! The machine's state, and one step of it.

use std::sync::Arc;

use crate::{
    error::{Error, ErrorKind},
    event::{Event, EventKind},
    rt::Timestamp,
    token::{AccessToken, Epoch, Token, TokenId},
};

use super::{
    backoff::Setback,
    effects::Effects,
    flight::{Flight, FlightInfo, Flights},
    grant::{Failing, Grant},
    held::{Arrival, Held, Phase},
    outcome::{FlightResult, Outcome},
    rules::{Persistence, Rules},
    saves::Saves,
};

/// The state of a session. It reads no clock, spawns nothing and waits for nothing.
pub(crate) struct Machine {
    pub(super) rules: Arc<Rules>,
    pub(super) persistence: Persistence,
    pub(super) rng: fastrand::Rng,
    pub(super) epoch: Epoch,
    pub(super) flights: Flights,
    /// `None`: signed out.
    pub(super) grant: Option<Grant>,
    pub(super) saves: Saves,
    /// `None`: none is in progress.
    pub(super) revocations: Option<Box<Revocations>>,
    pub(super) shutting_down: bool,
    /// Whether what it holds has changed since it started, and how.
    pub(super) changed: Option<Changed>,
}

/// What has changed what a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    ByRefresh,
    ByUser,
}

/// The revocations in progress.
pub(super) struct Revocations {
    pub(super) running: usize,
    /// When the last one began.
    pub(super) last: Timestamp,
}

/// One step of a machine, at one instant.
pub(crate) struct Turn<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) now: Timestamp,
    pub(super) waiters: usize,
    pub(super) effects: &'a mut Effects,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn turn<'a>(
        &'a mut self,
        now: Timestamp,
        waiters: usize,
        effects: &'a mut Effects,
    ) -> Turn<'a> {
        Turn { machine: self, now, waiters, effects }
    }

    /// Applies the passing of time.
    ///
    /// Returns whether the token was re-anchored, so that the published snapshots are out of date.
    pub(super) fn advance_to(&mut self, now: Timestamp) -> bool {
        self.grant.as_mut().is_some_and(|grant| grant.advance_to(now))
    }

    pub(super) fn held_token(&self) -> Option<&Token> {
        Some(&self.grant.as_ref()?.held.as_ref()?.token)
    }

    /// What becomes of the held token when a flight's token arrives.
    pub(super) fn arrival(&self, flight: &FlightInfo, token: Token, now: Timestamp, random: f64) -> Arrival {
        let held = Held::new(token, flight.called, now, true, &self.rules, random);
        held.replacing(self.grant.as_ref().and_then(|grant| grant.held.as_ref()), now)
    }

    /// The flight in progress, unless it is past its timeout: nobody may drive it any more.
    pub(super) fn running_flight(&self, now: Timestamp) -> Option<&Flight> {
        let flight = self.flights.current.as_deref()?;
        (flight.info.time_left(self.rules.refresh_timeout, now) > 0).then_some(flight)
    }

    pub(crate) fn token_id(&self) -> TokenId {
        TokenId { epoch: self.epoch, flights_ended: self.flights.ended }
    }

    pub(super) fn is_signed_out(&self) -> bool {
        self.grant.as_ref().is_none_or(Grant::is_signed_out)
    }

    /// Fails if the session was signed out, or signed in again, since `epoch`.
    pub(crate) fn check(&self, epoch: Epoch) -> Result<(), Error> {
        if self.grant.is_some() && self.epoch.is_same_sign_in(epoch) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::SignedOut))
    }

    /// Whether a token of this sign-in has expired. If it is the current one, by the clock that is ahead.
    pub(crate) fn has_expired(&self, token: &AccessToken, now: Timestamp) -> bool {
        match self.grant.as_ref().filter(|_| token.id().epoch == self.epoch) {
            Some(grant) => grant.phase(now) == Some(Phase::Expired),
            None => token.expires_at().is_some_and(|expiry| now.wall() >= expiry),
        }
    }

    pub(super) fn random(&mut self) -> f64 {
        if self.rules.jitter { self.rng.f64() } else { 0.0 }
    }

    /// Counts a revocation as begun.
    pub(super) fn begin_revocation(&mut self, now: Timestamp) {
        let running = self.revocations.as_ref().map_or(0, |revocations| revocations.running);
        self.revocations = Some(Box::new(Revocations { running: running + 1, last: now }));
    }

    /// Counts a revocation as ended.
    pub(crate) fn end_revocation(&mut self) {
        if let Some(revocations) = &mut self.revocations {
            revocations.running -= 1;
        }
        self.revocations.take_if(|revocations| revocations.running == 0);
    }
}

// === impl Turn ===

impl Turn<'_> {
    pub(crate) fn advance(&mut self) {
        self.effects.publish |= self.machine.advance_to(self.now);
    }

    pub(crate) fn emit(&mut self, kind: EventKind) {
        self.effects.events.push(Event { session: None, generation: self.machine.epoch.generation, kind });
    }

    pub(super) fn emit_failure(&mut self, flight: &FlightInfo, error: &Error) {
        let elapsed = self.now.elapsed_since(flight.started);
        let (reason, error, waiters) = (flight.reason, error.clone(), self.waiters);
        self.emit(EventKind::RefreshFailed { reason, error, elapsed, waiters });
    }

    /// The last refresh failed with this error or, without one, returned an ineffective token.
    pub(super) fn begin_failing(&mut self, error: Option<Error>) {
        let now = self.now.wall;
        let Some(grant) = &mut self.machine.grant else { return };
        let last = grant.failing.take();
        let since = last.as_ref().filter(|last| !last.is_over).map_or(now, |last| last.since);
        grant.failing = Some(Box::new(Failing { error, since, is_over: false }));
        self.effects.drop_later(last.and_then(|last| last.error));
    }

    pub(super) fn end_failing(&mut self) {
        let failing = self.machine.grant.as_mut().and_then(|grant| grant.failing.take());
        self.effects.drop_later(failing.and_then(|failing| failing.error));
    }

    pub(super) fn forget_batch_failure(&mut self) {
        let failure = self.machine.grant.as_mut().and_then(|grant| grant.batch_failure.take());
        self.effects.drop_later(failure.map(|(_, error)| error));
    }

    pub(super) fn forget_end(&mut self) {
        let ended = self.machine.grant.as_mut().and_then(|grant| grant.ended.take());
        self.effects.drop_later(ended);
    }

    /// Adopts a token that no refresh returned, as a new generation.
    pub(super) fn adopt(&mut self, token: Token) {
        let random = self.machine.random();
        let held = Held::new(token, self.now, self.now, false, &self.machine.rules, random);
        self.replace(held);
        if let Some(failing) = self.machine.grant.as_mut().and_then(|grant| grant.failing.as_mut()) {
            failing.is_over = true;
        }
    }

    /// Replaces the held token, as a new generation.
    pub(super) fn replace(&mut self, held: Held) {
        self.machine.epoch.generation += 1;
        self.forget_batch_failure();
        if let Some(grant) = &mut self.machine.grant {
            grant.held = Some(held);
            grant.challenges = None;
        }
    }

    /// The count of ineffective refreshes ends when the new token has survived its trial.
    pub(super) fn begin_trial(&mut self) {
        if let Some(grant) = &mut self.machine.grant {
            grant.begin_trial();
        }
    }

    /// Records an ineffective refresh.
    pub(super) fn back_off(&mut self, setback: Setback) {
        let random = self.machine.random();
        if let Some(grant) = &mut self.machine.grant {
            grant.backoff.record(setback, self.now, &self.machine.rules.delays, random);
        }
    }

    /// Marks a generation as rejected by a server.
    pub(super) fn mark(&mut self, epoch: Epoch) {
        self.advance();
        if epoch.generation != self.machine.epoch.generation {
            return;
        }
        let Some(grant) = &mut self.machine.grant else { return };
        let Some(held) = grant.held.as_mut().filter(|held| !held.rejected) else { return };
        held.rejected = true;
        let counts = held.is_on_trial(self.now) && !held.already_counted;
        let from = held.adopted_at;
        grant.backoff.cancel_trial();
        self.effects.publish = true;
        self.emit(EventKind::TokenRejected);
        if counts {
            self.back_off(Setback { from, retry_after: None, token_end: None, is_persistent: false });
            self.begin_failing(None);
        }
    }

    /// Wakes the callers that wait for a backoff. They wait for the next flight, and are now decided again.
    pub(super) fn wake_backoff_waiters(&mut self) {
        if self.machine.rules.wait_through_backoff && self.machine.flights.current.is_none() {
            let outcome = self.outcome(FlightResult::Discarded);
            self.effects.ended.push((self.machine.flights.started + 1, Arc::new(outcome)));
        }
    }

    pub(super) fn outcome(&self, result: FlightResult) -> Outcome {
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
