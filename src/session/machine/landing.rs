//! How a flight ends: what its answer, its failure or its loss does to the session.

use std::sync::Arc;

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    refresh::{FailureKind, RefreshError},
    rt::{self, Nanos, Timestamp},
    token::{Secret, Token},
};

use super::{
    Effects, Flight, Last, State, Ticket, Trash,
    backoff::Span,
    held::Held,
    outcome::{Outcome, Verdict},
};

/// How a flight ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a flight, and most are answers")]
pub(crate) enum Landing {
    Answered(Token, SaveResult),
    Failed(RefreshError),
    Lost(Lost),
}

/// How a flight ended that brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its limit came.
    Limit,
    Panic,
    /// Its task was dropped.
    Gone,
    /// Its task was dropped before the refresher was called.
    NeverRan,
    /// There were no timers to run it by.
    NoTimer,
}

/// What became of the save of a flight's answer.
#[derive(Debug)]
pub(crate) enum SaveResult {
    NotTried,
    /// What the hook was given, and whether it took it.
    Tried(Token, bool),
}

// === impl State ===

impl State {
    /// A flight has ended.
    pub(crate) fn land(
        &mut self,
        ticket: &Ticket,
        landing: Landing,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) {
        self.settle(now);
        let Some(flight) = self.flight.take_if(|flight| flight.ticket.id == ticket.id) else {
            return self.land_late(ticket, landing, now, waiters, fx);
        };
        self.flights_ended += 1;
        self.saves.end_in_flight();
        fx.publish = true;
        let verdict = if flight.ticket.sign_in != self.sign_in {
            self.drop_of_another_sign_in(ticket, landing, fx)
        } else if flight.ticket.presented != self.refresh_token {
            self.drop_replaced(ticket, landing, now, waiters, fx)
        } else {
            match landing {
                Landing::Answered(token, save) => {
                    let verdict = self.accept(&flight.ticket, token, now, waiters, &save, fx);
                    self.settle_save(save, now);
                    verdict
                }
                Landing::Failed(mut error) => {
                    self.take_successor(ticket, &mut error, now, fx);
                    self.fail(&flight, error, now, waiters, fx)
                }
                Landing::Lost(lost) => self.lose(&flight, lost, now, waiters, fx),
            }
        };
        match &verdict {
            Verdict::Failed(error) if self.held.as_ref().is_some_and(|held| held.refused) => {
                self.forget_batch_failure(fx);
                self.batch_failure = Some((self.flights_ended, error.clone()));
            }
            _ => {}
        }
        fx.land.push((ticket.id, Arc::new(self.outcome(verdict, now))));
    }

    /// An answer that is still wanted.
    pub(super) fn accept(
        &mut self,
        ticket: &Ticket,
        token: Token,
        now: Timestamp,
        waiters: usize,
        save: &SaveResult,
        fx: &mut Effects,
    ) -> Verdict {
        match save {
            SaveResult::NotTried => {}
            SaveResult::Tried(_, true) => self.emit(EventKind::TokenSaved, fx),
            SaveResult::Tried(_, false) => self.emit(EventKind::TokenSaveFailed { error: None }, fx),
        }
        for notice in token.warnings() {
            self.emit(EventKind::Warning { warning: notice.clone() }, fx);
        }
        self.unknown = false;
        self.pace.unexplained = 0;
        // The verdict was for the refresh token that this answer has replaced.
        fx.trash.extend(self.ended.take().map(Trash::Error));
        self.remember(Last::Good, fx);
        let token = carried_over(token, ticket.presented.as_ref());
        self.take_refresh_token(ticket, token.refresh_secret().cloned());
        if self.generation != ticket.generation {
            // A token was set meanwhile: it stays.
            self.give_current_the_refresh_token();
            self.emit(EventKind::RefreshDiscarded, fx);
            return Verdict::Dropped;
        }
        let luck = self.luck();
        let mut held = Held::new(token, ticket.called, now, true, &self.rules, luck);
        let Some(why) = held.flaw(now, self.held.as_ref()) else {
            self.install(held, fx);
            self.begin_trial();
            let elapsed = rt::duration(now.since(ticket.started));
            self.emit(EventKind::Refreshed { elapsed, waiters }, fx);
            return Verdict::Renewed;
        };
        self.back_off(now, 0, None, None, now);
        self.remember(Last::Ineffective, fx);
        let lasts = self.pace.left(now).is_none_or(|left| held.left(now) > left);
        held.counted = true;
        let same = why == crate::event::Ineffective::Unchanged;
        let usable = self.held.as_ref().is_some_and(|current| current.is_usable_for_now(now));
        let renewed = match &mut self.held {
            Some(current) if same => {
                held.refused = current.refused;
                held.endless = !lasts;
                *current = held;
                self.pace.spoil_trial();
                false
            }
            Some(_) if usable && !lasts => {
                self.give_current_the_refresh_token();
                let cut = self.cut(now);
                self.pace.cut_short(cut);
                false
            }
            _ => {
                held.endless = !lasts;
                self.install(held, fx);
                self.pace.spoil_trial();
                true
            }
        };
        self.emit(EventKind::RefreshIneffective { reason: why, retry_at: self.retry_at(now) }, fx);
        if renewed {
            let elapsed = rt::duration(now.since(ticket.started));
            self.emit(EventKind::Refreshed { elapsed, waiters }, fx);
        }
        if same && self.held.as_ref().is_some_and(|held| held.refused) {
            Verdict::Same
        } else {
            Verdict::Renewed
        }
    }

    fn fail(
        &mut self,
        flight: &Flight,
        error: RefreshError,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) -> Verdict {
        if !error.is_unexplained() {
            self.pace.unexplained = 0;
        }
        let kind = match error.kind() {
            FailureKind::OutcomeUnknown => {
                return self.not_known(flight, ErrorKind::OutcomeUnknown, Some(error), now, waiters, fx);
            }
            FailureKind::GrantEnded => return self.end(error, fx),
            FailureKind::Transient => ErrorKind::Transient,
            FailureKind::Misconfigured => ErrorKind::Misconfigured,
        };
        self.fail_paced(flight, kind, Some(error), now, waiters, fx)
    }

    fn lose(
        &mut self,
        flight: &Flight,
        lost: Lost,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) -> Verdict {
        let kind = match lost {
            Lost::Limit => ErrorKind::OutcomeUnknown,
            Lost::Panic => ErrorKind::Panicked,
            Lost::Gone => ErrorKind::TaskDropped,
            Lost::NeverRan | Lost::NoTimer => {
                // Nothing was presented: it counts for nothing.
                self.unknown = flight.repeat;
                let kind =
                    if lost == Lost::NoTimer { ErrorKind::MissingRuntime } else { ErrorKind::TaskDropped };
                let error = Error::new(kind);
                self.tell_failure(&flight.ticket, &error, now, waiters, fx);
                return Verdict::Failed(error);
            }
        };
        self.not_known(flight, kind, None, now, waiters, fx)
    }

    /// It isn't known whether the refresh token is spent.
    fn not_known(
        &mut self,
        flight: &Flight,
        kind: ErrorKind,
        source: Option<RefreshError>,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) -> Verdict {
        if flight.repeat {
            return self.fail_paced(flight, kind, source, now, waiters, fx);
        }
        self.unknown = true;
        let error = Error::with_details(kind, None, source.map(|error| Arc::new(error) as _));
        self.remember(Last::Failed(error.clone()), fx);
        self.tell_failure(&flight.ticket, &error, now, waiters, fx);
        Verdict::Failed(error)
    }

    fn fail_paced(
        &mut self,
        flight: &Flight,
        kind: ErrorKind,
        source: Option<RefreshError>,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) -> Verdict {
        self.pace.spoil_trial();
        let cut = self.cut(now);
        let retry_after = source.as_ref().and_then(RefreshError::retry_after).map(rt::nanos);
        let least = self.pace.least_delay(source.as_ref().is_some_and(RefreshError::is_unexplained));
        self.back_off(now, least, retry_after, cut, now);
        let error = Error::with_details(kind, self.retry_at(now), source.map(|error| Arc::new(error) as _));
        self.remember(Last::Failed(error.clone()), fx);
        self.tell_failure(&flight.ticket, &error, now, waiters, fx);
        Verdict::Failed(error)
    }

    fn end(&mut self, source: RefreshError, fx: &mut Effects) -> Verdict {
        self.pace.spoil_trial();
        self.pace.failures = self.pace.failures.saturating_add(1);
        let error = Error::with_details(ErrorKind::GrantEnded, None, Some(Arc::new(source)));
        self.remember(Last::Failed(error.clone()), fx);
        fx.trash.extend(self.ended.replace(error.clone()).map(Trash::Error));
        self.emit(EventKind::GrantEnded { error: error.clone() }, fx);
        Verdict::Failed(error)
    }

    /// What an answer brought that had nothing else of use.
    pub(super) fn take_successor(
        &mut self,
        ticket: &Ticket,
        error: &mut RefreshError,
        now: Timestamp,
        fx: &mut Effects,
    ) {
        let successor = error.take_successor().filter(|brought| Some(brought) != ticket.presented.as_ref());
        let Some(successor) = successor else { return };
        self.take_refresh_token(ticket, Some(successor));
        self.give_current_the_refresh_token();
        if let Some(held) = self.held.as_ref().filter(|_| self.rules.saves) {
            self.saves.mark(held.token.clone(), None);
            self.hand_over(now, false, fx);
        }
    }

    fn take_refresh_token(&mut self, ticket: &Ticket, brought: Option<Secret>) {
        if brought != ticket.presented {
            self.exchanged = ticket.presented.clone();
            self.refresh_token = brought;
        }
    }

    pub(super) fn give_current_the_refresh_token(&mut self) {
        if let Some(held) = &mut self.held {
            held.token.replace_refresh_token(self.refresh_token.clone());
        }
    }

    /// Marks what is to be saved again: a save that failed, or one of a token that is no longer the session's.
    fn settle_save(&mut self, save: SaveResult, now: Timestamp) {
        let (SaveResult::Tried(saved, ok), Some(held)) = (save, &self.held) else { return };
        let current = held.token.clone();
        let same = current.access_token() == saved.access_token()
            && current.refresh_secret() == saved.refresh_secret();
        if !ok {
            let luck = self.luck();
            self.saves.mark(current, Some((now, &self.rules.delays, luck)));
        } else if !same {
            self.saves.mark(current, None);
        }
    }

    fn outcome(&self, verdict: Verdict, now: Timestamp) -> Outcome {
        Outcome {
            sign_in: self.sign_in,
            generation: self.generation,
            token: self.lendable(now),
            usable: self.held.as_ref().is_some_and(|held| held.is_usable(now)),
            verdict,
        }
    }

    /// The end of a valid token, at which a backoff that begins now is over.
    fn cut(&self, now: Timestamp) -> Option<Span> {
        let held = self.held.as_ref().filter(|held| held.is_usable_for_now(now))?;
        Some(Span { from: held.received, length: held.end? })
    }

    fn retry_at(&self, now: Timestamp) -> Option<std::time::SystemTime> {
        let left: Nanos = self.pace.left(now)?;
        Some(rt::system_time(now.wall.saturating_add(left)))
    }

    pub(super) fn tell_failure(
        &self,
        ticket: &Ticket,
        error: &Error,
        now: Timestamp,
        waiters: usize,
        fx: &mut Effects,
    ) {
        let elapsed = rt::duration(now.since(ticket.started));
        self.emit(EventKind::RefreshFailed { error: error.clone(), elapsed, waiters }, fx);
    }
}

pub(super) fn carried_over(mut token: Token, presented: Option<&Secret>) -> Token {
    token.inherit_refresh_token(presented);
    token
}
