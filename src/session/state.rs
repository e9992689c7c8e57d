//! The rules of a session as a pure state machine: (state, event, now) to (state, effects).
//!
//! It reads no clock, spawns nothing, waits for nothing. The shell around it ([`core`](super::core)) holds it under a
//! lock, tells it what happened, and carries out the [`Effects`].

mod held;
mod landing;
mod pace;
mod saves;
mod status;

use std::{mem, sync::Arc};

use crate::{
    challenge::Challenges,
    clock::{Nanos, Timestamp},
    error::{Error, Kind},
    event::{Event, EventKind},
    refresh::{RefreshContext, RefreshReason},
    token::{AccessToken, Secret, Stamp, Token},
};

use held::Held;
use pace::{Pace, Span};
use saves::Saves;

pub(crate) use held::Phase;
pub(crate) use landing::{After, Landing, Lost, SaveResult};
pub(crate) use pace::Delays;
pub(crate) use saves::SaveOrder;
pub use status::Status;

/// What the user set.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) early: bool,
    pub(crate) window: Option<Nanos>,
    pub(crate) margin: Option<Nanos>,
    pub(crate) jitter: bool,
    pub(crate) limit: Nanos,
    pub(crate) delays: Delays,
    /// There is a save hook.
    pub(crate) saves: bool,
}

pub(crate) struct State {
    rules: Rules,
    rng: fastrand::Rng,
    sign_in: u64,
    generation: u64,
    flights_begun: u64,
    flights_ended: u64,
    signed_out: bool,
    shutting_down: bool,
    held: Option<Held>,
    refresh_token: Option<Secret>,
    /// The refresh token that was exchanged last, and has a successor.
    exchanged: Option<Secret>,
    flight: Option<Flight>,
    /// The outcome of the last exchange isn't known: the next flight is its repeat.
    unknown: bool,
    ended: Option<Error>,
    last: Last,
    /// A flight failed after the current generation was refused: its number, and its error.
    batch_failure: Option<(u64, Error)>,
    /// What the server said when it refused the current generation.
    challenges: Challenges,
    pace: Pace,
    saves: Saves,
    revoking: usize,
}

/// One refresh that runs.
struct Flight {
    ticket: Ticket,
    /// It is a repeat, or has repeated in itself: another unknown outcome is the second.
    repeat: bool,
    /// The answer, while it is being saved.
    answer: Option<Token>,
}

/// What a flight knows of its beginning; enough to judge its answer, however late.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) id: u64,
    sign_in: u64,
    generation: u64,
    presented: Option<Secret>,
    started: Timestamp,
    /// When the refresher was called last: a new token's life counts from here.
    called: Timestamp,
}

/// How the refresh ended that ended last for this sign-in.
#[derive(Clone, Debug, Default)]
enum Last {
    #[default]
    Good,
    /// It worked, and its token was of no use.
    Useless,
    Failed(Error),
}

/// Who wants a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A request that was never sent, or `token()`.
    New,
    /// Someone whose token was refused.
    Refused(Stamp),
    /// `refresh_now()`.
    Asked,
}

/// Someone who waits for a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) flight: u64,
    demand: Demand,
    sign_in: u64,
    generation: u64,
    /// At most the time that a new request waits after somebody else's rejection.
    pub(crate) brief: bool,
}

#[derive(Debug)]
pub(crate) enum Decision {
    Use(AccessToken),
    Wait(Wait),
    Fail(Error),
}

/// What a flight's waiters are told at its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    sign_in: u64,
    generation: u64,
    /// What a new request gets, if anything: the usable token, or a refused one that hasn't expired.
    token: Option<AccessToken>,
    usable: bool,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    Renewed,
    Same,
    Failed(Error),
    /// The result wasn't wanted any more.
    Dropped,
}

/// What a waiter does at its flight's end.
#[derive(Debug)]
pub(crate) enum Resume {
    Use(AccessToken),
    Fail(Error),
    /// Ask again, with the patience that is left.
    Anew,
}

/// What the shell has to do once the lock is free.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<Event>,
    pub(crate) land: Vec<(u64, Arc<Outcome>)>,
    pub(crate) start: Option<(Ticket, RefreshContext)>,
    pub(crate) save: Option<SaveOrder>,
    pub(crate) revoke: Vec<Token>,
    /// What fast callers see has changed.
    pub(crate) publish: bool,
    /// Errors of the user's, to be dropped outside the lock.
    trash: Vec<Error>,
}

/// What fast callers may rely on without asking again.
pub(crate) struct Quiet {
    pub(crate) token: AccessToken,
    pub(crate) length: Nanos,
    /// Inside the refresher it is an error to use it.
    pub(crate) stale: bool,
}

// === impl State ===

impl State {
    pub(crate) fn new(rules: Rules, seed: Option<u64>) -> Self {
        Self {
            rules,
            rng: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            sign_in: 0,
            generation: 0,
            flights_begun: 0,
            flights_ended: 0,
            signed_out: false,
            shutting_down: false,
            held: None,
            refresh_token: None,
            exchanged: None,
            flight: None,
            unknown: false,
            ended: None,
            last: Last::Good,
            batch_failure: None,
            challenges: Challenges::default(),
            pace: Pace::default(),
            saves: Saves::default(),
            revoking: 0,
        }
    }

    /// Gives a new session its token.
    pub(crate) fn build_in(&mut self, token: Token, now: Timestamp) {
        self.refresh_token = token.refresh_secret().cloned();
        self.hold(token, now, now, false);
    }

    pub(crate) fn build_in_refresh_token(&mut self, refresh_token: Secret) {
        self.refresh_token = Some(refresh_token);
    }

    pub(crate) fn build_signed_out(&mut self) {
        self.signed_out = true;
    }

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
            return Decision::Fail(Error::new(Kind::SignedOut));
        }
        if let Demand::Refused(stamp) = demand {
            if stamp.sign_in != self.sign_in {
                return Decision::Fail(Error::new(Kind::SignedOut));
            }
            self.mark(stamp.generation, now, fx);
        }
        if self.needs_slot(demand, now) && self.is_past_limit(now) {
            self.abandon(now, fx);
        }
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
            let error = Error::new(Kind::TooManyWaiting);
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
            return Decision::Fail(Error::new(Kind::SignedOut));
        }
        self.demand(wait.demand, now, true, can_start, fx)
    }

    /// A new request has waited long enough for the refresh that follows somebody else's rejection.
    ///
    /// None: there is nothing to send it with, it waits on.
    pub(crate) fn brief_wait_over(&mut self, wait: &Wait, now: Timestamp) -> Option<Decision> {
        self.settle(now);
        if wait.sign_in != self.sign_in {
            return Some(Decision::Fail(Error::new(Kind::SignedOut)));
        }
        self.lendable(now).map(Decision::Use)
    }

    /// A waiter's patience is over.
    pub(crate) fn patience_over(&mut self, wait: &Wait, now: Timestamp) -> Decision {
        self.settle(now);
        if wait.sign_in != self.sign_in {
            return Decision::Fail(Error::new(Kind::SignedOut));
        }
        let token = match wait.demand {
            Demand::New => self.lendable(now),
            Demand::Refused(stamp) => self.usable_after(stamp.generation, now),
            Demand::Asked => self.usable_after(wait.generation, now),
        };
        token.map_or(Decision::Fail(Error::new(Kind::Patience)), Decision::Use)
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

    /// Marks a generation as refused by a server.
    pub(crate) fn mark(&mut self, generation: u64, now: Timestamp, fx: &mut Effects) {
        self.settle(now);
        let Some(held) = self.held.as_mut().filter(|held| !held.refused) else { return };
        if generation != self.generation {
            return;
        }
        held.refused = true;
        fx.publish = true;
        let on_trial = now.since(held.arrived) < held.trial();
        let counts = held.refreshed && !held.counted && on_trial;
        held.counted |= counts;
        let arrived = held.arrived;
        self.pace.spoil_trial();
        self.emit(EventKind::Refused, fx);
        if counts {
            self.back_off(arrived, None, None);
            self.remember(Last::Useless, fx);
        }
    }

    /// What a server said when it refused a token; told to the refresher while that token is the session's.
    pub(crate) fn note_challenges(&mut self, stamp: Stamp, challenges: Challenges) {
        if stamp.sign_in == self.sign_in && stamp.generation == self.generation {
            self.challenges = challenges;
        }
    }

    pub(crate) fn invalidate(&mut self, stamp: Stamp, now: Timestamp, fx: &mut Effects) {
        if stamp.sign_in == self.sign_in {
            self.mark(stamp.generation, now, fx);
        }
    }

    /// Ends the backoff that runs; the count of useless refreshes stays.
    pub(crate) fn retry_now(&mut self, now: Timestamp, fx: &mut Effects) {
        self.settle(now);
        self.pace.end_backoff();
        fx.publish = true;
    }

    /// A newer token of the same credential.
    pub(crate) fn set(&mut self, token: Token, now: Timestamp, fx: &mut Effects) -> Result<(), Error> {
        self.settle(now);
        if self.signed_out {
            return Err(Error::new(Kind::SignedOut));
        }
        let given = token.refresh_secret().cloned();
        let keeps = given.is_none() || given == self.refresh_token || given == self.exchanged;
        if keeps {
            let mut token = token;
            token.replace_refresh_token(self.refresh_token.clone());
            self.hold(token, now, now, false);
            if let Some(held) = &self.held {
                self.saves.replace(&held.token);
            }
        } else {
            self.refresh_token = given;
            self.unknown = false;
            self.saves.forget();
            self.hold(token, now, now, false);
        }
        self.begin_trial();
        fx.trash.extend(self.ended.take());
        fx.publish = true;
        self.emit(EventKind::Set, fx);
        Ok(())
    }

    /// Another credential.
    pub(crate) fn sign_in(&mut self, token: Token, now: Timestamp, fx: &mut Effects) {
        self.forget_credential(fx);
        self.signed_out = false;
        self.refresh_token = token.refresh_secret().cloned();
        self.hold(token, now, now, false);
        self.emit(EventKind::SignedIn, fx);
    }

    pub(crate) fn sign_out(&mut self, fx: &mut Effects) {
        self.forget_credential(fx);
        self.signed_out = true;
        self.emit(EventKind::SignedOut, fx);
    }

    /// From now on no flight begins.
    pub(crate) fn shut_down(&mut self, fx: &mut Effects) {
        self.shutting_down = true;
        fx.publish = true;
    }

    /// Hands over what is unsaved, without the delay; for a shutdown.
    pub(crate) fn save_now(&mut self, now: Timestamp, fx: &mut Effects) -> bool {
        self.hand_over(now, true, fx);
        fx.save.is_some()
    }

    /// A save outside a flight has ended.
    pub(crate) fn saved_again(&mut self, version: u64, ok: bool, now: Timestamp, fx: &mut Effects) {
        let luck = self.luck();
        self.saves.end_again(version, ok, now, &self.rules.delays, luck);
        fx.publish = true;
        self.emit(if ok { EventKind::Saved } else { EventKind::SaveFailed }, fx);
    }

    pub(crate) fn joined(&mut self, waiting: usize, fx: &mut Effects) {
        self.emit(EventKind::Joined { waiting }, fx);
    }

    pub(crate) fn revoked(&mut self) {
        self.revoking = self.revoking.saturating_sub(1);
    }

    /// No flight and no save runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.flight.is_none() && !self.saves.is_running()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_idle() && self.revoking == 0
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.saves.is_unsaved()
    }

    /// What a fast caller may go on doing until when, if anything.
    pub(crate) fn quiet(&self, now: Timestamp) -> Option<Quiet> {
        let held = self.held.as_ref()?;
        let (stale, mut length) = match held.phase(now) {
            Phase::Fresh => (false, held.left_fresh(now)),
            Phase::Stale if self.ended.is_some() || self.shutting_down => (true, held.left(now)),
            Phase::Stale => {
                let until_slot_is_free = self.flight.as_ref().map(|flight| self.limit_left(flight, now));
                let until_permitted = until_slot_is_free.or_else(|| self.pace.left(now))?;
                (true, until_permitted.min(held.left(now)))
            }
            Phase::Refused | Phase::Expired => return None,
        };
        if let Some(due) = self.saves.due_in(now).filter(|_| self.flight.is_none()) {
            length = length.min(due);
        }
        (length > 0).then_some(Quiet { token: self.issue()?, length, stale })
    }

    fn settle(&mut self, now: Timestamp) {
        if let Some(held) = &mut self.held {
            held.received = now.anchor(held.received);
        }
        self.pace.settle(now);
    }

    fn phase(&self, now: Timestamp) -> Option<Phase> {
        self.held.as_ref().map(|held| held.phase(now))
    }

    fn issue(&self) -> Option<AccessToken> {
        let held = self.held.as_ref()?;
        let end = held.end.filter(|_| held.has_known_end());
        let expires_at = end.map(|end| crate::clock::system_time(held.received.wall.saturating_add(end)));
        Some(held.token.issue(self.stamp(), expires_at))
    }

    fn stamp(&self) -> Stamp {
        Stamp { sign_in: self.sign_in, generation: self.generation, flights_ended: self.flights_ended }
    }

    fn give(&self, now: Timestamp) -> Decision {
        debug_assert!(self.held.as_ref().is_some_and(|held| held.is_usable(now)));
        self.issue().map_or_else(|| Decision::Fail(Error::new(Kind::SignedOut)), Decision::Use)
    }

    /// What a new request can be sent with: a usable token, or a refused one that hasn't expired.
    fn lendable(&self, now: Timestamp) -> Option<AccessToken> {
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
        match (demand, self.phase(now)) {
            (Demand::New, Some(Phase::Fresh)) => false,
            (Demand::Refused(_), Some(Phase::Fresh | Phase::Stale)) => false,
            _ => true,
        }
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
        if let Demand::Refused(stamp) = demand
            && let Some((flight, error)) = &self.batch_failure
            && stamp.flights_ended < *flight
            && stamp.generation == self.generation
        {
            return Err(error.clone());
        }
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.shutting_down {
            return Err(Error::new(Kind::ShutDown));
        }
        if let Some(left) = self.pace.left(now) {
            let retry_at = Some(crate::clock::system_time(now.wall.saturating_add(left)));
            return Err(match &self.last {
                Last::Failed(error) => error.at(retry_at),
                _ => Error::with_details(Kind::Paced, retry_at, None),
            });
        }
        if !can_start {
            return Err(Error::new(Kind::NoRuntime));
        }
        let reason = match self.phase(now) {
            _ if self.unknown => RefreshReason::Repeat,
            _ if demand == Demand::Asked => RefreshReason::Asked,
            None => RefreshReason::First,
            Some(_) if self.held.as_ref().is_some_and(|held| held.refused) => RefreshReason::Refused,
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
        self.emit(EventKind::Started { reason }, fx);
    }

    fn context(&self, reason: RefreshReason) -> RefreshContext {
        let token = self.held.as_ref().map(|held| held.token.clone());
        let challenges = self.challenges.clone();
        RefreshContext::new(token, self.refresh_token.clone(), reason, challenges, self.pace.failures)
    }

    fn is_past_limit(&self, now: Timestamp) -> bool {
        self.flight.as_ref().is_some_and(|flight| self.limit_left(flight, now) <= 0)
    }

    fn limit_left(&self, flight: &Flight, now: Timestamp) -> Nanos {
        self.rules.limit.saturating_sub(now.since(flight.ticket.started))
    }

    /// A new generation.
    fn hold(&mut self, token: Token, called: Timestamp, now: Timestamp, refreshed: bool) {
        let luck = self.luck();
        self.install(Held::new(token, called, now, refreshed, &self.rules, luck));
    }

    fn install(&mut self, held: Held) {
        self.generation += 1;
        self.held = Some(held);
        self.batch_failure = None;
        self.challenges = Challenges::default();
    }

    fn begin_trial(&mut self) {
        if let Some(held) = &self.held {
            self.pace.begin_trial(held.arrived, held.trial());
        }
    }

    /// One more useless refresh in a row.
    fn back_off(&mut self, from: Timestamp, retry_after: Option<Nanos>, cut: Option<Span>) {
        self.pace.failures = self.pace.failures.saturating_add(1);
        let luck = self.luck();
        let delay = self.rules.delays.after(self.pace.failures, luck);
        self.pace.back_off(from, delay, retry_after, cut);
    }

    fn forget_credential(&mut self, fx: &mut Effects) {
        self.sign_in += 1;
        self.held = None;
        self.challenges = Challenges::default();
        self.refresh_token = None;
        self.exchanged = None;
        self.unknown = false;
        self.pace = Pace::default();
        self.saves.forget();
        fx.trash.extend(self.ended.take());
        fx.trash.extend(self.batch_failure.take().map(|(_, error)| error));
        self.remember(Last::Good, fx);
        fx.publish = true;
    }

    fn remember(&mut self, last: Last, fx: &mut Effects) {
        if let Last::Failed(error) = mem::replace(&mut self.last, last) {
            fx.trash.push(error);
        }
    }

    fn hand_over(&mut self, now: Timestamp, hurry: bool, fx: &mut Effects) {
        if let Some(order) = self.saves.hand_over(now, hurry) {
            fx.save = Some(order);
            fx.publish = true;
        }
    }

    fn emit(&self, kind: EventKind, fx: &mut Effects) {
        fx.events.push(Event { generation: self.generation, kind });
    }

    fn luck(&mut self) -> f64 {
        if self.rules.jitter { self.rng.f64() } else { 0.0 }
    }
}

// === impl Outcome ===

impl Outcome {
    /// For the waiters of a flight of which nothing more is known.
    pub(crate) fn gone(ticket: &Ticket) -> Self {
        Self {
            sign_in: ticket.sign_in,
            generation: ticket.generation,
            token: None,
            usable: false,
            verdict: Verdict::Failed(Error::new(Kind::Gone)),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let verdict = Verdict::Dropped;
        Self { sign_in: 0, generation: 0, token: None, usable: false, verdict }
    }

    /// What a waiter of the flight does now.
    pub(crate) fn resume(&self, wait: &Wait) -> Resume {
        if wait.sign_in != self.sign_in {
            return Resume::Fail(Error::new(Kind::SignedOut));
        }
        let newer_than =
            |generation| self.token.as_ref().filter(|_| self.usable && self.generation > generation);
        let token = match wait.demand {
            Demand::New => self.token.as_ref(),
            Demand::Refused(stamp) => newer_than(stamp.generation),
            Demand::Asked => match self.verdict {
                Verdict::Failed(_) => None,
                _ => self.token.as_ref().filter(|_| self.usable),
            },
        };
        match (token, &self.verdict) {
            (Some(token), _) => Resume::Use(token.clone()),
            (None, Verdict::Failed(error)) => Resume::Fail(error.clone()),
            (None, Verdict::Same) => Resume::Fail(Error::new(Kind::SameToken)),
            (None, Verdict::Renewed | Verdict::Dropped) => Resume::Anew,
        }
    }
}

// === impl Flight ===

impl Flight {
    /// Its answer is there, and brought a refresh token of its own.
    fn has_brought_a_successor(&self) -> bool {
        let answer = self.answer.as_ref().and_then(Token::refresh_secret);
        answer.is_some() && answer != self.ticket.presented.as_ref()
    }
}

#[cfg(test)]
mod tests;
