//! The end of any other flight: the other rows of the second table in [`machine`](super).

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    token::Token,
};

use super::{
    flight::{Flight, FlightEnd, FlightInfo, Lost},
    outcome::FlightResult,
    turn::Turn,
};

// === impl Turn ===

impl Turn<'_> {
    /// Handles the end of a flight of an earlier sign-in.
    pub(super) fn land_foreign(&mut self, flight: &Flight, end: FlightEnd) -> FlightResult {
        match (end, &flight.response) {
            (FlightEnd::Responded, Some(token)) => self.revoke(&flight.info, token.clone()),
            (FlightEnd::Failed(error), _) => self.effects.drop_later(Some(error)),
            (FlightEnd::Responded | FlightEnd::Lost(_), _) => {}
        }
        self.emit(EventKind::RefreshDiscarded);
        FlightResult::Discarded
    }

    /// Handles the end of a flight whose refresh token was replaced: another was set, or arrived late.
    pub(super) fn land_replaced(&mut self, flight: &Flight, end: FlightEnd) -> FlightResult {
        let info = &flight.info;
        let is_spent = match (&end, &flight.response) {
            (FlightEnd::Responded, Some(token)) => info.is_successor(token.refresh_secret()),
            (FlightEnd::Failed(error), _) => error.has_successor(),
            (FlightEnd::Responded | FlightEnd::Lost(_), _) => false,
        };
        if let Some(grant) = self.machine.grant.as_mut().filter(|_| is_spent) {
            grant.previous_refresh_token = info.presented.clone();
        }
        match end {
            // The endpoint is down, or asks everybody to wait.
            FlightEnd::Failed(error) if error.is_transient() || error.is_misconfigured() => {
                return self.back_off_after(info, error);
            }
            FlightEnd::Failed(error) => {
                self.effects.drop_later(Some(error));
                self.emit(EventKind::RefreshDiscarded);
            }
            FlightEnd::Responded
            | FlightEnd::Lost(Lost::NeverCalled | Lost::StillQueued | Lost::ShutDown) => {
                self.emit(EventKind::RefreshDiscarded);
            }
            FlightEnd::Lost(_) => self.emit_failure(info, &Error::new(ErrorKind::OutcomeUnknown)),
        }
        FlightResult::Discarded
    }

    /// Handles a failure of an abandoned flight.
    pub(super) fn land_late(&mut self, flight: &FlightInfo, end: FlightEnd) {
        let FlightEnd::Failed(mut error) = end else { return };
        if self.may_take_late(flight) {
            self.take_successor(flight, &mut error);
            self.effects.publish = true;
        }
        self.effects.drop_later(Some(error));
    }

    /// Handles the response of an abandoned flight.
    pub(super) fn respond_late(&mut self, flight: &FlightInfo, token: Token) {
        self.effects.publish = true;
        if !self.machine.epoch.is_same_sign_in(flight.epoch) {
            self.revoke(flight, token);
            self.emit(EventKind::RefreshDiscarded);
            return;
        }
        let is_superseded = self.machine.epoch != flight.epoch;
        if !self.may_take_late(flight) || is_superseded && !flight.is_successor(token.refresh_secret()) {
            self.emit(EventKind::RefreshDiscarded);
            return;
        }
        self.take(flight, token, None);
        self.wake_backoff_waiters();
    }

    /// The session still has what the flight presented, and no other flight has a successor for it.
    fn may_take_late(&self, flight: &FlightInfo) -> bool {
        self.machine.epoch.is_same_sign_in(flight.epoch)
            && self.machine.grant.as_ref().is_some_and(|grant| grant.is_presented_by(flight))
            && !self.machine.flights.has_successor()
    }

    fn revoke(&mut self, flight: &FlightInfo, token: Token) {
        self.revoke_token(flight.with_refresh_token(token));
    }

    /// Passes a token to the revoke hook.
    pub(crate) fn revoke_token(&mut self, token: Token) {
        self.machine.begin_revocation(self.now);
        self.effects.revoke.push(token);
    }
}
