//! The machine's state, and one step of it.

use std::mem;

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    event::{Event, EventKind, HookError},
    rt::{Nanos, Timestamp},
    token::{Epoch, Token, TokenId},
};

use super::{
    backoff::Setback,
    effects::Effects,
    flight::{FlightInfo, Flights},
    grant::{Grant, LastRefresh},
    held::Held,
    rules::Rules,
    saves::{RunningSave, SaveOrder},
};

/// The state of a session. It reads no clock, spawns nothing and waits for nothing.
pub(crate) struct Machine {
    pub(super) rules: Rules,
    pub(super) rng: fastrand::Rng,
    pub(super) epoch: Epoch,
    pub(super) flights: Flights,
    /// `None`: signed out.
    pub(super) grant: Option<Grant>,
    pub(super) running_save: Option<RunningSave>,
    /// Numbers the tokens to be saved, across sign-ins.
    pub(super) saves_marked: u64,
    pub(super) revoking: usize,
    /// For the events: the last refresh failed or was ineffective, the last save failed.
    pub(super) refresh_failed: bool,
    pub(super) save_failed: bool,
    pub(super) shutting_down: bool,
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

    pub(super) fn token_id(&self) -> TokenId {
        TokenId { epoch: self.epoch, flights_ended: self.flights.ended }
    }

    /// Fails if the session was signed out, or signed in again, since `epoch`.
    pub(crate) fn check(&self, epoch: Epoch) -> Result<(), Error> {
        if self.grant.is_some() && self.epoch.is_same_sign_in(epoch) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::SignedOut))
    }

    pub(super) fn random(&mut self) -> f64 {
        if self.rules.jitter { self.rng.f64() } else { 0.0 }
    }

    /// Counts a revocation as ended whose end couldn't be reported.
    pub(crate) fn forget_revocation(&mut self) {
        self.revoking = self.revoking.saturating_sub(1);
    }

    pub(super) fn next_sign_in(&mut self) {
        self.epoch.sign_in = self.epoch.sign_in.saturating_add(1);
    }
}

// === impl Turn ===

impl Turn<'_> {
    pub(crate) fn advance(&mut self) {
        self.effects.publish |= self.machine.advance_to(self.now);
    }

    pub(super) fn emit(&mut self, kind: EventKind) {
        self.effects.events.push(Event { generation: self.machine.epoch.generation, kind });
    }

    pub(super) fn emit_failure(&mut self, flight: &FlightInfo, error: &Error) {
        self.machine.refresh_failed = true;
        let elapsed = self.now.elapsed_since(flight.started);
        self.emit(EventKind::RefreshFailed { error: error.clone(), elapsed, waiters: self.waiters });
    }

    pub(super) fn set_last(&mut self, last: LastRefresh) {
        let Some(grant) = &mut self.machine.grant else { return };
        if let LastRefresh::Failed(error) = mem::replace(&mut grant.last, last) {
            self.effects.drop_later(Some(error));
        }
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
    }

    /// Replaces the held token, as a new generation.
    pub(super) fn replace(&mut self, held: Held) {
        self.machine.epoch.generation += 1;
        self.forget_batch_failure();
        if let Some(grant) = &mut self.machine.grant {
            grant.held = Some(held);
            grant.challenges = Challenges::default();
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
        let on_trial = self.now.since(held.adopted_at) < held.trial();
        let counts = held.refreshed && !held.already_counted && on_trial;
        held.already_counted |= counts;
        let from = held.adopted_at;
        grant.backoff.cancel_trial();
        self.effects.publish = true;
        self.emit(EventKind::TokenRejected);
        if counts {
            self.back_off(Setback { from, retry_after: None, token_end: None, unexplained: false });
            self.set_last(LastRefresh::Ineffective);
        }
    }

    // === Saves ===

    pub(super) fn save_event(&mut self, result: Result<(), HookError>) -> EventKind {
        let recovered = mem::replace(&mut self.machine.save_failed, result.is_err());
        match result {
            Ok(()) => EventKind::TokenSaved { recovered },
            Err(error) => EventKind::TokenSaveFailed { error },
        }
    }

    /// Marks the held token to be saved, after a delay if a save has just failed.
    pub(super) fn mark_unsaved(&mut self, failed: bool) {
        let random = if failed { self.machine.random() } else { 0.0 };
        let Some(grant) = &mut self.machine.grant else { return };
        let Some(held) = &grant.held else { return };
        self.machine.saves_marked += 1;
        let delay = failed.then_some((self.now, &self.machine.rules.delays, random));
        grant.saves.mark(self.machine.saves_marked, held.token.clone(), delay);
    }

    pub(super) fn end_save_retry(&mut self, version: u64, ok: bool, random: f64) {
        if !matches!(self.machine.running_save, Some(RunningSave::Retry { version: running, .. }) if running == version)
        {
            return;
        }
        self.machine.running_save = None;
        if let Some(grant) = &mut self.machine.grant {
            grant.saves.ended(version, ok, self.now, &self.machine.rules.delays, random);
        }
    }

    /// Abandons a save outside a flight that is past its timeout: its runtime may no longer be driven.
    pub(super) fn abandon_overdue_save(&mut self) {
        if let Some(RunningSave::Retry { version, started, .. }) = self.machine.running_save {
            if self.now.since(started) >= self.machine.rules.save_timeout {
                self.end_save_retry(version, false, 0.5);
            }
        }
    }

    /// Passes an unsaved token to the save hook, if its save is due or `immediately`.
    pub(super) fn retry_save(&mut self, immediately: bool) {
        if self.machine.running_save.is_some() {
            return;
        }
        let Some(grant) = &self.machine.grant else { return };
        if !immediately && grant.saves.due_in(self.now).is_none_or(|left: Nanos| left > 0) {
            return;
        }
        let Some(order) = grant.saves.order() else { return };
        let SaveOrder { version, .. } = order;
        let generation = self.machine.epoch.generation;
        self.machine.running_save = Some(RunningSave::Retry { version, generation, started: self.now });
        self.effects.save = Some(Box::new(order));
        self.effects.publish = true;
    }
}
