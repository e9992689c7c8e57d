//! What a flight does while it is under way: repeat, save, or be given up.

use crate::{
    event::EventKind,
    refresh::{FailureKind, RefreshContext, RefreshError, RefreshReason},
    rt::Timestamp,
    token::Token,
};

use super::{
    Effects, State, Ticket,
    landing::{Landing, Lost, SaveResult, carried_over},
};

/// What a flight does with the refresher's word.
#[derive(Debug)]
pub(crate) enum After {
    /// Call the refresher once more.
    Repeat(Ticket, RefreshContext),
    /// Hand this to the save hook, then land.
    Save(Token),
    /// Another save runs: ask again at its end.
    WaitForSave,
    Land,
}

// === impl State ===

impl State {
    /// The refresher of a flight has failed; it may be called once more in the same flight.
    pub(crate) fn failed(
        &mut self,
        ticket: &Ticket,
        error: &RefreshError,
        now: Timestamp,
        fx: &mut Effects,
    ) -> After {
        let ours = self.is_ours(ticket);
        let past_limit = self.is_past_limit(now);
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.ticket.id == ticket.id) else {
            return After::Land;
        };
        if error.kind() != FailureKind::OutcomeUnknown || flight.repeat || past_limit || !ours {
            return After::Land;
        }
        flight.repeat = true;
        flight.ticket.called = now;
        let ticket = flight.ticket.clone();
        self.emit(EventKind::RefreshRepeated, fx);
        After::Repeat(ticket, self.context(RefreshReason::Repeated))
    }

    /// The refresher of a flight has answered; the answer may have to be saved before anybody gets it.
    pub(crate) fn answered(&mut self, ticket: &Ticket, token: &Token, now: Timestamp) -> After {
        let ours = self.is_ours(ticket);
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.ticket.id == ticket.id) else {
            return After::Land;
        };
        flight.answer = Some(token.clone());
        if !ours || !self.rules.saves {
            return After::Land;
        }
        self.saves.give_up_overdue(now, self.rules.save_timeout, &self.rules.delays);
        if self.saves.is_running() {
            return After::WaitForSave;
        }
        self.saves.begin_in_flight();
        After::Save(self.to_be_saved(ticket, token))
    }

    /// Gives up a flight that is past its limit and has not ended by itself.
    pub(super) fn abandon(&mut self, now: Timestamp, fx: &mut Effects) {
        let Some(flight) = &mut self.flight else { return };
        let ticket = flight.ticket.clone();
        let landing = match flight.answer.take() {
            Some(token) if self.rules.saves => {
                let unsaved = SaveResult::Tried(token.clone(), false);
                Landing::Answered(token, unsaved)
            }
            Some(token) => Landing::Answered(token, SaveResult::NotTried),
            None => Landing::Lost(Lost::Limit),
        };
        self.land(&ticket, landing, now, 0, fx);
    }

    fn is_ours(&self, ticket: &Ticket) -> bool {
        ticket.sign_in == self.sign_in && ticket.presented == self.refresh_token
    }

    /// What the session will hold once this answer is in.
    fn to_be_saved(&self, ticket: &Ticket, token: &Token) -> Token {
        let mut answer = carried_over(token.clone(), ticket.presented.as_ref());
        let set_meanwhile = self.held.as_ref().filter(|_| self.generation != ticket.generation);
        match set_meanwhile {
            Some(current) => {
                let mut token = current.token.clone();
                token.replace_refresh_token(answer.refresh_secret().cloned());
                token
            }
            None => {
                answer.resolve_times(ticket.called);
                answer
            }
        }
    }
}
