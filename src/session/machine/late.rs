//! The end of any other flight: the other rows of the second table in [`machine`](super).

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    token::Token,
};

use super::{
    flight::{FlightEnd, FlightInfo, Save},
    outcome::FlightResult,
    turn::Turn,
};

// === impl Turn ===

impl Turn<'_> {
    /// Handles the end of a flight of an earlier sign-in.
    pub(super) fn land_foreign(&mut self, flight: &FlightInfo, end: FlightEnd) -> FlightResult {
        match end {
            FlightEnd::Response(token, save) => {
                self.repair_store(save);
                self.revoke(flight, token);
            }
            FlightEnd::Failed(error) => self.effects.drop_later(Some(error)),
            FlightEnd::Lost(_) => {}
        }
        self.emit(EventKind::RefreshDiscarded);
        FlightResult::Discarded
    }

    /// Handles the end of a flight whose refresh token was replaced: another was set, or arrived late.
    pub(super) fn land_replaced(&mut self, flight: &FlightInfo, end: FlightEnd) -> FlightResult {
        let is_spent = match &end {
            FlightEnd::Response(token, _) => flight.is_successor(token.refresh_secret()),
            FlightEnd::Failed(error) => error.has_successor(),
            FlightEnd::Lost(_) => false,
        };
        if let Some(grant) = self.machine.grant.as_mut().filter(|_| is_spent) {
            grant.previous_refresh_token = flight.presented.clone();
        }
        match end {
            FlightEnd::Response(_, save) => {
                self.emit(EventKind::RefreshDiscarded);
                self.repair_store(save);
            }
            FlightEnd::Failed(error) => {
                self.effects.drop_later(Some(error));
                self.emit(EventKind::RefreshDiscarded);
            }
            FlightEnd::Lost(_) => self.emit_failure(flight, &Error::new(ErrorKind::OutcomeUnknown)),
        }
        FlightResult::Discarded
    }

    /// Handles the end of an abandoned flight.
    pub(super) fn land_late(&mut self, flight: &FlightInfo, end: FlightEnd) {
        match end {
            FlightEnd::Response(token, save) => {
                // Its hook may have written after that of a later token.
                self.repair_store(save);
                self.effects.publish = true;
                self.land_late_response(flight, token);
            }
            FlightEnd::Failed(mut error) => {
                if self.may_take_late(flight) {
                    self.take_successor(flight, &mut error);
                    self.effects.publish = true;
                }
                self.effects.drop_later(Some(error));
            }
            FlightEnd::Lost(_) => {}
        }
    }

    fn land_late_response(&mut self, flight: &FlightInfo, token: Token) {
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
        self.take(flight, token);
        self.save_current();
    }

    /// The session still has what the flight presented, and no other flight has a successor for it.
    fn may_take_late(&self, flight: &FlightInfo) -> bool {
        self.machine.epoch.is_same_sign_in(flight.epoch)
            && self.machine.grant.as_ref().is_some_and(|grant| grant.is_presented_by(flight))
            && !self.machine.flights.has_successor()
    }

    fn revoke(&mut self, flight: &FlightInfo, token: Token) {
        self.machine.revoking += 1;
        self.effects.revoke.push(flight.with_refresh_token(token));
    }

    /// The hook may have saved an outdated token: saves the session's own again.
    fn repair_store(&mut self, save: Save) {
        let Save::Tried(saved, result) = save else { return };
        self.effects.drop_later(result.err());
        let is_pending = self.machine.grant.as_ref().is_some_and(|grant| grant.saves.is_pending());
        if !is_pending && !self.is_current(&saved) {
            self.mark_unsaved(false);
        }
    }
}
