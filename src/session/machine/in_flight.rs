//! Steps of a flight in progress: begin, repeat, and save.

use std::mem;

use crate::{
    event::EventKind,
    refresh::{FailureKind, RefreshContext, RefreshError, RefreshReason},
    token::Token,
};

use super::{
    flight::{FlightInfo, Lost},
    held::Arrival,
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
        let is_overdue = current.info.time_left(timeout, self.now) <= 0;
        if error.kind() != FailureKind::OutcomeUnknown || current.repeat || is_overdue || !is_wanted {
            return None;
        }
        current.repeat = true;
        current.info.called = self.now;
        let info = current.info.clone();
        self.emit(EventKind::RefreshRepeated);
        let jitter = self.machine.rules.jitter;
        let cx = self.machine.grant.as_ref()?.context(RefreshReason::Repeated, jitter);
        Some((info, cx))
    }

    /// The refresher of a flight is about to be called. Returns why it must not be.
    pub(crate) fn begin(&mut self, flight: &FlightInfo) -> Result<FlightInfo, Lost> {
        self.advance();
        if !self.is_wanted(flight) {
            return Err(Lost::NeverCalled);
        }
        let (now, timeout) = (self.now, self.machine.rules.refresh_timeout);
        let current = self.machine.flights.current_mut(flight).ok_or(Lost::NeverCalled)?;
        if mem::take(&mut current.is_queued) {
            // Its timeout starts with its permit.
            current.info.started = now;
        }
        if current.info.time_left(timeout, now) <= 0 {
            return Err(Lost::TimedOut);
        }
        current.info.called = now;
        Ok(current.info.clone())
    }

    /// Marks a flight as queued for a permit, from now on. Fails if it is no longer needed.
    pub(crate) fn queue(&mut self, flight: &FlightInfo) -> Result<(), Lost> {
        if !self.is_wanted(flight) {
            return Err(Lost::NeverCalled);
        }
        if self.machine.shutting_down {
            return Err(Lost::ShutDown);
        }
        let now = self.now;
        let current = self.machine.flights.current_mut(flight).ok_or(Lost::NeverCalled)?;
        current.is_queued = true;
        current.info.started = now;
        // It may take long until the flight saves its response, and calls leave the save to the flight.
        self.save_if_due();
        Ok(())
    }

    /// Whether the session would take the flight's response.
    pub(crate) fn is_wanted(&self, flight: &FlightInfo) -> bool {
        self.machine.flights.is_current(flight)
            && self.machine.epoch.is_same_sign_in(flight.epoch)
            && self.machine.grant.as_ref().is_some_and(|grant| grant.is_presented_by(flight))
    }

    /// What the session will hold once the flight has landed, and its generation. `None` if that is saved already.
    pub(super) fn response_to_save(&self, flight: &FlightInfo) -> Option<(Token, u64)> {
        let response = self.machine.flights.current.as_ref()?.response.clone()?;
        let response = flight.with_refresh_token(response);
        let refresh_token = response.refresh_secret().cloned();
        let generation = self.machine.epoch.generation;
        let current = self.machine.grant.as_ref()?.held.as_ref();
        if let Some(current) = current.filter(|_| self.machine.epoch != flight.epoch) {
            // A token was set in the meantime: it stays, but gets the successor.
            return (current.token.refresh_secret() != refresh_token.as_ref())
                .then(|| (current.token.with_refresh_secret(refresh_token), generation));
        }
        let Arrival { held, is_new, ineffective } = self.machine.arrival(flight, response, self.now, 0.0);
        let grant = self.machine.grant.as_ref()?;
        let backoff = self.machine.rules.delays.after(grant.backoff.failures.saturating_add(1), false, 0.5);
        if ineffective.is_some() && is_new && grant.prefers_current(&held, backoff, self.now) {
            let current = current?;
            return (current.token.refresh_secret() != refresh_token.as_ref())
                .then(|| (current.token.with_refresh_secret(refresh_token), generation));
        }
        let is_saved = current.is_some_and(|current| current.token.is_same_record(&held.token));
        (!is_saved).then(|| (held.token, generation + u64::from(is_new)))
    }
}
