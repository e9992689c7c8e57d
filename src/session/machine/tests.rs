//! The table of scenarios, run on the machine alone: callers, timers, tasks and hooks are simulated.

#[path = "../../../tests/support/scenario.rs"]
mod scenario;

mod orders;
mod properties;
#[cfg(feature = "sessions")]
mod retiring;
#[cfg(feature = "store")]
mod stored;
mod tables;

use std::sync::Arc;

use scenario::{
    Action, Driver, Given, Hook, Options, Seen, Standing, Start, event, kind, reason, saved, seconds, shown,
};

use super::{backoff::Delays, *};
use crate::{
    event::Ineffective,
    refresh::{RefreshContext, RefreshError, RefreshReason},
    rt,
    token::AccessToken,
};

struct Harness {
    given: Given,
    machine: Machine,
    now: Timestamp,
    callers: Vec<Caller>,
    flights: Vec<Task>,
    /// The saves that run outside a flight, and when they time out.
    saves: Vec<(u64, Nanos)>,
    shutdowns: Vec<Shutdown>,
    idle: Vec<String>,
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
    limits: WaitLimits,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Call {
    Request { once: bool },
    Untouched,
    Token,
    Refresh,
}

#[derive(Clone, Debug)]
enum Course {
    Sent(Option<AccessToken>),
    /// `until`: when it is decided again, on its deadline at the latest.
    Waiting {
        wait: Wait,
        deadline: Nanos,
        until: Nanos,
        held: Option<u16>,
    },
    Done,
}

struct Task {
    info: FlightInfo,
    stage: Stage,
    deadline: Nanos,
    stalled: bool,
}

enum Stage {
    /// Its task wasn't polled yet; with the context to call the refresher with.
    Unpolled(Box<RefreshContext>),
    Calling,
    WaitingForSave,
    /// The save, and when it times out.
    Saving(u64, Nanos),
}

struct Shutdown {
    who: String,
    deadline: Nanos,
    tried: bool,
}

const WALL: Nanos = 1_000_000 * 1_000_000_000;

fn nanos_of(seconds: f64) -> Nanos {
    (seconds * 1e9).round() as Nanos
}

impl Harness {
    fn new(given: &Given) -> Self {
        let rules = Rules {
            early: given.refresh_early,
            window: given.window.map(|window| rt::nanos(seconds(window))),
            margin: given.margin.map(nanos_of),
            jitter: given.jitter,
            refresh_timeout: nanos_of(given.refresh_timeout),
            save_timeout: nanos_of(given.save_timeout),
            delays: Delays { initial: 1_000_000_000, max: 120_000_000_000, jitter: given.jitter },
            wait_through_backoff: given.wait_through_backoff,
        };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        let mut machine = Machine::new(
            Arc::new(rules),
            match given.save {
                Some(_) => Persistence::Hook,
                None => Persistence::Nowhere,
            },
            Some(given.seed),
        );
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
            idle: Vec::new(),
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

    fn join(&mut self, who: &str, call: Call, options: Options) -> usize {
        let index = self.callers.iter().filter(|caller| caller.who == who).count();
        let limits = WaitLimits {
            timeout: nanos_of(options.timeout.unwrap_or(self.given.wait_timeout)),
            until_deadline: false,
            rejection_wait: nanos_of(self.given.rejection_wait),
            max_waiters: self.given.max_waiters,
            min_lifetime: nanos_of(options.min.unwrap_or_default()),
        };
        self.callers.push(Caller {
            who: who.to_owned(),
            index,
            call,
            course: Course::Done,
            given: None,
            attempts: 0,
            limits,
        });
        self.callers.len() - 1
    }

    fn waiting(&self) -> usize {
        self.callers.iter().filter(|caller| matches!(caller.course, Course::Waiting { .. })).count()
    }

    fn demand(&mut self, caller: usize, demand: Demand, held: Option<u16>) {
        let now = self.now;
        let limits = self.callers[caller].limits;
        let is_valid = |snapshot: &&Snapshot| {
            demand == Demand::New
                && now.wall >= snapshot.taken_at.wall
                && now.wall < snapshot.valid_until.wall
                && now.monotonic < snapshot.valid_until.monotonic
                && snapshot.time_left(now) >= limits.min_lifetime
        };
        let relied = self.published.as_ref().filter(is_valid).map(|snapshot| snapshot.token.generation());
        let waiters = self.waiting();
        let can_start = self.given.runtime;
        let mut effects = Effects::default();
        let decision = self.machine.turn(now, waiters, &mut effects).demand(demand, &limits, can_start);
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
        self.decided(caller, decision, held, self.now.monotonic.saturating_add(limits.timeout), false);
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
                let until = match wait.stage {
                    WaitStage::Full => deadline,
                    WaitStage::Short => self.now.monotonic + self.callers[caller].limits.rejection_wait,
                    WaitStage::Backoff(left) => self.now.monotonic + left,
                };
                let until = until.min(deadline);
                self.callers[caller].course = Course::Waiting { wait, deadline, until, held };
            }
        }
    }

    /// A caller is decided again, because its flight or a backoff has ended.
    fn demand_again(&mut self, caller: usize, wait: &Wait, deadline: Nanos, held: Option<u16>) {
        let (now, can_start, waiters) = (self.now, self.given.runtime, self.waiting());
        let limits = WaitLimits { timeout: deadline - now.monotonic, ..self.callers[caller].limits };
        let mut effects = Effects::default();
        let decision = self.machine.turn(now, waiters, &mut effects).demand_again(wait, &limits, can_start);
        if let Ok(Decision::Wait(_)) = decision {
            self.say(caller, "wait".into());
        }
        self.decided(caller, decision, held, deadline, true);
        self.perform_effects(effects);
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
        let ends_bare = self.given.allow_unauthenticated && (error.is_signed_out() || error.is_grant_ended());
        let request = matches!(self.callers[caller].call, Call::Request { .. });
        match held {
            Some(status) => self.say(caller, format!("response {status} {}", kind(error))),
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
        let Some(status) = status else { return self.say(caller, "response lost".into()) };
        let rejected = token.filter(|_| self.given.rejects.contains(&status));
        let Some(token) = rejected else { return self.say(caller, format!("response {status}")) };
        let once = self.callers[caller].call == Call::Request { once: true };
        if once || self.callers[caller].attempts > 1 {
            self.say(caller, format!("response {status}"));
            return self.change(|turn| turn.mark_rejected(token.id()));
        }
        self.demand(caller, Demand::Rejected(token.id()), Some(status));
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
            let deadline = self.now.monotonic + nanos_of(self.given.refresh_timeout);
            self.flights.push(Task { info, stage: Stage::Unpolled(Box::new(cx)), deadline, stalled: false });
            if !self.given.late_start {
                self.poll_first(self.flights.len() - 1);
            }
        }
        if let Some(order) = effects.save.take() {
            self.seen.saved.push(saved(order.token.as_ref()));
            match self.given.save {
                Some(Hook::Held) => {
                    self.saves.push((order.id, self.now.monotonic + nanos_of(self.given.save_timeout)));
                }
                hook => self.end_save(order.id, hook == Some(Hook::Ok)),
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

    /// A flight's task is polled for the first time.
    fn poll_first(&mut self, at: usize) {
        let Stage::Unpolled(cx) = std::mem::replace(&mut self.flights[at].stage, Stage::Calling) else {
            panic!("it was polled before")
        };
        let info = self.flights[at].info.clone();
        match self.change(|turn| turn.begin(&info)) {
            Ok(info) => {
                self.flights[at].info = info.clone();
                self.called(&info, &cx);
            }
            Err(lost) => self.land(at, FlightEnd::Lost(lost)),
        }
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
                None => self.demand_again(caller, &wait, deadline, held),
            }
        }
    }

    fn refresher_says(&mut self, at: usize, action: &Action) {
        let info = self.flights[at].info.clone();
        let mut effects = Effects::default();
        match action {
            Action::Gives(spec) => {
                self.change(|turn| turn.respond(&info, spec.token()));
                self.save_in_flight(&info);
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

    /// The task of a flight saves its response, if that has to be saved.
    fn save_in_flight(&mut self, info: &FlightInfo) {
        let at = self.flights.iter().position(|task| task.info.id == info.id).expect("its task runs");
        match self.change(|turn| turn.save_before_landing(info)) {
            Saving::Now(order) => {
                self.seen.saved.push(saved(order.token.as_ref()));
                let deadline = self.now.monotonic + nanos_of(self.given.save_timeout);
                self.flights[at].stage = Stage::Saving(order.id, deadline);
                if self.given.save != Some(Hook::Held) {
                    self.end_flight_save(at, self.given.save == Some(Hook::Ok));
                }
            }
            Saving::After => self.flights[at].stage = Stage::WaitingForSave,
            Saving::Done => self.land(at, FlightEnd::Responded),
        }
    }

    fn land(&mut self, at: usize, end: FlightEnd) {
        let task = self.flights.remove(at);
        let mut effects = Effects::default();
        let waiters = self.waiting();
        self.machine.turn(self.now, waiters, &mut effects).land(&task.info, end);
        self.perform_effects(effects);
    }

    /// The flight that the session knows of.
    fn current(&self) -> usize {
        let id = self.machine.flights.current.as_ref().expect("a flight runs").info.id;
        self.flights.iter().position(|task| task.info.id == id).unwrap()
    }

    fn end_flight_save(&mut self, at: usize, ok: bool) {
        let Stage::Saving(save, _) = self.flights[at].stage else { panic!("no save runs") };
        let info = self.flights[at].info.clone();
        self.end_save(save, ok);
        let at = self.flights.iter().position(|task| task.info.id == info.id).expect("its task runs");
        self.land(at, FlightEnd::Responded);
    }

    fn end_save(&mut self, save: u64, ok: bool) {
        self.saves.retain(|(running, _)| *running != save);
        self.change(|turn| turn.save_ended(save, result(ok)));
        let waits = |task: &Task| matches!(task.stage, Stage::WaitingForSave);
        if let Some(task) = self.flights.iter().find(|task| waits(task)) {
            let info = task.info.clone();
            self.save_in_flight(&info);
        }
    }

    /// A save ends, of a flight or not.
    fn save_ends(&mut self, ok: bool) {
        if let Some((save, _)) = self.saves.first() {
            return self.end_save(*save, ok);
        }
        let saving = |task: &Task| matches!(task.stage, Stage::Saving(..));
        let at = self.flights.iter().position(saving).expect("a save runs");
        self.end_flight_save(at, ok);
    }

    fn check_waits(&mut self) {
        for mut shutdown in std::mem::take(&mut self.shutdowns) {
            let mut effects = Effects::default();
            let mut turn = self.machine.turn(self.now, 0, &mut effects);
            let is_at_rest = turn.is_at_rest();
            let saves = is_at_rest && !shutdown.tried && turn.save_now();
            if is_at_rest && !saves {
                let end = if turn.is_unsaved() { "unsaved" } else { "done" };
                self.say_of(&shutdown.who, end);
            } else {
                shutdown.tried |= saves;
                self.shutdowns.push(shutdown);
                if !effects.is_empty() {
                    self.perform_effects(effects);
                }
            }
        }
        if self.idle.is_empty() {
            return;
        }
        let mut effects = Effects::default();
        if self.machine.turn(self.now, 0, &mut effects).next_timeout().is_none() {
            for who in std::mem::take(&mut self.idle) {
                self.say_of(&who, "done");
            }
        }
        if !effects.is_empty() {
            self.perform_effects(effects);
        }
    }

    /// When the next timer fires. What nobody drives has none, but callers of `shutdown` and `idle` do.
    fn next_timer(&self) -> Option<Nanos> {
        let callers = self.callers.iter().filter_map(|caller| match &caller.course {
            Course::Waiting { until, .. } => Some(*until),
            _ => None,
        });
        let flights = self.flights.iter().filter(|task| task.is_driven()).map(|task| match task.stage {
            Stage::Saving(_, deadline) => deadline.min(task.deadline),
            _ => task.deadline,
        });
        let saves = self.saves.iter().map(|(_, deadline)| *deadline);
        let shutdowns = self.shutdowns.iter().map(|shutdown| shutdown.deadline);
        let waits = !self.shutdowns.is_empty() || !self.idle.is_empty();
        let next = self.machine.next_timeout(self.now).filter(|_| waits);
        let next = next.map(|left| self.now.monotonic + left);
        callers.chain(flights).chain(saves).chain(shutdowns).chain(next).min()
    }

    fn fire_one(&mut self) {
        let now = self.now.monotonic;
        let is_due = |task: &Task| task.is_driven() && task.deadline <= now;
        if let Some(at) = self.flights.iter().position(is_due) {
            return match self.flights[at].stage {
                Stage::Saving(..) => self.end_flight_save(at, false),
                Stage::WaitingForSave => self.land(at, FlightEnd::Responded),
                Stage::Calling | Stage::Unpolled(_) => self.land(at, FlightEnd::Lost(Lost::TimedOut)),
            };
        }
        let is_due = |task: &Task| {
            task.is_driven() && matches!(task.stage, Stage::Saving(_, deadline) if deadline <= now)
        };
        if let Some(at) = self.flights.iter().position(is_due) {
            return self.end_flight_save(at, false);
        }
        if let Some((save, _)) = self.saves.iter().find(|(_, deadline)| *deadline <= now) {
            return self.end_save(*save, false);
        }
        if let Some(at) = self.shutdowns.iter().position(|shutdown| shutdown.deadline <= now) {
            let shutdown = self.shutdowns.remove(at);
            return self.say_of(&shutdown.who, "timeout");
        }
        for caller in 0..self.callers.len() {
            let Course::Waiting { wait, deadline, until, held } = self.callers[caller].course.clone() else {
                continue;
            };
            if until > now {
                continue;
            }
            let mut effects = Effects::default();
            let mut turn = self.machine.turn(self.now, 0, &mut effects);
            if deadline <= now {
                let decision = turn.timed_out(&wait).map(Decision::Use);
                return self.decided(caller, decision, held, deadline, true);
            }
            return match wait.stage {
                WaitStage::Short => match turn.short_wait_over(&wait) {
                    Some(result) => self.decided(caller, result.map(Decision::Use), held, deadline, true),
                    None => {
                        let wait = Wait { stage: WaitStage::Full, ..wait };
                        self.callers[caller].course =
                            Course::Waiting { wait, deadline, until: deadline, held };
                    }
                },
                WaitStage::Backoff(_) | WaitStage::Full => {
                    self.demand_again(caller, &wait, deadline, held);
                }
            };
        }
        self.check_waits();
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

impl Task {
    fn is_driven(&self) -> bool {
        !self.stalled && !matches!(self.stage, Stage::Unpolled(_))
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
            Action::Call { who, count, once, skip_auth, own, options } => {
                for _ in 0..count {
                    let untouched = skip_auth || own;
                    let call = if untouched { Call::Untouched } else { Call::Request { once } };
                    let caller = self.join(&who, call, options);
                    if untouched {
                        self.say(caller, if own { "own" } else { "bare" }.into());
                        self.send(caller, None);
                    } else {
                        self.demand(caller, Demand::New, None);
                    }
                }
            }
            Action::Token(who, options) => {
                let caller = self.join(&who, Call::Token, options);
                self.demand(caller, Demand::New, None);
            }
            Action::Refresh(who) => {
                let caller = self.join(&who, Call::Refresh, Options::default());
                self.demand(caller, Demand::Requested, None);
            }
            Action::Try(who) => {
                let token = {
                    let can_start = self.given.runtime;
                    self.change(|turn| turn.try_token(can_start))
                };
                let course = token.map_or("none".into(), |token| format!("use {}", token.secret()));
                self.say_of(&who, &course);
            }
            Action::TokenAfterRejection { who, of } => {
                let of = self.members(&of)[0];
                let id = self.callers[of].given.as_ref().expect("it was given a token").id();
                let caller = self.join(&who, Call::Token, Options::default());
                self.demand(caller, Demand::Rejected(id), None);
            }
            // As the driver does: without the lock, a token that lasts is served; anything else is an error.
            Action::Inside(inner) => {
                let (who, options) = match *inner {
                    Action::Call { who, options, .. } | Action::Token(who, options) => (who, Some(options)),
                    Action::Refresh(who) => (who, None),
                    other => panic!("{other:?} isn't done inside"),
                };
                let min = options.and_then(|options| options.min).map(nanos_of);
                let snapshot = self.machine.snapshot(self.now).filter(|snapshot| {
                    options.is_some()
                        && !snapshot.stale
                        && snapshot.time_left(self.now) >= min.unwrap_or_default()
                });
                match snapshot {
                    Some(snapshot) => self.say_of(&who, &format!("use {}", snapshot.token.secret())),
                    None => self.say_of(&who, "error reentrant"),
                }
            }
            Action::Drop(who) => {
                for caller in self.members(&who) {
                    self.callers[caller].course = Course::Done;
                }
            }
            Action::Response { who, status } => {
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
                match &self.flights[at].stage {
                    Stage::Saving(..) => self.end_flight_save(at, false),
                    Stage::WaitingForSave => self.land(at, FlightEnd::Responded),
                    _ => self.land(at, FlightEnd::Lost(Lost::Dropped)),
                }
            }
            Action::Stalls => {
                let at = self.current();
                self.flights[at].stalled = true;
            }
            Action::Polled => {
                // One that a poll starts is polled at the next step.
                let ids: Vec<_> = self.flights.iter().map(|task| task.info.id).collect();
                for id in ids {
                    let is_unpolled =
                        |task: &Task| task.info.id == id && matches!(task.stage, Stage::Unpolled(_));
                    if let Some(at) = self.flights.iter().position(is_unpolled) {
                        self.poll_first(at);
                    }
                }
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
            Action::MarkRejected(generation) => {
                let epoch = Epoch { generation, ..self.machine.epoch };
                self.change(|turn| turn.mark(epoch));
            }
            Action::ResetBackoff => self.change(|turn| turn.reset_backoff()),
            Action::Shutdown { who, timeout } => {
                self.say_of(&who, "wait");
                let deadline = self.now.monotonic + nanos_of(timeout);
                self.shutdowns.push(Shutdown { who, deadline, tried: false });
                self.change(|turn| turn.shut_down());
            }
            Action::Idle(who) => {
                self.say_of(&who, "wait");
                self.idle.push(who);
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
                Some(held::Phase::Fresh) => "fresh",
                Some(held::Phase::Stale) => "stale",
                Some(held::Phase::Rejected) => "rejected",
                Some(held::Phase::Expired) => "expired",
            },
            generation: status.generation(),
            running: status.is_refreshing(),
            grant_ended: status.is_grant_ended(),
            failures: Some(status.consecutive_failures()),
            next,
            refresh: Some(
                grant.and_then(|grant| grant.refresh_token.as_ref()).map(|token| token.expose().to_owned()),
            ),
            unsaved: status.is_unsaved(),
        }
    }

    fn most_attempts(&self) -> usize {
        self.callers.iter().map(|caller| caller.attempts).max().unwrap_or(0)
    }
}

#[test]
fn every_scenario_of_the_table_holds() {
    scenario::run_all("the machine", None, 50, Harness::new);
}
