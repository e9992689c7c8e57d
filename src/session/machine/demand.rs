//! What someone does who wants a token: use one, wait, or fail.

use std::mem;

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    refresh::{RefreshContext, RefreshReason},
    rt::{self, Timestamp},
    token::{AccessToken, Stamp},
};

use super::{Effects, Flight, Last, Phase, State, Ticket};

/// Who wants a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A request that was never sent, or `token()`.
    New,
    /// Someone whose token was refused.
    Refused(Stamp),
    /// `refresh()`.
    Asked,
}

/// Someone who waits for a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) flight: u64,
    pub(super) demand: Demand,
    pub(super) sign_in: u64,
    pub(super) generation: u64,
    /// At most the time that a new request waits after somebody else's rejection.
    pub(crate) brief: bool,
}

#[derive(Debug)]
pub(crate) enum Decision {
    Use(AccessToken),
    Wait(Wait),
    Fail(Error),
}

// === impl State ===

impl State {
    /// Decides what someone who wants a token does.
    ///
    /// `has_room`: one more may wait. `can_start`: there is a runtime.
    pub(crate) fn demand(
        &mut self,
        demand: Demand,
        now: Timestamp,
        has_room: bool,
        can_start: bool,
        fx: &mut Effects,
    ) -> Decision {
        self.settle(now);
        if self.signed_out {
            return Decision::Fail(Error::new(ErrorKind::SignedOut));
        }
        if let Demand::Refused(stamp) = demand {
            if stamp.sign_in != self.sign_in {
                return Decision::Fail(Error::new(ErrorKind::SignedOut));
            }
            self.mark(stamp.generation, now, fx);
        }
        if self.needs_slot(demand, now) && self.is_past_limit(now) {
            self.abandon(now, fx);
        }
        self.saves.give_up_overdue(now, self.rules.save_timeout, &self.rules.delays);
        let decision = self.decide(demand, now, has_room, can_start, fx);
        // While a flight runs nothing is handed over: it saves its own.
        if demand != Demand::Asked && can_start && self.flight.is_none() {
            self.hand_over(now, false, fx);
        }
        decision
    }

    fn decide(
        &mut self,
        demand: Demand,
        now: Timestamp,
        has_room: bool,
        can_start: bool,
        fx: &mut Effects,
    ) -> Decision {
        let refused = match (demand, self.phase(now)) {
            (Demand::New, Some(Phase::Fresh)) => return self.give(now),
            (Demand::New, Some(Phase::Stale)) => {
                if self.flight.is_none() {
                    // A stale token is good enough, whatever keeps its refresh from starting.
                    let _ = self.join_or_start(demand, now, can_start, fx);
                }
                return self.give(now);
            }
            (Demand::Refused(stamp), Some(Phase::Fresh | Phase::Stale))
                if self.generation > stamp.generation =>
            {
                return self.give(now);
            }
            (Demand::New, Some(Phase::Refused)) => self.lendable(now),
            _ => None,
        };
        let impatient = !matches!(self.last, Last::Good);
        let joined = self.join_or_start(demand, now, can_start, fx);
        if let Some(refused) = refused.clone().filter(|_| impatient || joined.is_err()) {
            return Decision::Use(refused);
        }
        if let Err(error) = joined {
            return Decision::Fail(error);
        }
        if !has_room {
            let error = Error::new(ErrorKind::Overloaded);
            return refused.map_or(Decision::Fail(error), Decision::Use);
        }
        Decision::Wait(Wait {
            flight: self.flights_begun,
            demand,
            sign_in: self.sign_in,
            generation: self.generation,
            brief: refused.is_some(),
        })
    }

    /// A waiter of a flight that has ended asks again.
    pub(crate) fn demand_anew(
        &mut self,
        wait: &Wait,
        now: Timestamp,
        can_start: bool,
        fx: &mut Effects,
    ) -> Decision {
        if wait.sign_in != self.sign_in {
            return Decision::Fail(Error::new(ErrorKind::SignedOut));
        }
        self.demand(wait.demand, now, true, can_start, fx)
    }

    /// A new request has waited long enough for the refresh that follows somebody else's rejection.
    ///
    /// None: there is nothing to send it with, it waits on.
    pub(crate) fn brief_wait_over(&mut self, wait: &Wait, now: Timestamp) -> Option<Decision> {
        self.settle(now);
        if wait.sign_in != self.sign_in {
            return Some(Decision::Fail(Error::new(ErrorKind::SignedOut)));
        }
        self.lendable(now).map(Decision::Use)
    }

    /// A waiter's patience is over.
    pub(crate) fn patience_over(&mut self, wait: &Wait, now: Timestamp) -> Decision {
        self.settle(now);
        if wait.sign_in != self.sign_in {
            return Decision::Fail(Error::new(ErrorKind::SignedOut));
        }
        let token = match wait.demand {
            Demand::New => self.lendable(now),
            Demand::Refused(stamp) => self.usable_after(stamp.generation, now),
            Demand::Asked => self.usable_after(wait.generation, now),
        };
        token.map_or(Decision::Fail(Error::new(ErrorKind::Timeout)), Decision::Use)
    }

    /// What is usable now, as a new request would get it at once. Starts nothing.
    pub(crate) fn peek(&mut self, now: Timestamp, can_start: bool) -> Option<AccessToken> {
        self.settle(now);
        match self.phase(now)? {
            Phase::Fresh | Phase::Stale => self.issue(),
            Phase::Refused if self.would_wait(now, can_start) => None,
            Phase::Refused => self.lendable(now),
            Phase::Expired => None,
        }
    }

    fn give(&self, now: Timestamp) -> Decision {
        debug_assert!(self.held.as_ref().is_some_and(|held| held.is_usable(now)));
        self.issue().map_or_else(|| Decision::Fail(Error::new(ErrorKind::SignedOut)), Decision::Use)
    }

    /// What a new request can be sent with: a usable token, or a refused one that hasn't expired.
    pub(super) fn lendable(&self, now: Timestamp) -> Option<AccessToken> {
        let held = self.held.as_ref()?;
        match held.phase(now) {
            Phase::Fresh | Phase::Stale => self.issue(),
            // Without a known end it would be used for ever, though no successor can come.
            Phase::Refused if self.ended.is_none() || held.has_known_end() => self.issue(),
            Phase::Refused | Phase::Expired => None,
        }
    }

    fn usable_after(&self, generation: u64, now: Timestamp) -> Option<AccessToken> {
        let usable = self.held.as_ref().is_some_and(|held| held.is_usable(now));
        self.issue().filter(|_| usable && self.generation > generation)
    }

    /// Whether a new request would wait, though there is a refused token that hasn't expired.
    fn would_wait(&self, now: Timestamp, can_start: bool) -> bool {
        let startable =
            can_start && self.ended.is_none() && !self.shutting_down && self.pace.left(now).is_none();
        matches!(self.last, Last::Good) && (self.flight.is_some() || startable)
    }

    fn needs_slot(&self, demand: Demand, now: Timestamp) -> bool {
        !matches!(
            (demand, self.phase(now)),
            (Demand::New, Some(Phase::Fresh)) | (Demand::Refused(_), Some(Phase::Fresh | Phase::Stale))
        )
    }

    /// A flight to wait for, or why there is none.
    fn join_or_start(
        &mut self,
        demand: Demand,
        now: Timestamp,
        can_start: bool,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        if self.flight.is_some() {
            return Ok(());
        }
        if let (Demand::Refused(stamp), Some((flight, error))) = (demand, &self.batch_failure) {
            if stamp.flights_ended < *flight && stamp.generation == self.generation {
                return Err(error.clone());
            }
        }
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.shutting_down {
            return Err(Error::new(ErrorKind::ShutDown));
        }
        if let Some(left) = self.pace.left(now) {
            let retry_at = Some(rt::system_time(now.wall.saturating_add(left)));
            return Err(match &self.last {
                Last::Failed(error) => error.at(retry_at),
                _ => Error::with_details(ErrorKind::Backoff, retry_at, None),
            });
        }
        if !can_start {
            return Err(Error::new(ErrorKind::MissingRuntime));
        }
        let reason = match self.phase(now) {
            _ if self.unknown => RefreshReason::Repeated,
            _ if demand == Demand::Asked => RefreshReason::Requested,
            None => RefreshReason::Initial,
            Some(_) if self.held.as_ref().is_some_and(|held| held.refused) => RefreshReason::Rejected,
            Some(Phase::Stale) => RefreshReason::Stale,
            Some(_) => RefreshReason::Expired,
        };
        self.start(reason, now, fx);
        Ok(())
    }

    fn start(&mut self, reason: RefreshReason, now: Timestamp, fx: &mut Effects) {
        self.flights_begun += 1;
        let ticket = Ticket {
            id: self.flights_begun,
            sign_in: self.sign_in,
            generation: self.generation,
            presented: self.refresh_token.clone(),
            started: now,
            called: now,
        };
        let repeat = mem::take(&mut self.unknown);
        self.flight = Some(Flight { ticket: ticket.clone(), repeat, answer: None });
        fx.start = Some((ticket, self.context(reason)));
        fx.publish = true;
        self.emit(EventKind::RefreshStarted { reason }, fx);
    }

    pub(super) fn context(&self, reason: RefreshReason) -> RefreshContext {
        let token = self.held.as_ref().map(|held| held.token.clone());
        let challenges = self.challenges.clone();
        RefreshContext::new(token, self.refresh_token.clone(), reason, challenges, self.pace.failures)
    }
}
