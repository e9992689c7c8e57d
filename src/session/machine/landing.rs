//! The end of the current flight: the first row of the second table in [`machine`](super).

use std::sync::Arc;

use crate::{
    error::{Error, ErrorKind},
    event::{EventKind, Ineffective},
    refresh::{FailureKind, RefreshError},
    rt,
    token::Token,
};

use super::{
    backoff::Setback,
    flight::{Flight, FlightEnd, FlightInfo, Lost},
    grant::Grant,
    held::{Arrival, Held},
    outcome::FlightResult,
    turn::Turn,
};

// === impl Turn ===

impl Turn<'_> {
    pub(super) fn land_current(
        &mut self,
        flight: &Flight,
        end: FlightEnd,
        saved: Option<Token>,
    ) -> FlightResult {
        match end {
            FlightEnd::Responded => match &flight.response {
                Some(token) => self.take(&flight.info, token.clone(), saved),
                None => FlightResult::Discarded,
            },
            FlightEnd::Failed(mut error) => {
                self.take_successor(&flight.info, &mut error);
                self.fail(flight, error)
            }
            FlightEnd::Lost(lost) => self.lost(flight, lost),
        }
    }

    /// Takes a flight's token. `saved`: what the hook was called with for it, if it was.
    pub(super) fn take(&mut self, flight: &FlightInfo, token: Token, saved: Option<Token>) -> FlightResult {
        let saved = saved.or_else(|| self.machine.held_token().cloned());
        let result = self.take_token(flight, token);
        let is_saved = match (self.machine.held_token(), &saved) {
            (Some(held), Some(saved)) => held.is_same_record(saved),
            (held, saved) => held.is_none() && saved.is_none(),
        };
        if !is_saved {
            self.changed();
        }
        result
    }

    fn take_token(&mut self, flight: &FlightInfo, token: Token) -> FlightResult {
        for warning in token.warnings() {
            self.emit(EventKind::Warning { warning: warning.clone() });
        }
        // Only the refresh token that this response replaces had been refused.
        self.forget_end();
        let recovered = self.machine.grant.as_ref().is_some_and(Grant::is_recovering);
        let token = flight.with_refresh_token(token);
        let Some(grant) = &mut self.machine.grant else { return FlightResult::Discarded };
        grant.outcome_unknown = false;
        grant.take_refresh_token(flight, token.refresh_secret().cloned(), token.receipt(flight.called));
        if self.machine.epoch != flight.epoch {
            // A token was set in the meantime: it stays.
            grant.pass_on_refresh_token();
            // A backoff goes on, and so does the series of failures that it is for.
            let error = grant.failing.as_mut().and_then(|failing| failing.error.take());
            self.effects.drop_later(error);
            self.emit(EventKind::RefreshDiscarded);
            return FlightResult::Discarded;
        }
        let random = self.machine.random();
        let is_adopted = token.is_adopted();
        let arrival = self.machine.arrival(flight, token, self.now, random);
        // The refresh that brought an adopted token was another process's.
        if arrival.ineffective.is_some_and(|reason| !is_adopted || reason == Ineffective::Unchanged) {
            return self.take_ineffective(flight, arrival);
        }
        self.end_failing();
        if arrival.is_new {
            self.replace(arrival.held);
            self.begin_trial();
        } else {
            self.renew(arrival.held);
        }
        match is_adopted {
            true => self.emit(EventKind::TokenAdopted { recovered }),
            false => self.emit_refreshed(flight, recovered),
        }
        FlightResult::Refreshed
    }

    /// Takes a later expiry of the held token.
    fn renew(&mut self, held: Held) {
        let Some(grant) = &mut self.machine.grant else { return };
        if !grant.backoff.is_on_trial() {
            grant.backoff.begin_trial(self.now, held.trial);
        }
        grant.held = Some(held);
    }

    /// Takes an ineffective token: the next refresh has to wait for the backoff.
    fn take_ineffective(&mut self, flight: &FlightInfo, arrival: Arrival) -> FlightResult {
        let now = self.now;
        self.back_off(Setback { from: now, retry_after: None, token_end: None, is_persistent: false });
        self.begin_failing(None);
        let Arrival { mut held, is_new, ineffective } = arrival;
        let is_unchanged = ineffective == Some(Ineffective::Unchanged);
        let Some(grant) = &mut self.machine.grant else { return FlightResult::Discarded };
        grant.backoff.cancel_trial();
        held.already_counted = true;
        let backoff = grant.backoff.time_left(now).unwrap_or_default();
        let keeps_current = is_new && grant.prefers_current(&held, backoff, now);
        // It is used past its expiry if it expires before a successor can arrive.
        held.no_known_end |= !is_unchanged && held.time_left(now) <= backoff;
        if keeps_current {
            grant.pass_on_refresh_token();
        } else if is_new {
            self.replace(held);
        } else {
            grant.held = Some(held);
        }
        if let Some(grant) = self.machine.grant.as_mut().filter(|_| keeps_current || is_unchanged) {
            let token_end = grant.token_end(now);
            grant.backoff.end_with_token(token_end);
        }
        let retry_at = self.machine.grant.as_ref().and_then(|grant| grant.retry_at(now));
        if let Some(reason) = ineffective {
            self.emit(EventKind::RefreshIneffective { reason, retry_at });
        }
        if is_new && !keeps_current {
            self.emit_refreshed(flight, false);
        }
        let is_rejected = self.machine.grant.as_ref().is_some_and(Grant::is_rejected);
        if is_unchanged && is_rejected { FlightResult::Unchanged } else { FlightResult::Refreshed }
    }

    fn fail(&mut self, flight: &Flight, error: RefreshError) -> FlightResult {
        match error.kind() {
            FailureKind::OutcomeUnknown => {
                self.outcome_unknown(flight, ErrorKind::OutcomeUnknown, Some(error))
            }
            FailureKind::GrantEnded => self.end_grant(error),
            FailureKind::Transient | FailureKind::Unexplained | FailureKind::Misconfigured => {
                self.back_off_after(&flight.info, error)
            }
        }
    }

    fn lost(&mut self, flight: &Flight, lost: Lost) -> FlightResult {
        let kind = match lost {
            Lost::TimedOut => ErrorKind::OutcomeUnknown,
            Lost::Panicked => ErrorKind::Panicked,
            Lost::Dropped => ErrorKind::TaskDropped,
            Lost::NeverCalled => return self.never_ran(flight, ErrorKind::TaskDropped),
            Lost::NoTimer => return self.never_ran(flight, ErrorKind::MissingRuntime),
            Lost::ShutDown => return self.never_ran(flight, ErrorKind::ShutDown),
            Lost::StillQueued => {
                self.restore_repeat(flight);
                self.emit(EventKind::RefreshDiscarded);
                return FlightResult::Discarded;
            }
        };
        self.outcome_unknown(flight, kind, None)
    }

    /// Nothing was presented: it doesn't count.
    fn never_ran(&mut self, flight: &Flight, kind: ErrorKind) -> FlightResult {
        self.restore_repeat(flight);
        let error = Error::new(kind);
        self.emit_failure(&flight.info, &error);
        FlightResult::Failed(error)
    }

    /// The next flight is a repeat, if this one was.
    fn restore_repeat(&mut self, flight: &Flight) {
        if let Some(grant) = &mut self.machine.grant {
            grant.outcome_unknown = flight.repeat;
        }
    }

    /// The refresh token may have been used up. The next flight repeats the exchange, unless this was the
    /// repeat.
    fn outcome_unknown(
        &mut self,
        flight: &Flight,
        kind: ErrorKind,
        source: Option<RefreshError>,
    ) -> FlightResult {
        if flight.repeat {
            return self.fail_with_backoff(&flight.info, kind, source);
        }
        if let Some(grant) = &mut self.machine.grant {
            grant.outcome_unknown = true;
        }
        let error = Error::with_details(kind, None, source.map(|error| Arc::new(error) as _));
        self.failed(&flight.info, error)
    }

    /// Handles a failure after which the next refresh has to wait for the backoff.
    pub(super) fn back_off_after(&mut self, flight: &FlightInfo, error: RefreshError) -> FlightResult {
        let kind = match error.is_misconfigured() {
            true => ErrorKind::Misconfigured,
            false => ErrorKind::Transient,
        };
        self.fail_with_backoff(flight, kind, Some(error))
    }

    fn fail_with_backoff(
        &mut self,
        flight: &FlightInfo,
        kind: ErrorKind,
        source: Option<RefreshError>,
    ) -> FlightResult {
        let now = self.now;
        let Some(grant) = &mut self.machine.grant else { return FlightResult::Discarded };
        grant.backoff.cancel_trial();
        let setback = Setback {
            from: now,
            retry_after: source.as_ref().and_then(RefreshError::retry_after).map(rt::nanos),
            token_end: grant.token_end(now),
            is_persistent: source.as_ref().is_some_and(RefreshError::is_persistent),
        };
        self.back_off(setback);
        let retry_at = self.machine.grant.as_ref().and_then(|grant| grant.retry_at(now));
        let error = Error::with_details(kind, retry_at, source.map(|error| Arc::new(error) as _));
        self.failed(flight, error)
    }

    fn failed(&mut self, flight: &FlightInfo, error: Error) -> FlightResult {
        self.begin_failing(Some(error.clone()));
        self.emit_failure(flight, &error);
        FlightResult::Failed(error)
    }

    fn end_grant(&mut self, source: RefreshError) -> FlightResult {
        let is_signed_out = source.is_signed_out();
        let kind = if is_signed_out { ErrorKind::SignedOut } else { ErrorKind::GrantEnded };
        let error = Error::with_details(kind, None, Some(Arc::new(source)));
        self.begin_failing(Some(error.clone()));
        let had_ended = self.machine.grant.as_ref().is_some_and(|grant| grant.ended.is_some());
        self.forget_end();
        if self.machine.persistence.is_shared() {
            // The store is looked at again after a delay.
            let now = self.now;
            self.back_off(Setback { from: now, retry_after: None, token_end: None, is_persistent: false });
        }
        if let Some(grant) = &mut self.machine.grant {
            match self.machine.persistence.is_shared() {
                true => grant.backoff.cancel_trial(),
                false => grant.backoff.record_grant_end(),
            }
            grant.ended = Some(error.clone());
        }
        if !had_ended && !is_signed_out {
            self.emit(EventKind::GrantEnded { error: error.clone() });
        }
        FlightResult::Failed(error)
    }

    /// Takes a refresh token from an otherwise unusable response.
    pub(super) fn take_successor(&mut self, flight: &FlightInfo, error: &mut RefreshError) {
        let successor = error.take_successor();
        if !flight.is_successor(successor.as_ref()) {
            return;
        }
        let Some(grant) = &mut self.machine.grant else { return };
        grant.take_refresh_token(flight, successor, flight.called);
        grant.pass_on_refresh_token();
        self.changed();
    }

    fn emit_refreshed(&mut self, flight: &FlightInfo, recovered: bool) {
        let elapsed = self.now.elapsed_since(flight.started);
        let (reason, waiters) = (flight.reason, self.waiters);
        self.emit(EventKind::Refreshed { reason, elapsed, waiters, recovered });
    }
}
