//! The table of scenarios, run on the machine alone: callers, timers, tasks and hooks are simulated.

#[path = "../../../tests/support/scenario.rs"]
mod scenario;

mod properties;
mod tables;

use std::sync::Arc;

use scenario::{
    Action, Driver, Given, Hook, Scenario, Seen, Standing, Start, event, kind, reason, seconds, shown,
};

use super::*;
use crate::{
    event::Ineffective,
    refresh::{RefreshContext, RefreshError, RefreshReason},
    rt,
};

struct Harness {
    given: Given,
    machine: Machine,
    now: Timestamp,
    callers: Vec<Caller>,
    flights: Vec<Task>,
    /// The limits of the saves that run outside a flight.
    saves: Vec<(u64, Nanos)>,
    shutdowns: Vec<Shutdown>,
    settling: Vec<String>,
    revocations: usize,
    published: Option<Snapshot>,
    seen: Seen,
}

struct Caller {
    who: String,
    index: usize,
    call: Call,
    course: Course,
    given: Option<AccessToken>,
    attempts: usize,
    timeout: Nanos,
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
    info: FlightInfo,
    phase: Phase,
    limit: Nanos,
    stalled: bool,
}

enum Phase {
    Calling,
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

impl Harness {
    fn new(given: &Given) -> Self {
        let rules = Rules {
            early: given.early,
            window: given.window.map(|window| rt::nanos(seconds(window))),
            margin: given.margin.map(nanos_of),
            jitter: given.jitter,
            refresh_timeout: nanos_of(given.limit),
            save_timeout: nanos_of(given.save_timeout),
            delays: Delays { initial: 1_000_000_000, max: 120_000_000_000, jitter: given.jitter },
            saves: given.save.is_some(),
        };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        let mut machine = Machine::new(rules, Some(given.seed));
        match &given.start {
            Start::Empty => machine.start_with_refresh_token(None),
            Start::RefreshToken(token) => machine.start_with_refresh_token(Some(Secret::new(token.clone()))),
            Start::SignedOut => {}
            Start::Token(spec) => machine.start_with(spec.token(), now),
        }
        Self {
            given: given.clone(),
            machine,
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
            attempts: 0,
            timeout: nanos_of(self.given.patience),
        });
        self.callers.len() - 1
    }

    fn waiting(&self) -> usize {
        self.callers.iter().filter(|caller| matches!(caller.course, Course::Waiting { .. })).count()
    }

    fn ask(&mut self, caller: usize, demand: Demand, held: Option<u16>) {
        let now = self.now;
        let is_valid = |snapshot: &&Snapshot| {
            demand == Demand::New
                && now.wall >= snapshot.taken_at.wall
                && now.wall < snapshot.valid_until.wall
                && now.monotonic < snapshot.valid_until.monotonic
        };
        let relied = self.published.as_ref().filter(is_valid).map(|snapshot| snapshot.token.generation());
        let waiters = self.waiting();
        let has_room = self.given.max_waiters.is_none_or(|most| waiters < most);
        let can_start = self.given.runtime;
        let mut effects = Effects::default();
        let mut turn = self.machine.turn(now, waiters, &mut effects);
        let decision = turn.demand(demand, has_room, can_start);
        if let Some(generation) = relied {
            let does_nothing = effects.start.is_none() && effects.save.is_none();
            assert!(does_nothing, "the fast path would have missed something");
            let Ok(Decision::Use(token)) = &decision else { panic!("the fast path would have gone on") };
            assert_eq!(token.generation(), generation);
        }
        effects.publish |= matches!(decision, Ok(Decision::Use(_)));
        if let Ok(Decision::Wait(_)) = decision {
            self.say(caller, "wait".into());
        }
        let timeout = self.callers[caller].timeout;
        self.decided(caller, decision, held, self.now.monotonic.saturating_add(timeout), false);
        self.perform_effects(effects);
    }

    fn decided(
        &mut self,
        caller: usize,
        decision: Result<Decision, Error>,
        held: Option<u16>,
        deadline: Nanos,
        waited: bool,
    ) {
        match decision {
            Ok(Decision::Use(token)) => self.use_token(caller, token),
            Err(error) => self.fail(caller, &error, held, waited),
            Ok(Decision::Wait(wait)) => {
                let brief = wait.short.then(|| self.now.monotonic + nanos_of(self.given.new_wait));
                self.callers[caller].course = Course::Waiting { wait, deadline, brief, held };
            }
        }
    }

    fn use_token(&mut self, caller: usize, token: AccessToken) {
        self.say(caller, format!("use {}", token.secret()));
        self.callers[caller].given = Some(token.clone());
        match self.callers[caller].call {
            Call::Request { .. } => self.send(caller, Some(token)),
            _ => self.callers[caller].course = Course::Done,
        }
    }

    fn send(&mut self, caller: usize, token: Option<AccessToken>) {
        self.callers[caller].course = Course::Sent(token);
        self.callers[caller].attempts += 1;
        if let Some(status) = self.given.auto_server {
            self.respond(caller, Some(status));
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

    fn respond(&mut self, caller: usize, status: Option<u16>) {
        let Course::Sent(token) = self.callers[caller].course.clone() else { panic!("nothing was sent") };
        self.callers[caller].course = Course::Done;
        let Some(status) = status else { return self.say(caller, "answer lost".into()) };
        let rejected = token.filter(|_| self.given.rejects.contains(&status));
        let Some(token) = rejected else { return self.say(caller, format!("answer {status}")) };
        let once = self.callers[caller].call == Call::Request { once: true };
        if once || self.callers[caller].attempts > 1 {
            self.say(caller, format!("answer {status}"));
            return self.change(|turn| turn.mark_rejected(token.id()));
        }
        self.ask(caller, Demand::Rejected(token.id()), Some(status));
    }

    fn perform_effects(&mut self, mut effects: Effects) {
        if effects.publish {
            self.published = self.machine.snapshot(self.now);
        }
        self.seen.events.extend(effects.events.drain(..).filter_map(|told| event(&told.kind)));
        for (flight, outcome) in effects.ended.drain(..) {
            self.resume(flight, &outcome);
        }
        if let Some(start) = effects.start.take() {
            let (info, cx) = *start;
            let limit = self.now.monotonic + nanos_of(self.given.limit);
            self.flights.push(Task { info: info.clone(), phase: Phase::Calling, limit, stalled: false });
            self.called(&info, &cx);
        }
        if let Some(order) = effects.save.take() {
            self.seen.saved.push(shown(&order.token));
            match self.given.save {
                Some(Hook::Held) => {
                    self.saves.push((order.version, self.now.monotonic + nanos_of(self.given.save_timeout)));
                }
                hook => self.end_save(order.version, hook == Some(Hook::Ok)),
            }
        }
        for token in effects.revoke.drain(..) {
            self.seen.revoked.push(shown(&token));
            match self.given.revoke {
                Hook::Held => self.revocations += 1,
                _ => self.change(|turn| turn.revocation_ended(Ok(()))),
            }
        }
        self.check_waits();
    }

    fn called(&mut self, info: &FlightInfo, cx: &RefreshContext) {
        self.seen.asked.push(format!("{} {}", cx.refresh_token().unwrap_or("-"), reason(cx.reason())));
        if let Some(auto) = self.given.auto_endpoint.clone() {
            let next = self.machine.epoch.generation + 1;
            let action = match Action::parse(&auto) {
                Action::Gives(spec) => Action::Gives(spec.fill(next)),
                other => other,
            };
            let at = self.flights.iter().position(|task| task.info.id == info.id).unwrap();
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
                Some(Ok(token)) => self.use_token(caller, token),
                Some(Err(error)) => self.fail(caller, &error, held, true),
                None => {
                    let (now, can_start, waiters) = (self.now, self.given.runtime, self.waiting());
                    let mut effects = Effects::default();
                    let decision =
                        self.machine.turn(now, waiters, &mut effects).demand_again(&wait, can_start);
                    if let Ok(Decision::Wait(_)) = decision {
                        self.say(caller, "wait".into());
                    }
                    self.decided(caller, decision, held, deadline, true);
                    self.perform_effects(effects);
                }
            }
        }
    }

    fn refresher_says(&mut self, at: usize, action: &Action) {
        let info = self.flights[at].info.clone();
        let mut effects = Effects::default();
        match action {
            Action::Gives(spec) => {
                let token = spec.token();
                self.save_in_flight(at, token);
            }
            Action::Fails(failure) => {
                let error = failure.error();
                let again = self.machine.turn(self.now, 0, &mut effects).on_failure(&info, &error);
                self.perform_effects(effects);
                match again {
                    Some((info, cx)) => {
                        self.flights[at].info = info.clone();
                        self.called(&info, &cx);
                    }
                    None => self.land(at, FlightEnd::Failed(error)),
                }
            }
            Action::Panics => self.land(at, FlightEnd::Lost(Lost::Panicked)),
            other => panic!("{other:?} is nothing that a refresher does"),
        }
    }

    fn save_in_flight(&mut self, at: usize, token: Token) {
        let info = self.flights[at].info.clone();
        let mut effects = Effects::default();
        let saving = self.machine.turn(self.now, 0, &mut effects).on_response(&info, &token);
        self.perform_effects(effects);
        match saving {
            Saving::Now(order) => {
                let order = *order;
                self.seen.saved.push(shown(&order));
                match self.given.save {
                    Some(Hook::Held) => {
                        let limit = self.now.monotonic + nanos_of(self.given.save_timeout);
                        self.flights[at].phase = Phase::Saving { answer: token, order, limit };
                    }
                    hook => {
                        let result = Save::Tried(order, result(hook == Some(Hook::Ok)));
                        self.land(at, FlightEnd::Response(token, result));
                    }
                }
            }
            Saving::After => self.flights[at].phase = Phase::WaitingForSave(token),
            Saving::None => self.land(at, FlightEnd::Response(token, Save::NotTried)),
        }
    }

    fn land(&mut self, at: usize, landing: FlightEnd) {
        let task = self.flights.remove(at);
        let mut effects = Effects::default();
        let waiters = self.waiting();
        self.machine.turn(self.now, waiters, &mut effects).land(&task.info, landing);
        self.perform_effects(effects);
    }

    /// The flight that the session knows of.
    fn current(&self) -> usize {
        let id = self.machine.flights.current.as_ref().expect("a flight runs").info.id;
        self.flights.iter().position(|task| task.info.id == id).unwrap()
    }

    fn end_flight_save(&mut self, at: usize, ok: bool) {
        let Phase::Saving { answer, order, .. } = &self.flights[at].phase else { panic!("no save runs") };
        let landing = FlightEnd::Response(answer.clone(), Save::Tried(order.clone(), result(ok)));
        self.land(at, landing);
    }

    fn end_save(&mut self, version: u64, ok: bool) {
        self.saves.retain(|(running, _)| *running != version);
        self.change(|turn| turn.save_ended(version, result(ok)));
        let waits = |task: &Task| matches!(task.phase, Phase::WaitingForSave(_));
        if let Some(at) = self.flights.iter().position(waits) {
            let Phase::WaitingForSave(token) = std::mem::replace(&mut self.flights[at].phase, Phase::Calling)
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

    fn check_waits(&mut self) {
        for mut shutdown in std::mem::take(&mut self.shutdowns) {
            if self.machine.is_at_rest() {
                let mut effects = Effects::default();
                let saves = !shutdown.tried && self.machine.turn(self.now, 0, &mut effects).save_now();
                if saves {
                    shutdown.tried = true;
                    self.shutdowns.push(shutdown);
                    self.perform_effects(effects);
                } else {
                    let end = if self.machine.is_unsaved() { "unsaved" } else { "done" };
                    self.say_of(&shutdown.who, end);
                }
            } else {
                self.shutdowns.push(shutdown);
            }
        }
        if self.machine.is_idle() {
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
                Phase::Calling => FlightEnd::Lost(Lost::TimedOut),
                Phase::WaitingForSave(answer) => {
                    FlightEnd::Response(answer.clone(), Save::Tried(answer.clone(), result(false)))
                }
                Phase::Saving { answer, order, .. } => {
                    FlightEnd::Response(answer.clone(), Save::Tried(order.clone(), result(false)))
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
            let mut effects = Effects::default();
            let mut turn = self.machine.turn(self.now, 0, &mut effects);
            if deadline <= now {
                let decision = turn.timed_out(&wait).map(Decision::Use);
                return self.decided(caller, decision, held, deadline, true);
            }
            if brief.is_some_and(|brief| brief <= now) {
                return match turn.short_wait_over(&wait) {
                    Some(result) => self.decided(caller, result.map(Decision::Use), held, deadline, true),
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

    fn change<T>(&mut self, step: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let mut effects = Effects::default();
        let result = step(&mut self.machine.turn(self.now, 0, &mut effects));
        self.perform_effects(effects);
        result
    }
}

fn result(ok: bool) -> Result<(), HookError> {
    if ok { Ok(()) } else { Err(HookError::TIMED_OUT) }
}

impl Driver for Harness {
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
                        self.callers[caller].timeout = nanos_of(patience);
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
                self.ask(caller, Demand::Requested, None);
            }
            Action::Try(who) => {
                let token = {
                    let can_start = self.given.runtime;
                    self.change(|turn| turn.try_token(can_start))
                };
                let course = token.map_or("none".into(), |token| format!("use {}", token.secret()));
                self.say_of(&who, &course);
            }
            Action::TokenAfter { who, of } => {
                let of = self.members(&of)[0];
                let id = self.callers[of].given.as_ref().expect("it was given a token").id();
                let caller = self.join(&who, Call::Token);
                self.ask(caller, Demand::Rejected(id), None);
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
                        self.respond(caller, status);
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
                    Phase::Calling => self.land(at, FlightEnd::Lost(Lost::Dropped)),
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
                self.change(|turn| turn.revocation_ended(Ok(())));
            }
            Action::Set(spec) => {
                if let Err(error) = self.change(|turn| turn.set(spec.token())) {
                    self.say_of("set", &format!("error {}", kind(&error)));
                }
            }
            Action::SignIn(spec) => {
                self.change(|turn| turn.sign_in(spec.token()));
            }
            Action::SignOut => drop(self.change(|turn| turn.sign_out())),
            Action::Invalidate(generation) => {
                let epoch = Epoch { generation, ..self.machine.epoch };
                self.change(|turn| turn.mark(epoch));
            }
            Action::RetryNow => self.change(|turn| turn.reset_backoff()),
            Action::Shutdown { who, limit } => {
                self.say_of(&who, "wait");
                let limit = self.now.monotonic + nanos_of(limit);
                self.shutdowns.push(Shutdown { who, limit, tried: false });
                self.change(|turn| turn.shut_down());
            }
            Action::Settled(who) => {
                self.say_of(&who, "wait");
                self.settling.push(who);
                self.check_waits();
            }
            Action::Wall(step) => self.now.wall += nanos_of(step),
            Action::Look => {}
        }
    }

    fn seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    fn standing(&mut self) -> Standing {
        self.machine.advance_to(self.now);
        let status = self.machine.status(self.now, 0);
        let grant = self.machine.grant.as_ref();
        let left = grant.and_then(|grant| grant.backoff.time_left(self.now));
        let next = left.map(|left| (self.now.monotonic + left) as f64 / 1e9);
        Standing {
            state: match grant.and_then(|grant| grant.phase(self.now)) {
                _ if status.is_signed_out() => "signed_out",
                None => "empty",
                Some(super::Phase::Fresh) => "fresh",
                Some(super::Phase::Stale) => "stale",
                Some(super::Phase::Rejected) => "refused", // as the table calls it
                Some(super::Phase::Expired) => "expired",
            },
            generation: status.generation(),
            running: status.is_refreshing(),
            ended: status.is_grant_ended(),
            failures: status.consecutive_failures(),
            next,
            refresh: Some(
                grant.and_then(|grant| grant.refresh_token.as_ref()).map(|token| token.expose().to_owned()),
            ),
            unsaved: status.is_unsaved(),
        }
    }

    fn most_sendings(&self) -> usize {
        self.callers.iter().map(|caller| caller.attempts).max().unwrap_or(0)
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
            let mut harness = Harness::new(given);
            scenario::run(&scenario, &mut harness)
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

/// A lost response explains nothing: it doesn't end a row of failures that can't be interpreted.
#[test]
fn p05_a_lost_refresh_does_not_end_a_row_of_unexplained_failures() {
    let second = 1_000_000_000;
    let rules = Rules {
        early: true,
        window: None,
        margin: None,
        jitter: false,
        refresh_timeout: 60 * second,
        save_timeout: 10 * second,
        delays: Delays { initial: second, max: 120 * second, jitter: false },
        saves: false,
    };
    let mut machine = Machine::new(rules, Some(1));
    machine.start_with_refresh_token(None);
    let mut now = Timestamp { wall: WALL, monotonic: 0 };
    let unexplained = || FlightEnd::Failed(RefreshError::transient("?").unexplained());
    let lost = || FlightEnd::Lost(Lost::TimedOut);
    // A lost flight is repeated at once; the second one backs off.
    for end in [unexplained(), unexplained(), unexplained(), lost(), lost(), unexplained()] {
        now.wall += 1000 * second;
        now.monotonic += 1000 * second;
        let mut effects = Effects::default();
        let _ = machine.turn(now, 0, &mut effects).demand(Demand::New, true, true);
        let (info, _) = *effects.start.take().expect("the backoff is over");
        machine.turn(now, 0, &mut effects).land(&info, end);
    }
    let left = machine.grant.as_ref().unwrap().backoff.time_left(now).unwrap();
    assert!(left >= 600 * second, "{} s", left / second);
}
