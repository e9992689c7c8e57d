//! The tables of [`machine`](super::super), cell by cell.

use std::time::Duration;

use super::{
    super::{backoff::Delays, flight::Flight, grant::Failing, outcome::FlightResult, *},
    WALL,
};
use crate::refresh::{RefreshError, RefreshReason};

pub(super) const SECOND: Nanos = 1_000_000_000;

pub(super) const LIMITS: WaitLimits = WaitLimits {
    timeout: 30 * SECOND,
    until_deadline: false,
    rejection_wait: 2 * SECOND,
    max_waiters: None,
    min_lifetime: 0,
};

/// The timeout of a caller that waits through each backoff.
const LONG: Nanos = 100_000 * SECOND;

/// What a demand finds, besides the phase.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Obstacle {
    None,
    InFlight,
    BatchFailed,
    GrantEnded,
    ShutDown,
    Failed,
    Ineffective,
    NoRuntime,
}

use Obstacle::{
    BatchFailed, Failed, GrantEnded, InFlight, Ineffective, NoRuntime, None as NoObstacle, ShutDown,
};

const OBSTACLES: [Obstacle; 8] =
    [NoObstacle, InFlight, BatchFailed, GrantEnded, ShutDown, Failed, Ineffective, NoRuntime];

/// A row of the first table, with its cells for `New`, `Rejected` (the current token, an older one) and `Requested`.
const DEMANDS: &[(&str, [&str; 4])] = &[
    ("fresh", ["use", "wait", "use", "wait"]),
    ("stale", ["use, start", "wait", "use", "wait"]),
    ("rejected", ["wait briefly", "wait", "wait", "wait"]),
    ("rejected, last not good", ["use, start", "wait", "wait", "wait"]),
    ("rejected, expiry unknown", ["wait briefly", "wait", "wait", "wait"]),
    ("rejected, expiry unknown, last not good", ["use, start", "wait", "wait", "wait"]),
    ("expired", ["wait", "wait", "wait", "wait"]),
    ("empty", ["wait", "wait", "wait", "wait"]),
    ("signed out", ["SignedOut", "SignedOut", "SignedOut", "SignedOut"]),
    ("other sign-in", ["SignedOut", "SignedOut", "SignedOut", "SignedOut"]),
];

pub(super) struct Tester {
    pub(super) machine: Machine,
    pub(super) now: Timestamp,
    pub(super) effects: Effects,
}

impl Tester {
    pub(super) fn signed_out(saves: bool) -> Self {
        let delays = Delays { initial: 5000 * SECOND, max: 5000 * SECOND, jitter: false };
        let rules = Rules {
            early: true,
            window: None,
            margin: None,
            jitter: false,
            refresh_timeout: 10_000 * SECOND,
            save_timeout: 10_000 * SECOND,
            delays,
            wait_through_backoff: false,
        };
        let persistence = if saves { Persistence::Hook } else { Persistence::Nowhere };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        Self {
            machine: Machine::new(Arc::new(rules), persistence, Some(1)),
            now,
            effects: Effects::default(),
        }
    }

    /// Holds A1 and R1.
    pub(super) fn new() -> Self {
        let mut tester = Self::signed_out(false);
        tester.machine.start_with(token("A1 R1 600"), tester.now);
        tester
    }

    fn empty() -> Self {
        let mut tester = Self::signed_out(false);
        tester.machine.start_with_refresh_token(Some(Secret::new("R1".to_owned())));
        tester
    }

    /// Takes a step; `effects` is then what came of it.
    pub(super) fn step<T>(&mut self, step: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        self.effects = Effects::default();
        step(&mut self.machine.turn(self.now, 0, &mut self.effects))
    }

    pub(super) fn pass(&mut self, seconds: Nanos) {
        self.now.wall += seconds * SECOND;
        self.now.monotonic += seconds * SECOND;
    }

    pub(super) fn start(&mut self) -> FlightInfo {
        self.step(|turn| turn.demand(Demand::Requested, &LIMITS, true)).unwrap();
        self.effects.start.take().expect("a flight starts").0
    }

    pub(super) fn land(&mut self, info: &FlightInfo, end: End) {
        self.step(|turn| match end {
            End::Token(token) => {
                turn.respond(info, token);
                turn.land(info, FlightEnd::Responded);
            }
            End::Failed(error) => turn.land(info, FlightEnd::Failed(error)),
            End::Lost(lost) => turn.land(info, FlightEnd::Lost(lost)),
        });
    }

    pub(super) fn refresh(&mut self, end: End) {
        let info = self.start();
        self.land(&info, end);
    }

    pub(super) fn reject(&mut self) {
        let id = self.machine.token_id();
        self.step(|turn| turn.mark_rejected(id));
    }

    /// The access and the refresh token.
    pub(super) fn holds(&self) -> String {
        let Some(grant) = &self.machine.grant else { return "nothing".to_owned() };
        let access = grant.held.as_ref().map_or("-", |held| held.token.access_token());
        let refresh = grant.refresh_token.as_ref().map_or("-", Secret::expose);
        if let Some(held) = &grant.held {
            assert_eq!(held.token.refresh_secret(), grant.refresh_token.as_ref(), "what would be saved");
        }
        format!("{access} {refresh}")
    }
}

/// A token, written `A1 R1 600`; `-` stands for none or unknown.
pub(super) fn token(spec: &str) -> Token {
    let words: Vec<_> = spec.split(' ').collect();
    let mut builder = Token::builder(words[0]);
    if words[1] != "-" {
        builder = builder.refresh_token(words[1]);
    }
    if words[2] != "-" {
        builder = builder.expires_in(Duration::from_secs(words[2].parse().unwrap()));
    }
    builder.build().unwrap()
}

/// How a refresh ends.
pub(super) enum End {
    Token(Token),
    Failed(RefreshError),
    Lost(Lost),
}

pub(super) fn response(spec: &str) -> End {
    End::Token(token(spec))
}

pub(super) fn failed(error: RefreshError) -> End {
    End::Failed(error)
}

// === Demands ===

/// Brings a session into a phase, with an obstacle. Returns the ids of its current token and of an older one, and a wait
/// that began before. `None`: they exclude each other.
fn prepare(phase: &str, obstacle: Obstacle) -> Option<(Tester, [TokenId; 2], Option<Wait>)> {
    let is_rejected = phase.starts_with("rejected");
    let is_unknown = phase.contains("expiry unknown");
    let excluded = match obstacle {
        // There is no token to return again; or it is used past its expiry until the backoff ends.
        Ineffective => matches!(phase, "empty" | "expired"),
        BatchFailed => !phase.ends_with("last not good"),
        _ => false,
    };
    if excluded || obstacle != NoObstacle && matches!(phase, "signed out" | "other sign-in") {
        return None;
    }
    let mut tester = if phase == "empty" { Tester::empty() } else { Tester::new() };
    let older = tester.machine.token_id();
    if phase != "empty" {
        tester.step(|turn| turn.set(token(if is_unknown { "A2 - -" } else { "A2 - 600" }))).unwrap();
    }
    let current = tester.machine.token_id();
    if phase.ends_with("last not good") {
        tester.refresh(failed(RefreshError::transient("503")));
        tester.step(|turn| turn.reset_backoff());
    }
    match obstacle {
        NoObstacle | BatchFailed | NoRuntime => {}
        InFlight => drop(tester.start()),
        GrantEnded => tester.refresh(failed(RefreshError::grant_ended("invalid_grant"))),
        ShutDown => tester.step(|turn| turn.shut_down()),
        Failed => {
            tester.refresh(failed(
                RefreshError::misconfigured("401").with_retry_after(Duration::from_secs(3600)),
            ));
        }
        Ineffective => tester.refresh(response(if is_unknown { "A2 - -" } else { "A2 - 600" })),
    }
    if is_rejected {
        tester.reject();
    }
    if obstacle == BatchFailed {
        tester.refresh(failed(RefreshError::transient("503")));
        tester.step(|turn| turn.reset_backoff());
    }
    let mut wait = None;
    match phase {
        "stale" => tester.pass(500),
        "expired" => tester.pass(580),
        "signed out" => drop(tester.step(|turn| turn.sign_out())),
        "other sign-in" => {
            let decision = tester.step(|turn| turn.demand(Demand::Requested, &LIMITS, true)).unwrap();
            let Decision::Wait(waiting) = decision else { panic!("it waits") };
            wait = Some(waiting);
            tester.step(|turn| turn.sign_in(token("B1 Q1 600")));
        }
        _ => {}
    }
    Some((tester, [current, older], wait))
}

/// What a cell comes to with an obstacle.
fn expected(
    cell: &str,
    phase: &str,
    demand: Demand,
    is_current: bool,
    obstacle: Obstacle,
    has_room: bool,
    waits_through: bool,
) -> String {
    if cell == "SignedOut" || cell == "use" {
        return cell.to_owned();
    }
    let is_batch = is_current && matches!(demand, Demand::Rejected(_));
    let error = match obstacle {
        NoObstacle | InFlight => None,
        BatchFailed if is_batch => Some("Transient"),
        BatchFailed => None,
        GrantEnded => Some("GrantEnded"),
        ShutDown => Some("ShutDown"),
        Failed => Some("Misconfigured"),
        Ineffective => Some("Backoff"),
        NoRuntime => Some("MissingRuntime"),
    };
    let starts = error.is_none() && obstacle != InFlight;
    let waits = waits_through && demand != Demand::Requested && matches!(obstacle, Failed | Ineffective);
    let is_unusable = obstacle == GrantEnded && phase.contains("expiry unknown");
    let result = match (cell, error) {
        (_, Some(error)) if is_unusable => error,
        ("use, start", _) => "use",
        ("wait briefly", None) if has_room => "wait briefly",
        ("wait briefly", _) => "use",
        ("wait", Some(_)) if waits && has_room => "wait for the backoff",
        ("wait", Some(_)) if waits => "Overloaded",
        ("wait", Some(error)) => error,
        ("wait", None) if has_room => "wait",
        ("wait", None) => "Overloaded",
        _ => panic!("{cell}"),
    };
    format!("{result}{}", if starts { ", start" } else { "" })
}

fn shown(decision: Result<Decision, Error>) -> String {
    match decision {
        Ok(Decision::Use(token)) => {
            assert_eq!(token.secret(), "A2");
            "use".to_owned()
        }
        Ok(Decision::Wait(wait)) => match wait.stage {
            WaitStage::Full => "wait",
            WaitStage::Short => "wait briefly",
            WaitStage::Backoff(_) => "wait for the backoff",
        }
        .to_owned(),
        Err(error) => format!("{:?}", error.inner.kind),
    }
}

#[test]
fn each_demand_is_decided_as_the_table_says() {
    let mut differences = Vec::new();
    let mut decided = 0;
    for (phase, cells) in DEMANDS {
        for obstacle in OBSTACLES {
            for (column, cell) in cells.iter().enumerate() {
                for (has_room, waits_through) in [(true, false), (false, false), (true, true), (false, true)]
                {
                    let Some((mut tester, ids, wait)) = prepare(phase, obstacle) else { continue };
                    Arc::make_mut(&mut tester.machine.rules).wait_through_backoff = waits_through;
                    let demand = match column {
                        0 => Demand::New,
                        1 => Demand::Rejected(ids[0]),
                        2 => Demand::Rejected(ids[1]),
                        _ => Demand::Requested,
                    };
                    let can_start = obstacle != NoRuntime;
                    let max_waiters = if has_room { None } else { Some(0) };
                    let limits = WaitLimits { timeout: LONG, max_waiters, ..LIMITS };
                    let decision = tester.step(|turn| match (wait, demand) {
                        (Some(wait), Demand::New | Demand::Requested) => {
                            turn.demand_again(&Wait { demand, ..wait }, &limits, can_start)
                        }
                        _ => turn.demand(demand, &limits, can_start),
                    });
                    let starts = if tester.effects.start.is_some() { ", start" } else { "" };
                    let seen = format!("{}{starts}", shown(decision));
                    let expected =
                        expected(cell, phase, demand, column == 1, obstacle, has_room, waits_through);
                    if seen != expected {
                        let room = if has_room { "" } else { ", no room" };
                        differences.push(format!(
                            "{phase} · {demand:?} · {obstacle:?}{room}: {seen}, not {expected}"
                        ));
                    }
                    decided += 1;
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(decided > 800, "only {decided}");
}

#[test]
fn the_first_reason_not_to_start_counts() {
    let mut tester = Tester::new();
    let id = tester.machine.token_id();
    tester.reject();
    tester.refresh(failed(RefreshError::misconfigured("401")));
    let info = FlightInfo {
        id: 2,
        epoch: id.epoch,
        reason: RefreshReason::Stale,
        presented: None,
        started: tester.now,
        called: tester.now,
    };
    tester.machine.flights.current =
        Some(Box::new(Flight { info, repeat: false, is_queued: false, response: None }));
    tester.machine.shutting_down = true;
    let grant = tester.machine.grant.as_mut().unwrap();
    grant.batch_failure = Some((1, Error::new(ErrorKind::Transient)));
    grant.ended = Some(Error::new(ErrorKind::GrantEnded));
    let decide = |tester: &mut Tester, can_start| {
        let decision = tester.step(|turn| turn.demand(Demand::Rejected(id), &LIMITS, can_start));
        format!("{}{}", shown(decision), if tester.effects.start.is_some() { ", start" } else { "" })
    };
    assert_eq!(decide(&mut tester, false), "wait");
    tester.machine.flights.current = None;
    assert_eq!(decide(&mut tester, false), "Transient");
    tester.machine.grant.as_mut().unwrap().batch_failure = None;
    assert_eq!(decide(&mut tester, false), "GrantEnded");
    tester.machine.grant.as_mut().unwrap().ended = None;
    assert_eq!(decide(&mut tester, false), "ShutDown");
    tester.machine.shutting_down = false;
    assert_eq!(decide(&mut tester, false), "Misconfigured");
    tester.machine.grant.as_mut().unwrap().failing =
        Some(Box::new(Failing { error: None, since: 0, is_over: false }));
    assert_eq!(decide(&mut tester, false), "Backoff");
    tester.step(|turn| turn.reset_backoff());
    assert_eq!(decide(&mut tester, false), "MissingRuntime");
    assert_eq!(decide(&mut tester, true), "wait, start");
}

// === Ends of flights ===

/// The rows of the second table; the late ones are more than one.
const FLIGHTS: [&str; 10] = [
    "current",
    "current, a token was set",
    "current, a repeat",
    "replaced",
    "other sign-in",
    "late",
    "late, a token was set",
    "late, another has the successor",
    "late, replaced",
    "late, other sign-in",
];

const ENDS: [&str; 14] = [
    "token",
    "token without successor",
    "unchanged",
    "transient",
    "transient, successor",
    "misconfigured",
    "grant ended",
    "grant ended, successor",
    "outcome unknown",
    "timed out",
    "panicked",
    "dropped",
    "never called",
    "no timer",
];

fn end(end: &str) -> End {
    let successor = |error: RefreshError| failed(error.with_refresh_token("R2"));
    match end {
        "token" => response("A2 R2 600"),
        "token without successor" => response("A2 - 600"),
        "unchanged" => response("A1 R2 600"),
        "transient" => failed(RefreshError::transient("503")),
        "transient, successor" => successor(RefreshError::transient("503")),
        "misconfigured" => failed(RefreshError::misconfigured("401")),
        "grant ended" => failed(RefreshError::grant_ended("invalid_grant")),
        "grant ended, successor" => successor(RefreshError::grant_ended("invalid_grant")),
        "outcome unknown" => failed(RefreshError::outcome_unknown("reset")),
        "timed out" => End::Lost(Lost::TimedOut),
        "panicked" => End::Lost(Lost::Panicked),
        "dropped" => End::Lost(Lost::Dropped),
        "never called" => End::Lost(Lost::NeverCalled),
        "no timer" => End::Lost(Lost::NoTimer),
        _ => panic!("{end}"),
    }
}

/// What follows from a flight's end: what the session holds; what the waiters get, with the events; what else.
fn cell(flight: &str, end: &str) -> &'static str {
    let has_successor = matches!(end, "token" | "unchanged") || end.ends_with(", successor");
    let is_token = matches!(end, "token" | "token without successor" | "unchanged");
    let is_lost = matches!(end, "timed out" | "panicked" | "dropped" | "never called" | "no timer");
    match (flight, end) {
        ("current" | "current, a repeat", "token") => "A2 R2: Refreshed [Refreshed], R1 spent",
        ("current" | "current, a repeat", "token without successor") => "A2 R1: Refreshed [Refreshed]",
        ("current" | "current, a repeat", "unchanged") => {
            "A1 R2: Refreshed [RefreshIneffective], R1 spent, backoff"
        }
        ("current, a token was set", "token" | "unchanged") => {
            "A9 R2: Discarded [RefreshDiscarded], R1 spent"
        }
        ("current, a token was set", "token without successor") => "A9 R1: Discarded [RefreshDiscarded]",
        (
            "current" | "current, a repeat" | "current, a token was set",
            "transient" | "transient, successor" | "misconfigured" | "grant ended" | "grant ended, successor",
        ) => {
            let is_set = flight == "current, a token was set";
            match (end, is_set) {
                ("transient", false) => "A1 R1: Transient [RefreshFailed], backoff",
                ("transient", true) => "A9 R1: Transient [RefreshFailed], backoff",
                ("transient, successor", false) => "A1 R2: Transient [RefreshFailed], R1 spent, backoff",
                ("transient, successor", true) => "A9 R2: Transient [RefreshFailed], R1 spent, backoff",
                ("misconfigured", false) => "A1 R1: Misconfigured [RefreshFailed], backoff",
                ("misconfigured", true) => "A9 R1: Misconfigured [RefreshFailed], backoff",
                ("grant ended", false) => "A1 R1: GrantEnded [GrantEnded], ended",
                ("grant ended", true) => "A9 R1: GrantEnded [GrantEnded], ended",
                (_, false) => "A1 R2: GrantEnded [GrantEnded], R1 spent, ended",
                (_, true) => "A9 R2: GrantEnded [GrantEnded], R1 spent, ended",
            }
        }
        ("current", "outcome unknown" | "timed out") => "A1 R1: OutcomeUnknown [RefreshFailed], repeat",
        ("current", "panicked") => "A1 R1: Panicked [RefreshFailed], repeat",
        ("current", "dropped") => "A1 R1: TaskDropped [RefreshFailed], repeat",
        ("current", "never called") => "A1 R1: TaskDropped [RefreshFailed]",
        ("current", "no timer") => "A1 R1: MissingRuntime [RefreshFailed]",
        ("current, a token was set", "outcome unknown" | "timed out") => {
            "A9 R1: OutcomeUnknown [RefreshFailed], repeat"
        }
        ("current, a token was set", "panicked") => "A9 R1: Panicked [RefreshFailed], repeat",
        ("current, a token was set", "dropped") => "A9 R1: TaskDropped [RefreshFailed], repeat",
        ("current, a token was set", "never called") => "A9 R1: TaskDropped [RefreshFailed]",
        ("current, a token was set", "no timer") => "A9 R1: MissingRuntime [RefreshFailed]",
        ("current, a repeat", "outcome unknown" | "timed out") => {
            "A1 R1: OutcomeUnknown [RefreshFailed], backoff"
        }
        ("current, a repeat", "panicked") => "A1 R1: Panicked [RefreshFailed], backoff",
        ("current, a repeat", "dropped") => "A1 R1: TaskDropped [RefreshFailed], backoff",
        // The next flight is the repeat.
        ("current, a repeat", "never called") => "A1 R1: TaskDropped [RefreshFailed], repeat",
        ("current, a repeat", "no timer") => "A1 R1: MissingRuntime [RefreshFailed], repeat",

        ("replaced", "transient") => "A9 Q1: Transient [RefreshFailed], backoff",
        ("replaced", "transient, successor") => "A9 Q1: Transient [RefreshFailed], R1 spent, backoff",
        ("replaced", "misconfigured") => "A9 Q1: Misconfigured [RefreshFailed], backoff",
        ("replaced", _) if has_successor => "A9 Q1: Discarded [RefreshDiscarded], R1 spent",
        ("replaced", "never called") => "A9 Q1: Discarded [RefreshDiscarded]",
        ("replaced", _) if is_lost => "A9 Q1: Discarded [RefreshFailed]",
        ("replaced", _) => "A9 Q1: Discarded [RefreshDiscarded]",

        ("other sign-in", "token") => "B1 Q1: Discarded [RefreshDiscarded], revoke A2 R2",
        ("other sign-in", "token without successor") => "B1 Q1: Discarded [RefreshDiscarded], revoke A2 R1",
        ("other sign-in", "unchanged") => "B1 Q1: Discarded [RefreshDiscarded], revoke A1 R2",
        ("other sign-in", _) => "B1 Q1: Discarded [RefreshDiscarded]",

        ("late", "token") => "A2 R2: - [Refreshed], R1 spent",
        ("late", "token without successor") => "A2 R1: - [Refreshed]",
        ("late", "unchanged") => "A1 R2: - [RefreshIneffective], R1 spent, backoff",
        ("late", _) if has_successor => "A1 R2: - [], R1 spent, repeat",
        ("late", _) => "A1 R1: - [], repeat",

        ("late, a token was set", "token" | "unchanged") => "A9 R2: - [RefreshDiscarded], R1 spent",
        ("late, a token was set", "token without successor") => "A9 R1: - [RefreshDiscarded], repeat",
        ("late, a token was set", _) if has_successor => "A9 R2: - [], R1 spent, repeat",
        ("late, a token was set", _) => "A9 R1: - [], repeat",

        ("late, another has the successor", _) if is_token => "A1 R1: - [RefreshDiscarded]",
        ("late, another has the successor", _) => "A1 R1: - []",

        ("late, replaced", _) if is_token => "A9 Q1: - [RefreshDiscarded]",
        ("late, replaced", _) => "A9 Q1: - []",

        ("late, other sign-in", "token") => "B1 Q1: - [RefreshDiscarded], revoke A2 R2",
        ("late, other sign-in", "token without successor") => "B1 Q1: - [RefreshDiscarded], revoke A2 R1",
        ("late, other sign-in", "unchanged") => "B1 Q1: - [RefreshDiscarded], revoke A1 R2",
        ("late, other sign-in", _) => "B1 Q1: - []",
        _ => panic!("no cell for {flight} · {end}"),
    }
}

/// A session with a flight that is about to end.
fn flying(flight: &str) -> (Tester, FlightInfo) {
    let mut tester = Tester::new();
    if flight == "current, a repeat" {
        tester.refresh(failed(RefreshError::outcome_unknown("reset")));
    }
    let info = tester.start();
    if flight.starts_with("late") {
        tester.step(|turn| Arc::make_mut(&mut turn.machine.rules).refresh_timeout = 60 * SECOND);
        tester.pass(61);
        let decision = tester.step(|turn| turn.demand(Demand::Requested, &LIMITS, false));
        assert!(decision.unwrap_err().is_missing_runtime());
    }
    if flight == "late, another has the successor" {
        let other = tester.start();
        tester.step(|turn| turn.respond(&other, token("A3 R3 600")));
    }
    if flight.ends_with("a token was set") {
        tester.step(|turn| turn.set(token("A9 - 600"))).unwrap();
    }
    if flight.ends_with("replaced") {
        tester.step(|turn| turn.set(token("A9 Q1 600"))).unwrap();
    }
    if flight.ends_with("other sign-in") {
        tester.step(|turn| turn.sign_in(token("B1 Q1 600")));
    }
    (tester, info)
}

/// What a step has done, in the words of [`cell`].
fn done(tester: &Tester) -> String {
    let effects = &tester.effects;
    let result = match effects.ended.first().map(|(_, outcome)| &outcome.result) {
        None => "-".to_owned(),
        Some(FlightResult::Failed(error)) => format!("{:?}", error.inner.kind),
        Some(result) => format!("{result:?}"),
    };
    let names = effects.events.iter().map(|event| {
        let name = format!("{:?}", event.kind);
        name.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
    });
    let mut done = format!("{}: {result} [{}]", tester.holds(), Vec::from_iter(names).join(", "));
    let grant = tester.machine.grant.as_ref().unwrap();
    if let Some(spent) = &grant.previous_refresh_token {
        done += &format!(", {} spent", spent.expose());
    }
    if grant.outcome_unknown {
        done += ", repeat";
    }
    if tester.machine.status(tester.now, 0).retry_at().is_some() {
        done += ", backoff";
    }
    if grant.ended.is_some() {
        done += ", ended";
    }
    for token in &effects.revoke {
        done += &format!(", revoke {} {}", token.access_token(), token.refresh_token().unwrap_or("-"));
    }
    done
}

#[test]
fn each_flight_ends_as_the_table_says() {
    let mut differences = Vec::new();
    for flight in FLIGHTS {
        for name in ENDS {
            let (mut tester, info) = flying(flight);
            tester.land(&info, end(name));
            let (seen, expected) = (done(&tester), cell(flight, name));
            if seen != expected {
                differences.push(format!("{flight} · {name}: {seen}\n    not {expected}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

// === Sign-outs ===

/// Each way in which a session can be signed in.
pub(super) fn signed_in(state: &str) -> (Tester, Option<FlightInfo>) {
    let mut tester = Tester::new();
    let mut flight = None;
    match state {
        "fresh" => {}
        "stale" => tester.pass(500),
        "rejected" => tester.reject(),
        "expired" => tester.pass(580),
        "empty" => tester = Tester::empty(),
        "backoff" => tester.refresh(failed(RefreshError::transient("503"))),
        "outcome unknown" => tester.refresh(failed(RefreshError::outcome_unknown("reset"))),
        "batch failed" => {
            tester.reject();
            tester.refresh(failed(RefreshError::transient("503")));
        }
        "ineffective" => tester.refresh(response("A1 R2 600")),
        "ended" => tester.refresh(failed(RefreshError::grant_ended("invalid_grant"))),
        "on trial" => tester.refresh(response("A2 R2 600")),
        "unsaved" => {
            tester.machine.persistence = Persistence::Hook;
            let info = tester.start();
            tester.step(|turn| turn.respond(&info, token("A2 R2 600")));
            let save = match tester.step(|turn| turn.save_before_landing(&info)) {
                Saving::Now(order) => order.id,
                saving => panic!("{saving:?}"),
            };
            tester.step(|turn| turn.save_ended(save, Err(HookError::TIMED_OUT)));
            assert!(tester.machine.is_unsaved());
        }
        "flight" => flight = Some(tester.start()),
        "flight with a response" => {
            let info = tester.start();
            tester.step(|turn| turn.respond(&info, token("A2 R2 600")));
            flight = Some(info);
        }
        _ => panic!("{state}"),
    }
    (tester, flight)
}

/// A signed-out session as its callers see it, except for its generation.
fn seen(machine: &mut Machine, now: Timestamp) -> String {
    let mut status = machine.status(now, 0);
    status.generation = 0;
    let snapshot = machine.snapshot(now).map(|snapshot| snapshot.token);
    let token = machine.turn(now, 0, &mut Effects::default()).try_token(true);
    format!("{status:?} {snapshot:?} {token:?} {:?}", machine.grant.is_some())
}

#[test]
fn p10_a_sign_out_leaves_nothing_of_the_sign_in() {
    for state in [
        "fresh",
        "stale",
        "rejected",
        "expired",
        "empty",
        "backoff",
        "outcome unknown",
        "batch failed",
        "ineffective",
        "ended",
        "on trial",
        "unsaved",
        "flight",
        "flight with a response",
    ] {
        let (mut tester, flight) = signed_in(state);
        let before = tester.machine.epoch;
        drop(tester.step(|turn| turn.sign_out()));
        assert!(!tester.machine.epoch.is_same_sign_in(before) && tester.effects.publish, "{state}");
        assert_eq!(tester.effects.save.is_some(), state == "unsaved");
        if let Some(erase) = tester.effects.save.take() {
            assert!(erase.token.is_none());
            tester.step(|turn| turn.save_ended(erase.id, Ok(())));
        }
        let never = seen(&mut Tester::signed_out(false).machine, tester.now);
        if let Some(info) = flight {
            let refreshing = never.replace("refreshing: false", "refreshing: true");
            assert_eq!(seen(&mut tester.machine, tester.now), refreshing, "{state}");
            tester.land(&info, response("A2 R2 600"));
            assert_eq!(tester.effects.revoke.len(), 1, "{state}");
        }
        assert_eq!(seen(&mut tester.machine, tester.now), never, "{state}");
        assert!(tester.machine.flights.current.is_none(), "{state}");
        for demand in [Demand::New, Demand::Requested] {
            let decision = tester.step(|turn| turn.demand(demand, &LIMITS, true));
            assert!(decision.unwrap_err().is_signed_out() && tester.effects.is_empty(), "{state}");
        }
    }
}

// === Saves ===

/// Between a response and its save, another thread may sign in.
#[test]
fn d13_a_sign_in_between_a_response_and_its_save_is_saved() {
    let mut tester = Tester::new();
    tester.machine.persistence = Persistence::Hook;
    let info = tester.start();
    tester.step(|turn| turn.respond(&info, token("A2 R2 600")));
    tester.step(|turn| turn.sign_in(token("B1 Q1 600")));
    let save = tester.effects.save.take().expect("the sign-in is saved");
    assert_eq!(save.token.unwrap().access_token(), "B1");
    assert!(matches!(tester.step(|turn| turn.save_before_landing(&info)), Saving::Done));
    assert!(tester.effects.save.is_none());
}
