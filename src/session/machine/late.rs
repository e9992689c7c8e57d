//! Outcomes that came too late, or that are another credential's.

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    rt::Timestamp,
};

use super::{
    Effects, Flight, State, Ticket, Trash,
    landing::{Landing, SaveResult, carried_over},
    outcome::Verdict,
};

// === impl State ===

impl State {
    /// The user signed out, or in as another, while the flight was under way.
    pub(super) fn drop_of_another_sign_in(
        &mut self,
        ticket: &Ticket,
        landing: Landing,
        fx: &mut Effects,
    ) -> Verdict {
        match landing {
            Landing::Answered(token, save) => {
                self.repair_store(&save);
                self.revoking += 1;
                fx.revoke.push(carried_over(token, ticket.presented.as_ref()));
            }
            Landing::Failed(error) => fx.trash.push(Trash::Refresh(error)),
            Landing::Lost(_) => {}
        }
        self.emit(EventKind::RefreshDiscarded, fx);
        Verdict::Dropped
    }

    /// Another refresh token was set, or came late, while the flight was under way.
    pub(super) fn drop_replaced(
        &mut self,
        ticket: &Ticket,
        landing: Landing,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) -> Verdict {
        match landing {
            Landing::Answered(token, save) => {
                if token.refresh_secret().is_some_and(|brought| Some(brought) != ticket.presented.as_ref()) {
                    self.exchanged = ticket.presented.clone();
                }
                self.emit(EventKind::RefreshDiscarded, fx);
                self.repair_store(&save);
            }
            Landing::Failed(error) => {
                if error.has_successor() {
                    self.exchanged = ticket.presented.clone();
                }
                fx.trash.push(Trash::Refresh(error));
                self.emit(EventKind::RefreshDiscarded, fx);
            }
            Landing::Lost(_) => {
                self.tell_failure(ticket, &Error::new(ErrorKind::OutcomeUnknown), now, waiters, fx)
            }
        }
        Verdict::Dropped
    }

    /// What an abandoned flight brings after all.
    pub(super) fn land_late(
        &mut self,
        ticket: &Ticket,
        landing: Landing,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) {
        let token = match landing {
            Landing::Answered(token, save) => {
                // Its hook may have written after that of a later token.
                self.repair_store(&save);
                fx.publish = true;
                token
            }
            Landing::Failed(mut error) => {
                let is_ours = ticket.sign_in == self.sign_in && ticket.presented == self.refresh_token;
                if is_ours && !self.flight.as_ref().is_some_and(Flight::has_brought_a_successor) {
                    self.take_successor(ticket, &mut error, now, fx);
                    fx.publish = true;
                }
                return fx.trash.push(Trash::Refresh(error));
            }
            Landing::Lost(_) => return,
        };
        if ticket.sign_in != self.sign_in {
            self.drop_of_another_sign_in(ticket, Landing::Answered(token, SaveResult::NotTried), fx);
            return;
        }
        let brings_successor =
            token.refresh_secret().is_some_and(|brought| Some(brought) != ticket.presented.as_ref());
        let arrived_first = self.flight.as_ref().is_some_and(Flight::has_brought_a_successor);
        let superseded = self.generation != ticket.generation;
        if ticket.presented != self.refresh_token || arrived_first || superseded && !brings_successor {
            self.emit(EventKind::RefreshDiscarded, fx);
            return;
        }
        fx.publish = true;
        self.accept(ticket, token, now, waiters, &SaveResult::NotTried, fx);
        if let Some(held) = self.held.as_ref().filter(|_| self.rules.saves) {
            self.saves.mark(held.token.clone(), None);
            self.hand_over(now, false, fx);
        }
    }

    /// A hook wrote a token that is perhaps no longer the session's: the session's own is to be saved after it.
    fn repair_store(&mut self, save: &SaveResult) {
        if let (SaveResult::Tried(saved, _), Some(held), false) = (save, &self.held, self.saves.is_pending())
        {
            if held.token.refresh_secret() != saved.refresh_secret()
                || held.token.access_token() != saved.access_token()
            {
                self.saves.mark(held.token.clone(), None);
            }
        }
    }
}
