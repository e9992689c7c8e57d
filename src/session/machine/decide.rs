//! Deciding a demand: use a token, wait, or fail.

use std::mem;

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    refresh::RefreshReason,
    rt::{Nanos, Timestamp},
    token::{AccessToken, Epoch},
};

use super::{
    demand::{Decision, Demand, Wait, WaitLimits, WaitStage},
    grant::Grant,
    held::Phase,
    turn::{Machine, Turn},
};

/// Whether there is a flight to wait for.
enum Joined {
    Flight,
    /// None before the backoff ends, in this time.
    Backoff(Nanos, Error),
    None(Error),
}

// === impl Turn ===

impl Turn<'_> {
    /// The arms are the cells of the first table in [`machine`](super).
    pub(super) fn decide(
        &mut self,
        demand: Demand,
        limits: &WaitLimits,
        can_start: bool,
    ) -> Result<Decision, Error> {
        let (now, id) = (self.now, self.machine.token_id());
        let signed_out = || Error::new(ErrorKind::SignedOut);
        let grant = self.machine.grant.as_ref().ok_or_else(signed_out)?;
        let use_current = |grant: &Grant| grant.access_token(id).map(Decision::Use).ok_or_else(signed_out);
        // A token for a caller that needn't wait.
        let spare = match (demand, grant.phase(now)) {
            (Demand::New, Some(Phase::Fresh | Phase::Stale))
                if grant.is_too_short_for(limits.min_lifetime, now) =>
            {
                grant.access_token(id)
            }
            (Demand::New, Some(Phase::Fresh)) => return use_current(grant),
            (Demand::New, Some(Phase::Stale)) => {
                let token = use_current(grant);
                if self.machine.flights.current.is_none() {
                    // The stale token is used even if its refresh can't start.
                    let _ = self.join_or_start(demand, can_start);
                }
                return token;
            }
            // A newer one: the rejected one is marked.
            (Demand::Rejected(_), Some(Phase::Fresh | Phase::Stale)) => return use_current(grant),
            (Demand::New, Some(Phase::Rejected)) => grant.sendable(now, id),
            _ => None,
        };
        let is_rejected = grant.is_rejected();
        let skips_wait = is_rejected && grant.is_unlikely_to_recover();
        let has_room = limits.max_waiters.is_none_or(|max| self.waiters < max);
        let epoch = self.machine.epoch;
        let wait = |flight, stage| Ok(Decision::Wait(Wait { flight, demand, epoch, stage }));
        match (spare, self.join_or_start(demand, can_start)) {
            (Some(spare), Joined::Flight) if skips_wait || !has_room => Ok(Decision::Use(spare)),
            (Some(_), Joined::Flight) if is_rejected => wait(self.machine.flights.started, WaitStage::Short),
            (None, Joined::Flight) if !has_room => Err(Error::new(ErrorKind::Overloaded)),
            (_, Joined::Flight) => wait(self.machine.flights.started, WaitStage::Full),
            (Some(spare), _) => Ok(Decision::Use(spare)),
            (None, Joined::Backoff(left, _)) if self.waits_through(left, demand, limits) => match has_room {
                true => wait(self.machine.flights.started + 1, WaitStage::Backoff(left)),
                false => Err(Error::new(ErrorKind::Overloaded)),
            },
            (None, Joined::Backoff(_, error) | Joined::None(error)) => Err(error),
        }
    }

    fn waits_through(&self, backoff: Nanos, demand: Demand, limits: &WaitLimits) -> bool {
        self.machine.rules.wait_through_backoff && demand != Demand::Requested && backoff < limits.timeout
    }

    /// Joins the flight or starts one, or returns why there is none.
    fn join_or_start(&mut self, demand: Demand, can_start: bool) -> Joined {
        // During a shutdown, a flight of another sign-in may still be running.
        let epoch = self.machine.epoch;
        if self
            .machine
            .flights
            .current
            .as_ref()
            .is_some_and(|flight| flight.info.epoch.is_same_sign_in(epoch))
        {
            return Joined::Flight;
        }
        let Some(grant) = &mut self.machine.grant else {
            return Joined::None(Error::new(ErrorKind::SignedOut));
        };
        if let (Demand::Rejected(id), Some((flight, error))) = (demand, &grant.batch_failure) {
            if id.flights_ended < *flight && id.epoch == self.machine.epoch {
                return Joined::None(error.clone());
            }
        }
        let is_shared = self.machine.persistence.is_shared();
        if let Some(error) = grant.ended.as_ref().filter(|_| !is_shared) {
            return Joined::None(error.clone());
        }
        if self.machine.shutting_down {
            return Joined::None(Error::new(ErrorKind::ShutDown));
        }
        if let Some(left) = grant.backoff.time_left(self.now) {
            // Another process may sign in, so it is looked for at the pace of the backoff.
            if let Some(error) = &grant.ended {
                return Joined::None(error.clone());
            }
            let retry_at = grant.retry_at(self.now);
            let error = match grant.failing.as_ref().and_then(|failing| failing.error.as_ref()) {
                Some(error) => error.at(retry_at),
                None => Error::with_details(ErrorKind::Backoff, retry_at, None),
            };
            return Joined::Backoff(left, error);
        }
        if !can_start {
            return Joined::None(Error::new(ErrorKind::MissingRuntime));
        }
        let reason = match grant.phase(self.now) {
            _ if grant.outcome_unknown => RefreshReason::Repeated,
            _ if demand == Demand::Requested => RefreshReason::Requested,
            None => RefreshReason::Initial,
            Some(_) if grant.is_rejected() => RefreshReason::Rejected,
            // A fresh token is refreshed only for a caller's minimum lifetime.
            Some(Phase::Fresh | Phase::Stale) => RefreshReason::Stale,
            Some(_) => RefreshReason::Expired,
        };
        let repeat = mem::take(&mut grant.outcome_unknown);
        let presented = grant.refresh_token.clone();
        let cx = grant.context(reason, self.machine.rules.jitter);
        let cx = cx.after_reset(mem::take(&mut grant.was_reset));
        let info = self.machine.flights.start(self.machine.epoch, reason, presented, repeat, self.now);
        self.effects.start = Some(Box::new((info, cx)));
        self.effects.publish = true;
        self.emit(EventKind::RefreshStarted { reason });
        Joined::Flight
    }

    /// The short wait after another request's rejection is over. `None`: keep waiting, as there is no token
    /// to send.
    pub(crate) fn short_wait_over(&mut self, wait: &Wait) -> Option<Result<AccessToken, Error>> {
        self.advance();
        if let Err(error) = self.machine.check(wait.epoch) {
            return Some(Err(error));
        }
        let id = self.machine.token_id();
        self.machine.grant.as_ref()?.sendable(self.now, id).map(Ok)
    }

    /// Decides for a waiter whose timeout has elapsed.
    pub(crate) fn timed_out(&mut self, wait: &Wait) -> Result<AccessToken, Error> {
        self.advance();
        self.machine.check(wait.epoch)?;
        let (now, id) = (self.now, self.machine.token_id());
        let usable = |than: Epoch| {
            let grant = self.machine.grant.as_ref().filter(|_| id.epoch.is_newer_than(than))?;
            grant.usable(now, id)
        };
        let token = match wait.demand {
            Demand::New => self.machine.grant.as_ref().and_then(|grant| grant.sendable(now, id)),
            Demand::Rejected(rejected) => usable(rejected.epoch),
            Demand::Requested => usable(wait.epoch),
        };
        token.ok_or_else(|| Error::new(ErrorKind::Timeout))
    }

    /// The token that a new request would get immediately. Starts nothing.
    pub(crate) fn try_token(&mut self, can_start: bool) -> Option<AccessToken> {
        self.advance();
        let (now, id) = (self.now, self.machine.token_id());
        let grant = self.machine.grant.as_ref()?;
        match grant.phase(now)? {
            Phase::Fresh | Phase::Stale => grant.access_token(id),
            Phase::Rejected => {
                let may_start = can_start
                    && (grant.ended.is_none() || self.machine.persistence.is_shared())
                    && !self.machine.shutting_down
                    && grant.backoff.time_left(now).is_none();
                let would_wait =
                    !grant.is_unlikely_to_recover() && (self.machine.flights.current.is_some() || may_start);
                if would_wait { None } else { grant.sendable(now, id) }
            }
            Phase::Expired => None,
        }
    }
}

// === impl Machine ===

impl Machine {
    /// The time until a refresh is due and permitted. [`Nanos::MAX`]: not before something changes.
    pub(crate) fn time_until_refresh(&self, now: Timestamp) -> Nanos {
        let Some(grant) = &self.grant else { return Nanos::MAX };
        if let Some(flight) = &self.flights.current {
            // After that, a demand abandons the flight.
            return flight.info.time_left(self.rules.refresh_timeout, now);
        }
        if self.shutting_down || grant.ended.is_some() && !self.persistence.is_shared() {
            return Nanos::MAX;
        }
        let due = grant.held.as_ref().map_or(0, |held| match held.phase(now) {
            Phase::Fresh => held.time_until_stale(now),
            Phase::Stale | Phase::Rejected | Phase::Expired => 0,
        });
        due.max(grant.backoff.time_left(now).unwrap_or(0))
    }

    /// Whether a demand can't be met with the current token.
    pub(super) fn needs_refresh(&self, demand: Demand, limits: &WaitLimits, now: Timestamp) -> bool {
        let Some(grant) = &self.grant else { return false };
        match (demand, grant.phase(now)) {
            (Demand::New, Some(Phase::Fresh)) => grant.is_too_short_for(limits.min_lifetime, now),
            (Demand::Rejected(_), Some(Phase::Fresh | Phase::Stale)) => false,
            _ => true,
        }
    }
}
