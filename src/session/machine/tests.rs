//! The table of scenarios, run on the machine alone: callers, timers, tasks and hooks are simulated.

#[path = "../../../tests/support/scenario.rs"]
mod scenario;

mod properties;

use std::{sync::Arc, time::Duration};

use scenario::{
    Action, Driver, Failure, Given, Hook, Scenario, Seen, Standing, Start, TokenSpec, event, kind, reason,
};

use super::*;
use crate::{
    event::Ineffective,
    refresh::{RefreshError, RefreshReason},
    rt,
};

struct Machine {
    given: Given,
    state: State,
    now: Timestamp,
    callers: Vec<Caller>,
    flights: Vec<Task>,
    /// The limits of the saves that run outside a flight.
    saves: Vec<(u64, Nanos)>,
    shutdowns: Vec<Shutdown>,
    settling: Vec<String>,
    revocations: usize,
    published: Option<(Quiet, Timestamp)>,
    seen: Seen,
}

struct Caller {
    who: String,
    index: usize,
    call: Call,
    course: Course,
    given: Option<AccessToken>,
    sendings: usize,
    patience: Nanos,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Call {
    Request { once: bool },
    Untouched,
    Token,
    Asked,
}

#[derive(Clone, Debug)]
enum Course {
    Sent(Option<AccessToken>),
    Waiting { wait: Wait, deadline: Nanos, brief: Option<Nanos>, held: Option<u16> },
    Done,
}

struct Task {
    ticket: Ticket,
    phase: Phase,
    limit: Nanos,
    stalled: bool,
}

enum Phase {
    Asking,
    WaitingForSave(Token),
    Saving { answer: Token, order: Token, limit: Nanos },
}

struct Shutdown {
    who: String,
    limit: Nanos,
    tried: bool,
}

const WALL: Nanos = 1_000_000 * 1_000_000_000;

fn nanos_of(seconds: f64) -> Nanos {
    (seconds * 1e9).round() as Nanos
}

fn duration_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

fn token_of(spec: &TokenSpec) -> Token {
    let mut builder = Token::builder(&spec.access);
    if let Some(refresh) = &spec.refresh {
        builder = builder.refresh_token(refresh);
    }
    if let Some(life) = spec.life {
        builder = builder.expires_in(duration_of(life));
    }
    if let Some(until) = spec.until {
        builder = builder.expires_at(rt::system_time(nanos_of(until)));
    }
    if let Some(refresh_at) = spec.refresh_at {
        builder = builder.refresh_in(duration_of(refresh_at));
    }
    builder.build().unwrap()
}

fn error_of(failure: &Failure) -> RefreshError {
    let error = match failure.kind.as_str() {
        "transient" => RefreshError::transient("transient"),
        "unknown" => RefreshError::outcome_unknown("unknown"),
        "configuration" => RefreshError::misconfigured("configuration"),
        "ended" => RefreshError::grant_ended("ended"),
        other => panic!("unknown failure {other}"),
    };
    match failure.retry_after {
        Some(wait) => error.with_retry_after(duration_of(wait)),
        None => error,
    }
}

fn shown(token: &Token) -> String {
    format!("{} {}", token.access_token(), token.refresh_token().unwrap_or("-"))
}

impl Machine {
    fn new(given: &Given) -> Self {
        let rules = Rules {
            early: given.early,
            window: given.window.map(|window| rt::nanos(duration_of(window))),
            margin: given.margin.map(nanos_of),
            jitter: given.jitter,
            limit: nanos_of(given.limit),
            save_timeout: nanos_of(given.save_timeout),
            delays: Delays { first: 1_000_000_000, most: 120_000_000_000, jitter: given.jitter },
            saves: given.save.is_some(),
        };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        let mut state = State::new(rules, Some(given.seed));
        match &given.start {
            Start::Empty => {}
            Start::RefreshToken(token) => state.build_in_refresh_token(Secret::new(token.clone())),
            Start::SignedOut => state.build_signed_out(),
            Start::Token(spec) => state.build_in(token_of(spec), now),
        }
        Self {
            given: given.clone(),
            state,
            now,
            callers: Vec::new(),
            flights: Vec::new(),
            saves: Vec::new(),
            shutdowns: Vec::new(),
            settling: Vec::new(),
            revocations: 0,
            published: None,
            seen: Seen::default(),
        }
    }

    fn say(&mut self, caller: usize, course: String) {
        let Caller { who, index, .. } = &self.callers[caller];
        self.seen.who.insert((who.clone(), *index), course);
    }

    fn say_of(&mut self, who: &str, course: &str) {
        self.seen.who.insert((who.to_owned(), 0), course.to_owned());
    }

    fn join(&mut self, who: &str, call: Call) -> usize {
        let index = self.callers.iter().filter(|caller| caller.who == who).count();
        self.callers.push(Caller {
            who: who.to_owned(),
            index,
            call,
            course: Course::Done,
            given: None,
            sendings: 0,
            patience: nanos_of(self.given.patience),
        });
        self.callers.len() - 1
    }

    fn waiting(&self) -> usize {
        self.callers.iter().filter(|caller| matches!(caller.course, Course::Waiting { .. })).count()
    }

    fn ask(&mut self, caller: usize, demand: Demand, held: Option<u16>) {
        let relied = self.published.as_ref().filter(|(quiet, from)| {
            demand == Demand::New && self.now.wall >= from.wall && self.now.since(*from) < quiet.length
        });
        let relied = relied.map(|(quiet, _)| quiet.token.generation());
        let has_room = self.given.max_waiters.is_none_or(|most| self.waiting() < most);
        let mut fx = Effects::default();
        let decision = self.state.demand(demand, self.now, has_room, self.given.runtime, &mut fx);
        if let Some(generation) = relied {
            assert!(fx.start.is_none() && fx.save.is_none(), "the fast path would have missed something");
            let Decision::Use(token) = &decision else { panic!("the fast path would have gone on") };
            assert_eq!(token.generation(), generation);
        }
        fx.publish |= matches!(decision, Decision::Use(_));
        if let Decision::Wait(_) = decision {
            self.say(caller, "wait".into());
        }
        let patience = self.callers[caller].patience;
        self.decided(caller, decision, held, self.now.monotonic.saturating_add(patience), false);
        self.carry_out(fx);
    }

    fn decided(
        &mut self,
        caller: usize,
        decision: Decision,
        held: Option<u16>,
        deadline: Nanos,
        waited: bool,
    ) {
        match decision {
            Decision::Use(token) => self.give(caller, token),
            Decision::Fail(error) => self.fail(caller, &error, held, waited),
            Decision::Wait(wait) => {
                let brief = wait.brief.then(|| self.now.monotonic + nanos_of(self.given.new_wait));
                self.callers[caller].course = Course::Waiting { wait, deadline, brief, held };
            }
        }
    }

    fn give(&mut self, caller: usize, token: AccessToken) {
        self.say(caller, format!("use {}", token.secret()));
        self.callers[caller].given = Some(token.clone());
        match self.callers[caller].call {
            Call::Request { .. } => self.send(caller, Some(token)),
            _ => self.callers[caller].course = Course::Done,
        }
    }

    fn send(&mut self, caller: usize, token: Option<AccessToken>) {
        self.callers[caller].course = Course::Sent(token);
        self.callers[caller].sendings += 1;
        if let Some(status) = self.given.auto_server {
            self.answer(caller, Some(status));
        }
    }

    fn fail(&mut self, caller: usize, error: &Error, held: Option<u16>, waited: bool) {
        let ends_bare = self.given.bare && (error.is_signed_out() || error.is_grant_ended());
        let request = matches!(self.callers[caller].call, Call::Request { .. });
        match held {
            Some(status) => self.say(caller, format!("answer {status} {}", kind(error))),
            None if ends_bare && request && !waited => {
                self.say(caller, "bare".into());
                return self.send(caller, None);
            }
            None => self.say(caller, format!("error {}", kind(error))),
        }
        self.callers[caller].course = Course::Done;
    }

    fn answer(&mut self, caller: usize, status: Option<u16>) {
        let Course::Sent(token) = self.callers[caller].course.clone() else { panic!("nothing was sent") };
        self.callers[caller].course = Course::Done;
        let Some(status) = status else { return self.say(caller, "answer lost".into()) };
        let rejected = token.filter(|_| self.given.rejects.contains(&status));
        let Some(token) = rejected else { return self.say(caller, format!("answer {status}")) };
        let once = self.callers[caller].call == Call::Request { once: true };
        if once || self.callers[caller].sendings > 1 {
            self.say(caller, format!("answer {status}"));
            let mut fx = Effects::default();
            self.state.mark_rejected(token.stamp(), self.now, &mut fx);
            return self.carry_out(fx);
        }
        self.ask(caller, Demand::Refused(token.stamp()), Some(status));
    }

    fn carry_out(&mut self, mut fx: Effects) {
        if fx.publish {
            self.published = self.state.quiet(self.now).map(|quiet| (quiet, self.now));
        }
        self.seen.events.extend(fx.events.drain(..).filter_map(|told| event(&told.kind)));
        for (flight, outcome) in fx.land.drain(..) {
            self.resume(flight, &outcome);
        }
        if let Some((ticket, cx)) = fx.start.take() {
            let limit = self.now.monotonic + nanos_of(self.given.limit);
            self.flights.push(Task { ticket: ticket.clone(), phase: Phase::Asking, limit, stalled: false });
            self.called(&ticket, &cx);
        }
        if let Some(order) = fx.save.take() {
            self.seen.saved.push(shown(&order.token));
            match self.given.save {
                Some(Hook::Held) => {
                    self.saves.push((order.version, self.now.monotonic + nanos_of(self.given.save_timeout)));
                }
                hook => self.end_save(order.version, hook == Some(Hook::Ok)),
            }
        }
        for token in fx.revoke.drain(..) {
            self.seen.revoked.push(shown(&token));
            match self.given.revoke {
                Hook::Held => self.revocations += 1,
                _ => self.state.revoked(),
            }
        }
        self.look_after_endings();
    }

    fn called(&mut self, ticket: &Ticket, cx: &RefreshContext) {
        self.seen.asked.push(format!("{} {}", cx.refresh_token().unwrap_or("-"), reason(cx.reason())));
        if let Some(auto) = self.given.auto_endpoint.clone() {
            let next = self.state.generation + 1;
            let action = match Action::parse(&auto) {
                Action::Gives(spec) => Action::Gives(spec.fill(next)),
                other => other,
            };
            let at = self.flights.iter().position(|task| task.ticket.id == ticket.id).unwrap();
            self.refresher_says(at, &action);
        }
    }

    fn resume(&mut self, flight: u64, outcome: &Arc<Outcome>) {
        for caller in 0..self.callers.len() {
            let Course::Waiting { wait, deadline, held, .. } = self.callers[caller].course.clone() else {
                continue;
            };
            if wait.flight != flight {
                continue;
            }
            match outcome.resume(&wait) {
                Resume::Use(token) => self.give(caller, token),
                Resume::Fail(error) => self.fail(caller, &error, held, true),
                Resume::Anew => {
                    let mut fx = Effects::default();
                    let decision = self.state.demand_anew(&wait, self.now, self.given.runtime, &mut fx);
                    if let Decision::Wait(_) = decision {
                        self.say(caller, "wait".into());
                    }
                    self.decided(caller, decision, held, deadline, true);
                    self.carry_out(fx);
                }
            }
        }
    }

    fn refresher_says(&mut self, at: usize, action: &Action) {
        let ticket = self.flights[at].ticket.clone();
        let mut fx = Effects::default();
        match action {
            Action::Gives(spec) => {
                let token = token_of(spec);
                self.save_in_flight(at, token);
            }
            Action::Fails(failure) => {
                let error = error_of(failure);
                match self.state.failed(&ticket, &error, self.now, &mut fx) {
                    After::Repeat(ticket, cx) => {
                        self.flights[at].ticket = ticket.clone();
                        self.carry_out(fx);
                        self.called(&ticket, &cx);
                    }
                    _ => {
                        self.carry_out(fx);
                        self.land(at, Landing::Failed(error));
                    }
                }
            }
            Action::Panics => self.land(at, Landing::Lost(Lost::Panic)),
            other => panic!("{other:?} is nothing that a refresher does"),
        }
    }

    fn save_in_flight(&mut self, at: usize, token: Token) {
        let ticket = self.flights[at].ticket.clone();
        match self.state.answered(&ticket, &token, self.now) {
            After::Save(order) => {
                self.seen.saved.push(shown(&order));
                match self.given.save {
                    Some(Hook::Held) => {
                        let limit = self.now.monotonic + nanos_of(self.given.save_timeout);
                        self.flights[at].phase = Phase::Saving { answer: token, order, limit };
                    }
                    hook => {
                        let result = SaveResult::Tried(order, hook == Some(Hook::Ok));
                        self.land(at, Landing::Answered(token, result));
                    }
                }
            }
            After::WaitForSave => self.flights[at].phase = Phase::WaitingForSave(token),
            _ => self.land(at, Landing::Answered(token, SaveResult::NotTried)),
        }
    }

    fn land(&mut self, at: usize, landing: Landing) {
        let task = self.flights.remove(at);
        let mut fx = Effects::default();
        let waiters = self.waiting();
        self.state.land(&task.ticket, landing, self.now, waiters, &mut fx);
        self.carry_out(fx);
    }

    /// The flight that the session knows of.
    fn current(&self) -> usize {
        let id = self.state.flight.as_ref().expect("a flight runs").ticket.id;
        self.flights.iter().position(|task| task.ticket.id == id).unwrap()
    }

    fn end_flight_save(&mut self, at: usize, ok: bool) {
        let Phase::Saving { answer, order, .. } = &self.flights[at].phase else { panic!("no save runs") };
        let landing = Landing::Answered(answer.clone(), SaveResult::Tried(order.clone(), ok));
        self.land(at, landing);
    }

    fn end_save(&mut self, version: u64, ok: bool) {
        self.saves.retain(|(running, _)| *running != version);
        let mut fx = Effects::default();
        self.state.saved_again(version, ok, self.now, &mut fx);
        self.carry_out(fx);
        let waits = |task: &Task| matches!(task.phase, Phase::WaitingForSave(_));
        if let Some(at) = self.flights.iter().position(waits) {
            let Phase::WaitingForSave(token) = std::mem::replace(&mut self.flights[at].phase, Phase::Asking)
            else {
                unreachable!("it was just found")
            };
            self.save_in_flight(at, token);
        }
    }

    /// A save ends, be it a flight's or a repeated one.
    fn save_ends(&mut self, ok: bool) {
        if let Some((version, _)) = self.saves.first() {
            return self.end_save(*version, ok);
        }
        let saving = |task: &Task| matches!(task.phase, Phase::Saving { .. });
        let at = self.flights.iter().position(saving).expect("a save runs");
        self.end_flight_save(at, ok);
    }

    fn look_after_endings(&mut self) {
        for mut shutdown in std::mem::take(&mut self.shutdowns) {
            if self.state.is_idle() {
                let mut fx = Effects::default();
                let saves = !shutdown.tried && self.state.save_now(self.now, &mut fx);
                if saves {
                    shutdown.tried = true;
                    self.shutdowns.push(shutdown);
                    self.carry_out(fx);
                } else {
                    let end = if self.state.is_unsaved() { "unsaved" } else { "done" };
                    self.say_of(&shutdown.who, end);
                }
            } else {
                self.shutdowns.push(shutdown);
            }
        }
        if self.state.is_settled() {
            for who in std::mem::take(&mut self.settling) {
                self.say_of(&who, "done");
            }
        }
    }

    fn next_timer(&self) -> Option<Nanos> {
        let callers = self.callers.iter().filter_map(|caller| match &caller.course {
            Course::Waiting { deadline, brief, .. } => Some(brief.unwrap_or(*deadline).min(*deadline)),
            _ => None,
        });
        let flights = self.flights.iter().filter(|task| !task.stalled).map(|task| match task.phase {
            Phase::Saving { limit, .. } => limit.min(task.limit),
            _ => task.limit,
        });
        let saves = self.saves.iter().map(|(_, limit)| *limit);
        let shutdowns = self.shutdowns.iter().map(|shutdown| shutdown.limit);
        callers.chain(flights).chain(saves).chain(shutdowns).min()
    }

    fn fire_one(&mut self) {
        let now = self.now.monotonic;
        let due = |task: &Task| !task.stalled && task.limit <= now;
        if let Some(at) = self.flights.iter().position(due) {
            let task = &self.flights[at];
            let landing = match &task.phase {
                Phase::Asking => Landing::Lost(Lost::Limit),
                Phase::WaitingForSave(answer) => {
                    Landing::Answered(answer.clone(), SaveResult::Tried(answer.clone(), false))
                }
                Phase::Saving { answer, order, .. } => {
                    Landing::Answered(answer.clone(), SaveResult::Tried(order.clone(), false))
                }
            };
            return self.land(at, landing);
        }
        let due =
            |task: &Task| !task.stalled && matches!(task.phase, Phase::Saving { limit, .. } if limit <= now);
        if let Some(at) = self.flights.iter().position(due) {
            return self.end_flight_save(at, false);
        }
        if let Some((version, _)) = self.saves.iter().find(|(_, limit)| *limit <= now) {
            return self.end_save(*version, false);
        }
        if let Some(at) = self.shutdowns.iter().position(|shutdown| shutdown.limit <= now) {
            let shutdown = self.shutdowns.remove(at);
            return self.say_of(&shutdown.who, "limit");
        }
        for caller in 0..self.callers.len() {
            let Course::Waiting { wait, deadline, brief, held } = self.callers[caller].course.clone() else {
                continue;
            };
            if deadline <= now {
                let decision = self.state.patience_over(&wait, self.now);
                return self.decided(caller, decision, held, deadline, true);
            }
            if brief.is_some_and(|brief| brief <= now) {
                return match self.state.brief_wait_over(&wait, self.now) {
                    Some(decision) => self.decided(caller, decision, held, deadline, true),
                    None => {
                        self.callers[caller].course = Course::Waiting { wait, deadline, brief: None, held }
                    }
                };
            }
        }
    }

    fn members(&self, who: &str) -> Vec<usize> {
        (0..self.callers.len()).filter(|caller| self.callers[*caller].who == who).collect()
    }

    fn change(&mut self, change: impl FnOnce(&mut State, Timestamp, &mut Effects)) {
        let mut fx = Effects::default();
        change(&mut self.state, self.now, &mut fx);
        self.carry_out(fx);
    }
}

impl Driver for Machine {
    fn advance(&mut self, at: i64) {
        let at = at * 1_000_000;
        while let Some(next) = self.next_timer().filter(|next| *next <= at) {
            let next = next.max(self.now.monotonic);
            self.now.wall += next - self.now.monotonic;
            self.now.monotonic = next;
            self.fire_one();
        }
        self.now.wall += at - self.now.monotonic;
        self.now.monotonic = at;
    }

    fn perform(&mut self, action: &Action) {
        match action.clone() {
            Action::Call { who, count, once, no_token, own, patience } => {
                for _ in 0..count {
                    let untouched = no_token || own;
                    let call = if untouched { Call::Untouched } else { Call::Request { once } };
                    let caller = self.join(&who, call);
                    if let Some(patience) = patience {
                        self.callers[caller].patience = nanos_of(patience);
                    }
                    if untouched {
                        self.say(caller, if own { "own" } else { "bare" }.into());
                        self.send(caller, None);
                    } else {
                        self.ask(caller, Demand::New, None);
                    }
                }
            }
            Action::Token(who) => {
                let caller = self.join(&who, Call::Token);
                self.ask(caller, Demand::New, None);
            }
            Action::RefreshNow(who) => {
                let caller = self.join(&who, Call::Asked);
                self.ask(caller, Demand::Asked, None);
            }
            Action::Try(who) => {
                let token = self.state.peek(self.now, self.given.runtime);
                let course = token.map_or("none".into(), |token| format!("use {}", token.secret()));
                self.say_of(&who, &course);
            }
            Action::TokenAfter { who, of } => {
                let of = self.members(&of)[0];
                let stamp = self.callers[of].given.as_ref().expect("it was given a token").stamp();
                let caller = self.join(&who, Call::Token);
                self.ask(caller, Demand::Refused(stamp), None);
            }
            Action::Inside(inner) => {
                let (Action::Call { who, .. } | Action::Token(who) | Action::RefreshNow(who)) = *inner else {
                    panic!("nothing to be done inside")
                };
                self.say_of(&who, "error needs_itself");
            }
            Action::Drop(who) => {
                for caller in self.members(&who) {
                    self.callers[caller].course = Course::Done;
                }
            }
            Action::Answer { who, status } => {
                for caller in self.members(&who) {
                    if matches!(self.callers[caller].course, Course::Sent(_)) {
                        self.answer(caller, status);
                    }
                }
            }
            Action::Gives(_) | Action::Fails(_) | Action::Panics => {
                let at = self.current();
                self.refresher_says(at, action);
            }
            Action::Gone => {
                let at = self.current();
                match &self.flights[at].phase {
                    Phase::Asking => self.land(at, Landing::Lost(Lost::Gone)),
                    _ => self.end_flight_save(at, false),
                }
            }
            Action::Stalls => {
                let at = self.current();
                self.flights[at].stalled = true;
            }
            Action::Late(inner) => self.refresher_says(0, &inner),
            Action::Saved => self.save_ends(true),
            Action::SaveFails | Action::SavePanics => self.save_ends(false),
            Action::RevokeEnds => {
                self.revocations -= 1;
                self.state.revoked();
                self.look_after_endings();
            }
            Action::Set(spec) => {
                let mut fx = Effects::default();
                if let Err(error) = self.state.set(token_of(&spec), self.now, &mut fx) {
                    self.say_of("set", &format!("error {}", kind(&error)));
                }
                self.carry_out(fx);
            }
            Action::SignIn(spec) => {
                self.change(|state, now, fx| state.sign_in(token_of(&spec), now, fx));
            }
            Action::SignOut => self.change(|state, _, fx| drop(state.sign_out(fx))),
            Action::Invalidate(generation) => self.change(|state, now, fx| state.mark(generation, now, fx)),
            Action::RetryNow => self.change(State::reset_backoff),
            Action::Shutdown { who, limit } => {
                self.say_of(&who, "wait");
                let limit = self.now.monotonic + nanos_of(limit);
                self.shutdowns.push(Shutdown { who, limit, tried: false });
                self.change(|state, _, fx| state.shut_down(fx));
            }
            Action::Settled(who) => {
                self.say_of(&who, "wait");
                self.settling.push(who);
                self.look_after_endings();
            }
            Action::Wall(seconds) => self.now.wall += nanos_of(seconds),
            Action::Look => {}
        }
    }

    fn seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    fn standing(&mut self) -> Standing {
        let status = self.state.status(self.now, 0);
        let next = self.state.pace.left(self.now).map(|left| (self.now.monotonic + left) as f64 / 1e9);
        Standing {
            state: match self.state.phase(self.now) {
                _ if status.is_signed_out() => "signed_out",
                None => "empty",
                Some(super::Phase::Fresh) => "fresh",
                Some(super::Phase::Stale) => "stale",
                Some(super::Phase::Refused) => "refused",
                Some(super::Phase::Expired) => "expired",
            },
            generation: status.generation(),
            running: status.is_refreshing(),
            ended: status.is_grant_ended(),
            failures: status.consecutive_failures(),
            next,
            refresh: Some(self.state.refresh_token.as_ref().map(|token| token.expose().to_owned())),
            unsaved: status.is_unsaved(),
        }
    }

    fn most_sendings(&self) -> usize {
        self.callers.iter().map(|caller| caller.sendings).max().unwrap_or(0)
    }
}

#[test]
fn every_scenario_of_the_table_holds() {
    let mut failures = Vec::new();
    let scenarios = scenario::scenarios();
    let all = scenarios.len();
    for scenario in scenarios {
        let Scenario { name, rows, given, .. } = &scenario;
        let outcome = std::panic::catch_unwind(|| {
            let mut machine = Machine::new(given);
            scenario::run(&scenario, &mut machine)
        });
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => failures.push(format!("{name} {rows:?}\n    {difference}")),
            Err(_) => failures.push(format!("{name} {rows:?}\n    panicked")),
        }
    }
    println!("scenarios on the machine: {all} run, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
