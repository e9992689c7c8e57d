//! The end of the current flight: the first row of the second table in [`machine`](super).

use std::{mem, sync::Arc};

use crate::{
    error::{Error, ErrorKind},
    event::{Event, EventKind, Ineffective},
    refresh::{FailureKind, RefreshError},
    rt,
    token::Token,
};

use super::{
    backoff::Setback,
    flight::{Flight, FlightEnd, FlightInfo, Lost, Save},
    grant::{Grant, LastRefresh},
    held::Held,
    outcome::FlightResult,
    turn::Turn,
};

// === impl Turn ===

impl Turn<'_> {
    pub(super) fn land_current(&mut self, flight: &Flight, end: FlightEnd) -> FlightResult {
        match end {
            FlightEnd::Response(token, save) => {
                let saved_at = self.effects.events.len();
                let result = self.take(&flight.info, token);
                self.report_save(&save, saved_at);
                self.repeat_save(save);
                result
            }
            FlightEnd::Failed(mut error) => {
                self.take_successor(&flight.info, &mut error);
                self.fail(flight, error)
            }
            FlightEnd::Lost(lost) => self.lost(flight, lost),
        }
    }

    /// Takes a flight's token.
    pub(super) fn take(&mut self, flight: &FlightInfo, token: Token) -> FlightResult {
        for warning in token.warnings() {
            self.emit(EventKind::Warning { warning: warning.clone() });
        }
        // Only the refresh token that this response replaces had been refused.
        self.forget_end();
        self.set_last(LastRefresh::Good);
        let token = flight.with_refresh_token(token);
        let Some(grant) = &mut self.machine.grant else { return FlightResult::Discarded };
        grant.outcome_unknown = false;
        grant.backoff.explained();
        grant.take_refresh_token(flight, token.refresh_secret().cloned());
        if self.machine.epoch != flight.epoch {
            // A token was set in the meantime: it stays.
            grant.pass_on_refresh_token();
            self.emit(EventKind::RefreshDiscarded);
            return FlightResult::Discarded;
        }
        let random = self.machine.random();
        let held = Held::new(token, flight.called, self.now, true, &self.machine.rules, random);
        let current = self.machine.grant.as_ref().and_then(|grant| grant.held.as_ref());
        if let Some(reason) = held.ineffective(self.now, current) {
            return self.take_ineffective(flight, held, reason);
        }
        let is_first = current.is_none();
        self.replace(held);
        if let Some(grant) = &mut self.machine.grant {
            grant.begin_trial();
        }
        let recovered = mem::take(&mut self.machine.refresh_failed) || is_first;
        self.emit_refreshed(flight, recovered);
        FlightResult::Refreshed
    }

    /// Takes an ineffective token: the next refresh has to wait for the backoff.
    fn take_ineffective(&mut self, flight: &FlightInfo, mut held: Held, reason: Ineffective) -> FlightResult {
        let now = self.now;
        self.back_off(Setback { from: now, retry_after: None, token_end: None, unexplained: false });
        self.set_last(LastRefresh::Ineffective);
        let Some(grant) = &mut self.machine.grant else { return FlightResult::Discarded };
        held.already_counted = true;
        held.no_known_end = grant.backoff.time_left(now).is_some_and(|left| held.time_left(now) <= left);
        let is_unchanged = reason == Ineffective::Unchanged;
        let is_current_usable = grant.held.as_ref().is_some_and(|current| current.is_usable_for_now(now));
        let is_new = match &mut grant.held {
            Some(current) if is_unchanged => {
                held.rejected = current.rejected;
                *current = held;
                grant.backoff.cancel_trial();
                false
            }
            Some(_) if is_current_usable && held.no_known_end => {
                grant.pass_on_refresh_token();
                let token_end = grant.token_end(now);
                grant.backoff.end_with_token(token_end);
                false
            }
            _ => {
                grant.backoff.cancel_trial();
                self.replace(held);
                true
            }
        };
        let retry_at = self.machine.grant.as_ref().and_then(|grant| grant.retry_at(now));
        self.machine.refresh_failed = true;
        self.emit(EventKind::RefreshIneffective { reason, retry_at });
        if is_new {
            self.emit_refreshed(flight, false);
        }
        let is_rejected = self.machine.grant.as_ref().is_some_and(Grant::is_rejected);
        if is_unchanged && is_rejected { FlightResult::Unchanged } else { FlightResult::Refreshed }
    }

    fn fail(&mut self, flight: &Flight, error: RefreshError) -> FlightResult {
        if let Some(grant) = self.machine.grant.as_mut().filter(|_| !error.is_unexplained()) {
            grant.backoff.explained();
        }
        match error.kind() {
            FailureKind::OutcomeUnknown => {
                self.outcome_unknown(flight, ErrorKind::OutcomeUnknown, Some(error))
            }
            FailureKind::GrantEnded => self.end_grant(error),
            FailureKind::Transient => self.fail_with_backoff(&flight.info, ErrorKind::Transient, Some(error)),
            FailureKind::Misconfigured => {
                self.fail_with_backoff(&flight.info, ErrorKind::Misconfigured, Some(error))
            }
        }
    }

    fn lost(&mut self, flight: &Flight, lost: Lost) -> FlightResult {
        let kind = match lost {
            Lost::TimedOut => ErrorKind::OutcomeUnknown,
            Lost::Panicked => ErrorKind::Panicked,
            Lost::Dropped => ErrorKind::TaskDropped,
            Lost::NeverPolled => return self.never_ran(flight, ErrorKind::TaskDropped),
            Lost::NoTimer => return self.never_ran(flight, ErrorKind::MissingRuntime),
        };
        self.outcome_unknown(flight, kind, None)
    }

    /// Nothing was presented: it doesn't count.
    fn never_ran(&mut self, flight: &Flight, kind: ErrorKind) -> FlightResult {
        if let Some(grant) = &mut self.machine.grant {
            grant.outcome_unknown = flight.repeat;
        }
        let error = Error::new(kind);
        self.emit_failure(&flight.info, &error);
        FlightResult::Failed(error)
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
            unexplained: source.as_ref().is_some_and(RefreshError::is_unexplained),
        };
        self.back_off(setback);
        let retry_at = self.machine.grant.as_ref().and_then(|grant| grant.retry_at(now));
        let error = Error::with_details(kind, retry_at, source.map(|error| Arc::new(error) as _));
        self.failed(flight, error)
    }

    fn failed(&mut self, flight: &FlightInfo, error: Error) -> FlightResult {
        self.set_last(LastRefresh::Failed(error.clone()));
        self.emit_failure(flight, &error);
        FlightResult::Failed(error)
    }

    fn end_grant(&mut self, source: RefreshError) -> FlightResult {
        let error = Error::with_details(ErrorKind::GrantEnded, None, Some(Arc::new(source)));
        self.set_last(LastRefresh::Failed(error.clone()));
        self.forget_end();
        if let Some(grant) = &mut self.machine.grant {
            grant.backoff.record_grant_end();
            grant.ended = Some(error.clone());
        }
        self.machine.refresh_failed = true;
        self.emit(EventKind::GrantEnded { error: error.clone() });
        FlightResult::Failed(error)
    }

    /// Takes a refresh token from an otherwise unusable response.
    pub(super) fn take_successor(&mut self, flight: &FlightInfo, error: &mut RefreshError) {
        let successor = error.take_successor();
        if !flight.is_successor(successor.as_ref()) {
            return;
        }
        let Some(grant) = &mut self.machine.grant else { return };
        grant.take_refresh_token(flight, successor);
        grant.pass_on_refresh_token();
        self.save_current();
    }

    /// Saves the held token outside the flight.
    pub(super) fn save_current(&mut self) {
        if self.machine.rules.saves && self.machine.grant.as_ref().is_some_and(|grant| grant.held.is_some()) {
            self.mark_unsaved(false);
            self.retry_save(false);
        }
    }

    /// Reports the save of a response once it has been taken, as it has no generation before. A saved token
    /// that isn't the session's never gets one; the session's own is saved next.
    fn report_save(&mut self, save: &Save, at: usize) {
        let Save::Tried(saved, result) = save else { return };
        if result.is_err() || self.is_current(saved) {
            let generation = self.machine.epoch.generation;
            let event = Event { generation, kind: self.save_event(result.clone()) };
            self.effects.events.insert(at, event);
        }
    }

    fn emit_refreshed(&mut self, flight: &FlightInfo, recovered: bool) {
        let elapsed = self.now.elapsed_since(flight.started);
        self.emit(EventKind::Refreshed { elapsed, waiters: self.waiters, recovered });
    }

    /// Marks what is to be saved again: after a save that failed, or one of a token that isn't the session's.
    fn repeat_save(&mut self, save: Save) {
        let Save::Tried(saved, result) = save else { return };
        if result.is_err() {
            self.mark_unsaved(true);
        } else if !self.is_current(&saved) {
            self.mark_unsaved(false);
        }
        self.effects.drop_later(result.err());
    }

    /// Whether a saved token is the one that the session holds.
    pub(super) fn is_current(&self, saved: &Token) -> bool {
        let held = self.machine.grant.as_ref().and_then(|grant| grant.held.as_ref());
        held.is_none_or(|held| {
            held.token.access_token() == saved.access_token()
                && held.token.refresh_secret() == saved.refresh_secret()
        })
    }
}
