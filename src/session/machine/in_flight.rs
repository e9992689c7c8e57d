//! Steps of a flight in progress: repeat, and save.

use crate::{
    event::EventKind,
    refresh::{FailureKind, RefreshContext, RefreshError, RefreshReason},
    token::Token,
};

use super::{
    flight::{FlightInfo, Saving},
    saves::RunningSave,
    turn::Turn,
};

// === impl Turn ===

impl Turn<'_> {
    /// The refresher of a flight failed. `Some`: call it again, in the same flight.
    pub(crate) fn on_failure(
        &mut self,
        flight: &FlightInfo,
        error: &RefreshError,
    ) -> Option<(FlightInfo, RefreshContext)> {
        let is_wanted = self.is_wanted(flight);
        let timeout = self.machine.rules.refresh_timeout;
        let current = self.machine.flights.current_mut(flight)?;
        let is_overdue = current.time_left(timeout, self.now) <= 0;
        if error.kind() != FailureKind::OutcomeUnknown || current.repeat || is_overdue || !is_wanted {
            return None;
        }
        current.repeat = true;
        current.info.called = self.now;
        let info = current.info.clone();
        self.emit(EventKind::RefreshRepeated);
        let cx = self.machine.grant.as_ref()?.context(RefreshReason::Repeated);
        Some((info, cx))
    }

    /// The refresher of a flight returned a token, which may have to be saved before it is used.
    pub(crate) fn on_response(&mut self, flight: &FlightInfo, token: &Token) -> Saving {
        let is_wanted = self.is_wanted(flight);
        let Some(current) = self.machine.flights.current_mut(flight) else { return Saving::None };
        current.response = Some(token.clone());
        if !is_wanted || !self.machine.rules.saves {
            return Saving::None;
        }
        self.abandon_overdue_save();
        if self.machine.running_save.is_some() {
            return Saving::After;
        }
        let token = self.token_to_save(flight, token);
        // It supersedes what wasn't saved before.
        if let Some(grant) = &mut self.machine.grant {
            grant.saves.forget();
        }
        self.machine.running_save = Some(RunningSave::Flight);
        Saving::Now(Box::new(token))
    }

    /// Whether the session would take the flight's response.
    fn is_wanted(&self, flight: &FlightInfo) -> bool {
        self.machine.epoch.is_same_sign_in(flight.epoch)
            && self.machine.grant.as_ref().is_some_and(|grant| grant.is_presented_by(flight))
    }

    /// What the session will hold once this response has landed.
    fn token_to_save(&self, flight: &FlightInfo, token: &Token) -> Token {
        let mut response = flight.with_refresh_token(token.clone());
        let held = self.machine.grant.as_ref().and_then(|grant| grant.held.as_ref());
        match held.filter(|_| self.machine.epoch != flight.epoch) {
            // A token was set in the meantime: it stays, with the successor.
            Some(current) => {
                let mut token = current.token.clone();
                token.replace_refresh_token(response.refresh_secret().cloned());
                token
            }
            None => {
                response.resolve_times(flight.called);
                response
            }
        }
    }
}
