//! How flights and saves end. A flight's response is saved before the flight lands, so the end of one may be that
//! of the other.

use std::sync::Arc;

#[cfg(feature = "metrics")]
use crate::metrics::EndedRefresh;
use crate::{error::Error, event::HookError, rt::Timestamp, token::Token};

use super::{
    flight::{Flight, FlightEnd, FlightInfo, Lost, Saving},
    outcome::FlightResult,
    saves::FlightSave,
    turn::Turn,
};

// === impl Turn ===

impl Turn<'_> {
    /// The refresher of a flight returned a token.
    pub(crate) fn respond(&mut self, flight: &FlightInfo, token: Token) {
        self.advance();
        match self.machine.flights.current_mut(flight) {
            Some(current) => current.response = Some(token),
            None => self.respond_late(flight, token),
        }
    }

    /// Saves the response of a flight before it is used, or lands the flight if there is nothing to save.
    pub(crate) fn save_before_landing(&mut self, flight: &FlightInfo) -> Saving {
        self.give_up_overdue_save();
        if self.machine.persistence.saves() && self.is_wanted(flight) {
            if self.machine.saves.running().is_some() {
                return Saving::After;
            }
            if let Some((token, generation)) = self.response_to_save(flight) {
                return self.save_response(flight, token, generation);
            }
        }
        self.land(flight, FlightEnd::Responded);
        Saving::Done
    }

    /// Handles the end of a flight.
    pub(crate) fn land(&mut self, info: &FlightInfo, end: FlightEnd) {
        self.advance();
        match self.machine.flights.current.take_if(|flight| flight.info.id == info.id) {
            Some(flight) => self.land_flight(&flight, end, None),
            None => self.land_late(info, end),
        }
    }

    /// `saved`: what the hook was called with for its response, if it was.
    fn land_flight(&mut self, flight: &Flight, end: FlightEnd, saved: Option<Token>) {
        self.machine.flights.ended += 1;
        self.effects.publish = true;
        let is_presented =
            self.machine.grant.as_ref().is_some_and(|grant| grant.is_presented_by(&flight.info));
        let result = if !self.machine.epoch.is_same_sign_in(flight.info.epoch) {
            self.land_foreign(flight, end)
        } else if !is_presented {
            self.land_replaced(flight, end)
        } else {
            self.land_current(flight, end, saved)
        };
        #[cfg(feature = "metrics")]
        self.effects.ended_refreshes.push(self.ended_refresh(flight, &result));
        if let FlightResult::Failed(error) = &result {
            self.remember_batch_failure(error);
        }
        let outcome = self.outcome(result);
        self.effects.ended.push((flight.info.id, Arc::new(outcome)));
        // A change during the flight waited for the save of its response.
        self.save_new_state();
    }

    #[cfg(feature = "metrics")]
    fn ended_refresh(&self, flight: &Flight, result: &FlightResult) -> EndedRefresh {
        let is_adopted = flight.response.as_ref().is_some_and(Token::is_adopted);
        let is_failing = || self.machine.grant.as_ref().is_some_and(|grant| grant.failing.is_some());
        let outcome = match result {
            FlightResult::Failed(error) if error.is_grant_ended() || error.is_signed_out() => "grant_ended",
            FlightResult::Failed(_) => "failed",
            FlightResult::Discarded => "discarded",
            FlightResult::Unchanged => "ineffective",
            FlightResult::Refreshed if is_failing() => "ineffective",
            FlightResult::Refreshed if is_adopted => "adopted",
            FlightResult::Refreshed => "refreshed",
        };
        let elapsed = self.now.elapsed_since(flight.info.started);
        EndedRefresh { reason: flight.info.reason, outcome, elapsed }
    }

    /// Handles the end of a save.
    pub(crate) fn save_ended(&mut self, id: u64, result: Result<(), HookError>) {
        self.end_save_at(id, result, self.now);
    }

    fn end_save_at(&mut self, id: u64, result: Result<(), HookError>, ended_at: Timestamp) {
        if let Some(FlightSave { flight, token }) = self.end_save(id, result, ended_at) {
            self.advance();
            if let Some(flight) = self.machine.flights.current.take_if(|current| current.info.id == flight) {
                self.land_flight(&flight, FlightEnd::Responded, Some(token));
            }
        }
        self.save_waiting_response();
        self.save_new_state();
    }

    /// Saves a response that waited for another save. Its flight's task may no longer be driven.
    fn save_waiting_response(&mut self) {
        let flight = self.machine.flights.current.as_ref().filter(|flight| flight.response.is_some());
        let Some(flight) = flight.map(|flight| flight.info.clone()) else { return };
        if let Saving::Now(order) = self.save_before_landing(&flight) {
            self.effects.save = Some(order);
            self.effects.publish = true;
        }
    }

    /// Gives up a save that is past its timeout but hasn't ended by itself: its runtime may no longer be
    /// driven.
    pub(super) fn give_up_overdue_save(&mut self) {
        let timeout = self.machine.rules.save_timeout;
        let Some(save) = self.machine.saves.running() else { return };
        if save.time_left(timeout, self.now) <= 0 {
            let (id, deadline) = (save.id, save.deadline(timeout));
            self.end_save_at(id, Err(HookError::TIMED_OUT), deadline);
        }
    }

    /// Abandons a flight that is in the way of a demand: one past its timeout that hasn't ended by itself,
    /// as its runtime may no longer be driven, or one of another sign-in.
    pub(super) fn abandon_unwanted_flight(&mut self) {
        let timeout = self.machine.rules.refresh_timeout;
        let Some(flight) = &self.machine.flights.current else { return };
        let is_foreign = !self.machine.epoch.is_same_sign_in(flight.info.epoch);
        let is_in_the_way = is_foreign && !self.machine.shutting_down;
        if !is_in_the_way && flight.info.time_left(timeout, self.now) > 0 {
            return;
        }
        let lost = if flight.is_queued { Lost::StillQueued } else { Lost::TimedOut };
        let (info, has_response) = (flight.info.clone(), flight.response.is_some());
        let save = self.machine.saves.running().filter(|save| save.is_of(info.id)).map(|save| save.id);
        match save.filter(|_| !is_foreign) {
            Some(save) => self.end_save_at(save, Err(HookError::TIMED_OUT), self.now),
            None if has_response => self.land(&info, FlightEnd::Responded),
            None => self.land(&info, FlightEnd::Lost(lost)),
        }
    }

    /// Late members of the batch whose token was rejected share this error.
    fn remember_batch_failure(&mut self, error: &Error) {
        self.forget_batch_failure();
        let flight = self.machine.flights.ended;
        if let Some(grant) = self.machine.grant.as_mut().filter(|grant| grant.is_rejected()) {
            grant.batch_failure = Some((flight, error.clone()));
        }
    }
}
