//! The rules of a session as a pure state machine: (state, event, now) to (state, effects).
//!
//! It reads no clock, spawns nothing, waits for nothing. The [`shell`](super::driver) around it holds it under a
//! lock, tells it what happened, and carries out the [`Effects`].

mod backoff;
mod demand;
mod flight;
mod held;
mod landing;
mod late;
mod outcome;
mod saves;
mod status;

use std::{mem, sync::Arc};

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    event::{Event, EventKind},
    refresh::{RefreshContext, RefreshError},
    rt::{self, Nanos, Timestamp},
    token::{AccessToken, RevocableTokens, Secret, Stamp, Token},
};

use backoff::{Pace, Span};
use held::Held;
use saves::Saves;

pub(crate) use backoff::Delays;
pub(crate) use demand::{Decision, Demand, Wait};
pub(crate) use flight::After;
pub(crate) use held::Phase;
pub(crate) use landing::{Landing, Lost, SaveResult};
pub(crate) use outcome::{Outcome, Resume};
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
    pub(crate) save_timeout: Nanos,
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
    Ineffective,
    Failed(Error),
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
    /// Watchers are told, though there is no event.
    pub(crate) tell: bool,
    /// What holds errors of the user's, whose drop is the user's code: to be dropped outside the lock.
    trash: Vec<Trash>,
}

#[expect(dead_code, reason = "it is there to be dropped")]
enum Trash {
    Error(Error),
    Refresh(RefreshError),
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
        self.hold(token, now, &mut Effects::default());
    }

    pub(crate) fn build_in_refresh_token(&mut self, refresh_token: Secret) {
        self.refresh_token = Some(refresh_token);
    }

    pub(crate) fn build_signed_out(&mut self) {
        self.signed_out = true;
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
        self.emit(EventKind::TokenRejected, fx);
        if counts {
            self.back_off(arrived, 0, None, None, now);
            self.remember(Last::Ineffective, fx);
        }
    }

    /// What a server said when it refused a token; told to the refresher while that token is the session's.
    pub(crate) fn note_challenges(&mut self, stamp: Stamp, challenges: Challenges) {
        if stamp.sign_in == self.sign_in && stamp.generation == self.generation {
            self.challenges = challenges;
        }
    }

    pub(crate) fn mark_rejected(&mut self, stamp: Stamp, now: Timestamp, fx: &mut Effects) {
        if stamp.sign_in == self.sign_in {
            self.mark(stamp.generation, now, fx);
        }
    }

    /// Ends the backoff that runs; the count of useless refreshes stays.
    pub(crate) fn reset_backoff(&mut self, now: Timestamp, fx: &mut Effects) {
        self.settle(now);
        self.pace.end_backoff();
        fx.publish = true;
        fx.tell = true;
    }

    /// A newer token of the same credential.
    pub(crate) fn set(&mut self, token: Token, now: Timestamp, fx: &mut Effects) -> Result<(), Error> {
        self.settle(now);
        if self.signed_out {
            return Err(Error::new(ErrorKind::SignedOut));
        }
        let given = token.refresh_secret().cloned();
        let keeps = given.is_none() || given == self.refresh_token || given == self.exchanged;
        if keeps {
            let mut token = token;
            token.replace_refresh_token(self.refresh_token.clone());
            self.hold(token, now, fx);
            if let Some(held) = &self.held {
                self.saves.replace(&held.token);
            }
        } else {
            self.refresh_token = given;
            self.unknown = false;
            self.saves.forget();
            self.hold(token, now, fx);
        }
        if self.held.as_ref().is_some_and(|held| held.is_usable(now)) {
            self.begin_trial();
        } else {
            // Nobody will use it: it can't prove itself.
            self.pace.spoil_trial();
        }
        fx.trash.extend(self.ended.take().map(Trash::Error));
        fx.publish = true;
        self.emit(EventKind::TokenSet, fx);
        Ok(())
    }

    /// Another credential.
    pub(crate) fn sign_in(&mut self, token: Token, now: Timestamp, fx: &mut Effects) {
        self.forget_credential(fx);
        self.signed_out = false;
        self.refresh_token = token.refresh_secret().cloned();
        self.hold(token, now, fx);
        self.emit(EventKind::SignedIn, fx);
    }

    /// Gives back what the session had, with the refresh token that it would have presented next.
    pub(crate) fn sign_out(&mut self, fx: &mut Effects) -> RevocableTokens {
        let held = self.held.take();
        let had = RevocableTokens::new(held.as_ref().map(|held| &held.token), self.refresh_token.take());
        self.forget_credential(fx);
        self.signed_out = true;
        self.emit(EventKind::SignedOut, fx);
        had
    }

    /// From now on no flight begins.
    pub(crate) fn shut_down(&mut self, fx: &mut Effects) {
        self.shutting_down = true;
        fx.publish = true;
        fx.tell = true;
    }

    /// Hands over what is unsaved, without the delay; for a shutdown.
    pub(crate) fn save_now(&mut self, now: Timestamp, fx: &mut Effects) -> bool {
        self.saves.give_up_overdue(now, self.rules.save_timeout, &self.rules.delays);
        self.hand_over(now, true, fx);
        fx.save.is_some()
    }

    /// A save outside a flight has ended.
    pub(crate) fn saved_again(&mut self, version: u64, ok: bool, now: Timestamp, fx: &mut Effects) {
        let luck = self.luck();
        self.saves.end_again(version, ok, now, &self.rules.delays, luck);
        fx.publish = true;
        self.emit(if ok { EventKind::TokenSaved } else { EventKind::TokenSaveFailed { error: None } }, fx);
    }

    pub(crate) fn joined(&mut self, waiters: usize, fx: &mut Effects) {
        self.emit(EventKind::RefreshJoined { waiters }, fx);
    }

    pub(crate) fn revoked(&mut self) {
        self.revoking = self.revoking.saturating_sub(1);
    }

    pub(crate) fn is_signed_in_as(&self, stamp: Stamp) -> bool {
        stamp.sign_in == self.sign_in
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
        let expires_at = end.map(|end| rt::system_time(held.received.wall.saturating_add(end)));
        Some(held.token.to_access_token(self.stamp(), expires_at))
    }

    fn stamp(&self) -> Stamp {
        Stamp { sign_in: self.sign_in, generation: self.generation, flights_ended: self.flights_ended }
    }

    fn is_past_limit(&self, now: Timestamp) -> bool {
        self.flight.as_ref().is_some_and(|flight| self.limit_left(flight, now) <= 0)
    }

    fn limit_left(&self, flight: &Flight, now: Timestamp) -> Nanos {
        self.rules.limit.saturating_sub(now.since(flight.ticket.started))
    }

    /// A new generation, of a token that no refresh brought.
    fn hold(&mut self, token: Token, now: Timestamp, fx: &mut Effects) {
        let luck = self.luck();
        self.install(Held::new(token, now, now, false, &self.rules, luck), fx);
    }

    fn forget_batch_failure(&mut self, fx: &mut Effects) {
        fx.trash.extend(self.batch_failure.take().map(|(_, error)| Trash::Error(error)));
    }

    fn install(&mut self, held: Held, fx: &mut Effects) {
        self.generation += 1;
        self.held = Some(held);
        self.forget_batch_failure(fx);
        self.challenges = Challenges::default();
    }

    fn begin_trial(&mut self) {
        if let Some(held) = &self.held {
            self.pace.begin_trial(held.arrived, held.trial());
        }
    }

    /// One more useless refresh in a row.
    fn back_off(
        &mut self,
        from: Timestamp,
        least: Nanos,
        retry_after: Option<Nanos>,
        cut: Option<Span>,
        now: Timestamp,
    ) {
        self.pace.failures = self.pace.failures.saturating_add(1);
        let luck = self.luck();
        let delay = self.rules.delays.after(self.pace.failures, luck).max(least);
        self.pace.back_off(from, delay, retry_after, cut, now);
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
        fx.trash.extend(self.ended.take().map(Trash::Error));
        self.forget_batch_failure(fx);
        self.remember(Last::Good, fx);
        fx.publish = true;
    }

    fn remember(&mut self, last: Last, fx: &mut Effects) {
        if let Last::Failed(error) = mem::replace(&mut self.last, last) {
            fx.trash.push(Trash::Error(error));
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
