//! The table of scenarios: parsing it, running it on a driver, and comparing the outcome.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{Error, EventKind, Ineffective, RefreshError, RefreshReason, Token};

pub(crate) const TABLE: &str = include_str!("../scenarios.json");

pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) rows: Vec<String>,
    pub(crate) given: Given,
    pub(crate) steps: Vec<Step>,
    pub(crate) max_attempts: Option<usize>,
}

#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) start: Start,
    pub(crate) refresh_early: bool,
    pub(crate) window: Option<f64>,
    pub(crate) margin: Option<f64>,
    pub(crate) jitter: bool,
    pub(crate) seed: u64,
    pub(crate) wait_timeout: f64,
    pub(crate) rejection_wait: f64,
    pub(crate) refresh_timeout: f64,
    pub(crate) save_timeout: f64,
    pub(crate) max_waiters: Option<usize>,
    pub(crate) wait_through_backoff: bool,
    pub(crate) save: Option<Hook>,
    pub(crate) revoke: Hook,
    pub(crate) runtime: bool,
    pub(crate) allow_unauthenticated: bool,
    /// A flight's task is polled only at the step `polled`.
    pub(crate) late_start: bool,
    pub(crate) rejects: Vec<u16>,
    pub(crate) auto_endpoint: Option<String>,
    pub(crate) auto_server: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    Ok,
    Fails,
    Held,
}

#[derive(Clone)]
pub(crate) enum Start {
    Empty,
    RefreshToken(String),
    SignedOut,
    Token(TokenSpec),
}

/// `A1 R1 5 refresh_at=100`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenSpec {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) life: Option<f64>,
    pub(crate) refresh_at: Option<f64>,
    pub(crate) until: Option<f64>,
}

pub(crate) struct Step {
    /// Milliseconds on the monotonic clock.
    pub(crate) at: i64,
    pub(crate) times: usize,
    pub(crate) every: i64,
    pub(crate) action: Action,
    pub(crate) expect: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Call { who: String, count: usize, once: bool, skip_auth: bool, own: bool, options: Options },
    Token(String, Options),
    Refresh(String),
    Try(String),
    TokenAfterRejection { who: String, of: String },
    Inside(Box<Action>),
    Drop(String),
    Response { who: String, status: Option<u16> },
    Gives(TokenSpec),
    Fails(Failure),
    Panics,
    Gone,
    Stalls,
    Polled,
    Late(Box<Action>),
    Saved,
    SaveFails,
    SavePanics,
    RevokeEnds,
    Set(TokenSpec),
    SignIn(TokenSpec),
    SignOut,
    MarkRejected(u64),
    ResetBackoff,
    Shutdown { who: String, timeout: f64 },
    Idle(String),
    Wall(f64),
    Look,
}

/// A caller's own options.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) timeout: Option<f64>,
    pub(crate) min: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) retry_after: Option<f64>,
}

/// What happened in a step.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// Each member of a group has its own entry.
    pub(crate) who: BTreeMap<(String, usize), String>,
    pub(crate) asked: Vec<String>,
    pub(crate) saved: Vec<String>,
    pub(crate) revoked: Vec<String>,
    pub(crate) events: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) state: &'static str,
    pub(crate) generation: u64,
    pub(crate) running: bool,
    pub(crate) grant_ended: bool,
    /// `None`: the driver doesn't know.
    pub(crate) failures: Option<u32>,
    /// Seconds on the monotonic clock.
    pub(crate) next: Option<f64>,
    /// None: the driver doesn't know.
    pub(crate) refresh: Option<Option<String>>,
    pub(crate) unsaved: bool,
}

/// Something that the scenarios can be run on.
pub(crate) trait Driver {
    /// Advances the time to an instant. Timers fire at their own instants.
    fn advance(&mut self, at: i64);
    fn perform(&mut self, action: &Action);
    fn seen(&mut self) -> Seen;
    fn standing(&mut self) -> Standing;
    /// The most attempts of any request.
    fn most_attempts(&self) -> usize;
    /// Whether a caller waits, for a driver that can't see that its demand was decided again.
    fn still_waits(&self, _who: &str) -> bool {
        false
    }
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let table: Value = serde_json::from_str(TABLE).expect("the table is JSON");
    let scenarios = table["scenarios"].as_array().expect("scenarios");
    scenarios.iter().map(Scenario::parse).collect()
}

/// How many scenarios the table has.
const COUNT: usize = 350;

/// Runs the scenarios of one row, or all of them. Those with jitter are run with many seeds.
pub(crate) fn run_all<D: Driver>(on: &str, row: Option<&str>, seeds: u64, driver: impl Fn(&Given) -> D) {
    let mut failures = Vec::new();
    let mut count = 0;
    for scenario in scenarios() {
        let Scenario { name, rows, given, .. } = &scenario;
        if row.is_some_and(|row| !rows.iter().any(|own| own == row)) {
            continue;
        }
        count += 1;
        let seeds = given.seed..given.seed + if given.jitter { seeds } else { 1 };
        for seed in seeds {
            let given = Given { seed, ..given.clone() };
            // The driver is dropped in there, too.
            let run = || run(&scenario, &mut driver(&given));
            let difference = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok(Ok(())) => continue,
                Ok(Err(difference)) => difference,
                Err(_) => "panicked".to_owned(),
            };
            failures.push(format!("{name} {rows:?}\n    seed {seed}: {difference}"));
            break;
        }
    }
    println!("scenarios on {on}: {count} run, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    match row {
        None => assert_eq!(count, COUNT, "each scenario runs"),
        Some(row) => assert!(count > 0, "no scenario has the row {row}"),
    }
}

/// Runs a scenario. The error names the first difference.
pub(crate) fn run(scenario: &Scenario, driver: &mut dyn Driver) -> Result<(), String> {
    for (index, step) in scenario.steps.iter().enumerate() {
        for turn in 0..step.times {
            driver.advance(step.at + step.every * i64::try_from(turn).expect("few turns"));
            driver.perform(&step.action);
        }
        let mut seen = driver.seen();
        for (who, course) in step.expect["who"].as_object().into_iter().flatten() {
            if course == "wait" && driver.still_waits(who) {
                seen.who.entry((who.clone(), 0)).or_insert_with(|| "wait".into());
            }
        }
        let standing = driver.standing();
        compare(&step.expect, seen, &standing)
            .map_err(|difference| format!("step {index} at {} ({:?}): {difference}", step.at, step.action))?;
    }
    match scenario.max_attempts {
        Some(most) if driver.most_attempts() > most => {
            Err(format!("a request was sent {} times", driver.most_attempts()))
        }
        _ => Ok(()),
    }
}

fn compare(expect: &Value, seen: Seen, standing: &Standing) -> Result<(), String> {
    if expect["who"] != "any" {
        let mut who = BTreeMap::<&str, Vec<&str>>::new();
        for ((name, _), course) in &seen.who {
            let courses = who.entry(name).or_default();
            if !courses.contains(&course.as_str()) {
                courses.push(course);
            }
        }
        let who: BTreeMap<_, _> =
            who.into_iter().map(|(name, courses)| (name, courses.join(" | "))).collect();
        let mut expected = BTreeMap::new();
        for (name, course) in expect["who"].as_object().into_iter().flatten() {
            expected.insert(name.as_str(), course.as_str().expect("a course").to_owned());
        }
        same("who", &expected, &who)?;
    }
    match &expect["asked"] {
        Value::Number(count) => same("asked", &count.as_u64(), &Some(seen.asked.len() as u64))?,
        asked => same("asked", &list(asked), &seen.asked)?,
    }
    same("saved", &list(&expect["saved"]), &seen.saved)?;
    same("revoked", &list(&expect["revoked"]), &seen.revoked)?;
    if expect["events"].is_array() {
        same("events", &list(&expect["events"]), &seen.events)?;
    }
    for (key, expected) in expect["is"].as_object().into_iter().flatten() {
        match key.as_str() {
            "state" => same(key, &expected.as_str(), &Some(standing.state))?,
            "generation" => same(key, &expected.as_u64(), &Some(standing.generation))?,
            "running" => same(key, &expected.as_bool(), &Some(standing.running))?,
            "grant_ended" => same(key, &expected.as_bool(), &Some(standing.grant_ended))?,
            "unsaved" => same(key, &expected.as_bool(), &Some(standing.unsaved))?,
            "failures" => {
                if let Some(failures) = standing.failures {
                    same(key, &expected.as_u64(), &Some(failures.into()))?;
                }
            }
            "refresh" => {
                if let Some(refresh) = &standing.refresh {
                    same(key, &expected.as_str(), &refresh.as_deref())?;
                }
            }
            "next" => next(expected, standing.next)?,
            key => return Err(format!("unknown expectation {key}")),
        }
    }
    Ok(())
}

fn next(expected: &Value, seen: Option<f64>) -> Result<(), String> {
    let fits = match (expected, seen) {
        (Value::Null, None) => true,
        (Value::Array(range), Some(seen)) => {
            let bound = |i: usize| range[i].as_f64().expect("a bound");
            (bound(0) - 1e-3..=bound(1) + 1e-3).contains(&seen)
        }
        (Value::Number(expected), Some(seen)) => {
            (expected.as_f64().expect("a number") - seen).abs() <= 1.1e-3
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("next: expected {expected}, seen {seen:?}")) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, seen: &T) -> Result<(), String> {
    if expected == seen { Ok(()) } else { Err(format!("{what}: expected {expected:?}, seen {seen:?}")) }
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().expect("a string").to_owned()).collect()
}

impl Scenario {
    fn parse(value: &Value) -> Self {
        Self {
            name: value["name"].as_str().expect("a name").to_owned(),
            rows: list(&value["rows"]),
            given: Given::parse(&value["given"]),
            steps: value["steps"].as_array().expect("steps").iter().map(Step::parse).collect(),
            max_attempts: value["max_attempts"].as_u64().map(|most| most as usize),
        }
    }
}

impl Given {
    fn parse(value: &Value) -> Self {
        let hook = |key: &str| match value[key].as_str() {
            None | Some("none") => None,
            Some("ok") => Some(Hook::Ok),
            Some("fails") => Some(Hook::Fails),
            Some("held") => Some(Hook::Held),
            Some(other) => panic!("unknown hook {other}"),
        };
        let number = |key: &str| value[key].as_f64();
        Self {
            start: Start::parse(value["start"].as_str().expect("a start")),
            refresh_early: value["refresh_early"].as_bool().unwrap_or(true),
            window: number("window"),
            margin: number("margin"),
            jitter: value["jitter"].as_bool().unwrap_or(false),
            seed: value["seed"].as_u64().unwrap_or(0),
            wait_timeout: number("timeout").unwrap_or(30.0),
            rejection_wait: number("rejection_wait").unwrap_or(2.0),
            refresh_timeout: number("refresh_timeout").unwrap_or(60.0),
            save_timeout: number("save_timeout").unwrap_or(5.0),
            max_waiters: value["max_waiters"].as_u64().map(|most| most as usize),
            wait_through_backoff: value["wait_through_backoff"].as_bool().unwrap_or(false),
            save: hook("save"),
            revoke: hook("revoke").unwrap_or(Hook::Ok),
            runtime: value["runtime"].as_bool().unwrap_or(true),
            allow_unauthenticated: value["allow_unauthenticated"].as_bool().unwrap_or(false),
            late_start: value["late_start"].as_bool().unwrap_or(false),
            rejects: value["rejects"].as_array().map_or(vec![401], |statuses| {
                statuses.iter().map(|status| status.as_u64().expect("a status") as u16).collect()
            }),
            auto_endpoint: value["auto"]["endpoint"].as_str().map(str::to_owned),
            auto_server: value["auto"]["server"].as_u64().map(|status| status as u16),
        }
    }
}

impl Start {
    fn parse(text: &str) -> Self {
        match text.split_once(' ') {
            None if text == "empty" => Self::Empty,
            None if text == "signed_out" => Self::SignedOut,
            Some(("refresh", token)) => Self::RefreshToken(token.to_owned()),
            _ => Self::Token(TokenSpec::parse(&mut text.split(' '))),
        }
    }
}

impl TokenSpec {
    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Self {
        let access = words.next().expect("an access token").to_owned();
        let mut spec = Self { access, refresh: None, life: None, refresh_at: None, until: None };
        let mut place = 0;
        for word in words {
            match word.split_once('=') {
                Some(("refresh_at", seconds)) => spec.refresh_at = Some(parse_number(seconds)),
                Some(("until", seconds)) => spec.until = Some(parse_number(seconds)),
                Some(_) => panic!("unknown option {word}"),
                None => {
                    if word != "-" {
                        match place {
                            0 => spec.refresh = Some(word.trim_matches('"').to_owned()),
                            1 => spec.life = Some(parse_number(word)),
                            _ => panic!("a word too many: {word}"),
                        }
                    }
                    place += 1;
                }
            }
        }
        spec
    }

    pub(crate) fn token(&self) -> Token {
        let mut builder = Token::builder(&self.access);
        if let Some(refresh) = &self.refresh {
            builder = builder.refresh_token(refresh);
        }
        if let Some(lifetime) = self.life {
            builder = builder.expires_in(seconds(lifetime));
        }
        if let Some(until) = self.until {
            builder = builder.expires_at(SystemTime::UNIX_EPOCH + seconds(until));
        }
        if let Some(refresh_at) = self.refresh_at {
            builder = builder.refresh_in(seconds(refresh_at));
        }
        builder.build().expect("a valid token")
    }

    /// `*` is the number of the next generation.
    pub(crate) fn fill(&self, generation: u64) -> Self {
        let fill = |text: &str| text.replace('*', &generation.to_string());
        Self { access: fill(&self.access), refresh: self.refresh.as_deref().map(fill), ..self.clone() }
    }
}

impl Options {
    fn parse(&mut self, word: &str) {
        match word.split_once('=') {
            Some(("timeout", seconds)) => self.timeout = Some(parse_number(seconds)),
            Some(("min", seconds)) => self.min = Some(parse_number(seconds)),
            _ => panic!("unknown option {word}"),
        }
    }
}

impl Failure {
    pub(crate) fn error(&self) -> RefreshError {
        let error = match self.kind.as_str() {
            "transient" => RefreshError::transient("transient"),
            "unexplained" => RefreshError::unexplained("unexplained"),
            "unknown" => RefreshError::outcome_unknown("unknown"),
            "misconfigured" => RefreshError::misconfigured("misconfigured"),
            "grant_ended" => RefreshError::grant_ended("ended"),
            other => panic!("unknown failure {other}"),
        };
        match self.retry_after {
            Some(wait) => error.with_retry_after(seconds(wait)),
            None => error,
        }
    }
}

impl Step {
    fn parse(value: &Value) -> Self {
        let at = millis(value["at"].as_f64().expect("an instant"));
        let text = value["do"].as_str().expect("an action");
        let (times, every, text) = match text.strip_prefix("repeat ") {
            None => (1, 0, text),
            Some(rest) => {
                let mut words = rest.splitn(3, ' ');
                let times = words.next().expect("a count").parse().expect("a count");
                let every = millis(parse_number(words.next().expect("a pause")));
                (times, every, words.next().expect("an action"))
            }
        };
        Self { at, times, every, action: Action::parse(text), expect: value["expect"].clone() }
    }
}

impl Action {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let verb = words.next().expect("a verb");
        let rest = text.strip_prefix(verb).expect("its own prefix").trim_start();
        let mut name = || words.next().expect("a name").to_owned();
        match verb {
            "call" => {
                let who = name();
                let (mut count, mut once, mut skip_auth, mut own) = (1, false, false, false);
                let mut options = Options::default();
                for word in words {
                    match word {
                        "once" => once = true,
                        "skip_auth" => skip_auth = true,
                        "own" => own = true,
                        _ => match word.strip_prefix('x') {
                            Some(number) => count = number.parse().expect("a count"),
                            None => options.parse(word),
                        },
                    }
                }
                Self::Call { who, count, once, skip_auth, own, options }
            }
            "token" => {
                let who = name();
                let mut options = Options::default();
                words.for_each(|word| options.parse(word));
                Self::Token(who, options)
            }
            "refresh" => Self::Refresh(name()),
            "try" => Self::Try(name()),
            "token_after_rejection" => Self::TokenAfterRejection { who: name(), of: name() },
            "inside" => Self::Inside(Box::new(Self::parse(rest))),
            "drop" => Self::Drop(name()),
            "response" => {
                let who = name();
                let status = name();
                let status = if status == "lost" { None } else { Some(status.parse().expect("a status")) };
                Self::Response { who, status }
            }
            "gives" => Self::Gives(TokenSpec::parse(&mut words)),
            "fails" => {
                let kind = name();
                let retry_after = words
                    .next()
                    .map(|word| parse_number(word.strip_prefix("retry_after=").expect("no other option")));
                Self::Fails(Failure { kind, retry_after })
            }
            "panics" => Self::Panics,
            "gone" => Self::Gone,
            "stalls" => Self::Stalls,
            "polled" => Self::Polled,
            "late" => Self::Late(Box::new(Self::parse(rest))),
            "saved" => Self::Saved,
            "save_fails" => Self::SaveFails,
            "save_panics" => Self::SavePanics,
            "revoke_ends" => Self::RevokeEnds,
            "set" => Self::Set(TokenSpec::parse(&mut words)),
            "sign_in" => Self::SignIn(TokenSpec::parse(&mut words)),
            "sign_out" => Self::SignOut,
            "mark_rejected" => Self::MarkRejected(name().parse().expect("a generation")),
            "reset_backoff" => Self::ResetBackoff,
            "shutdown" => Self::Shutdown { who: name(), timeout: parse_number(&name()) },
            "idle" => Self::Idle(name()),
            "wall" => Self::Wall(parse_number(rest)),
            "look" => Self::Look,
            _ => panic!("unknown action {text}"),
        }
    }
}

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// What the save hook got, as the table writes it.
pub(crate) fn saved(token: Option<&Token>) -> String {
    token.map_or("-".to_owned(), shown)
}

/// A token as the table writes it: its access token and its refresh token.
pub(crate) fn shown(token: &Token) -> String {
    format!("{} {}", token.access_token(), token.refresh_token().unwrap_or("-"))
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn parse_number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a number"))
}

/// The name of the error's kind in the table.
pub(crate) fn kind(error: &Error) -> &'static str {
    type Is = fn(&Error) -> bool;
    let kinds: [(&str, Is); 12] = [
        ("transient", Error::is_transient),
        ("unknown", Error::is_outcome_unknown),
        ("misconfigured", Error::is_misconfigured),
        ("grant_ended", Error::is_grant_ended),
        ("backoff", Error::is_backoff),
        ("timeout", Error::is_timeout),
        ("overloaded", Error::is_overloaded),
        ("missing_runtime", Error::is_missing_runtime),
        ("signed_out", Error::is_signed_out),
        ("shut_down", Error::is_shut_down),
        ("reentrant", Error::is_reentrant),
        ("same_token", Error::is_same_token),
    ];
    let kind = kinds.iter().find(|(_, is)| is(error)).map_or("another", |(kind, _)| kind);
    let helps = !["misconfigured", "grant_ended", "signed_out", "shut_down", "reentrant", "same_token"]
        .contains(&kind);
    assert_eq!(error.is_retryable(), helps, "whether trying again helps: {kind}");
    kind
}

/// The reason's name in the table.
pub(crate) fn reason(reason: RefreshReason) -> &'static str {
    match reason {
        RefreshReason::Initial => "initial",
        RefreshReason::Stale => "stale",
        RefreshReason::Expired => "expired",
        RefreshReason::Rejected => "rejected",
        RefreshReason::Requested => "requested",
        RefreshReason::Repeated => "repeated",
        #[allow(unreachable_patterns, reason = "the enum is open outside the crate")]
        _ => "another",
    }
}

/// The event's name in the table; `None` if the table leaves it out.
pub(crate) fn event(event: &EventKind) -> Option<String> {
    Some(match event {
        EventKind::RefreshStarted { reason: why, .. } => format!("refresh_started {}", reason(*why)),
        EventKind::RefreshRepeated => "refresh_repeated".into(),
        EventKind::Refreshed { .. } => "refreshed".into(),
        EventKind::RefreshIneffective { reason, .. } => {
            let why = match reason {
                Ineffective::Expired => "expired",
                Ineffective::AlreadyStale => "already_stale",
                Ineffective::TooShort => "too_short",
                Ineffective::Unchanged => "unchanged",
                #[allow(unreachable_patterns, reason = "the enum is open outside the crate")]
                _ => "another",
            };
            format!("refresh_ineffective {why}")
        }
        EventKind::RefreshFailed { error, .. } => format!("refresh_failed {}", kind(error)),
        EventKind::GrantEnded { .. } => "grant_ended".into(),
        EventKind::RefreshDiscarded => "refresh_discarded".into(),
        EventKind::Saved { .. } => "token_saved".into(),
        EventKind::SaveFailed { .. } => "token_save_failed".into(),
        EventKind::TokenSet => "token_set".into(),
        EventKind::SignedIn => "signed_in".into(),
        EventKind::SignedOut => "signed_out".into(),
        _ => return None,
    })
}
