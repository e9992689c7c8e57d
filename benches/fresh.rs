//! Overhead per request with a fresh token.
//!
//! All candidates wrap the same service, which drops the request and returns a response at once (`bare`), and
//! get the same request: four headers, and a token of 800 bytes.
//!
//! - `set_request_header`, `add_authorization`: tower-http's layers, for a token that never changes.
//! - `rw_lock`: a formatted header and its expiry behind a lock, as clients write it by hand.
//! - `watch`: a header's string in a `tokio::sync::watch` channel, as clients write it by hand.
//! - `auth`: this crate's layer (replay `NoReplay`); `auth_origin` with `restrict_to_origin`;
//!   `auth_extension` with an extension in the request (net of `bare_extension`, which gets the same
//!   request); `auth_shared` with a store behind the session.
//! - `auth_clone_body` (the default) and `auth_buffered` also copy the request head, so that it can be sent
//!   again.
//!
//! ```text
//! cargo bench --bench fresh                 # criterion's groups, then the table
//! cargo bench --bench fresh -- table        # the table alone: one minute
//! ```
//!
//! # Times
//!
//! A figure is a ratio within one process, net of `bare`: the candidates take turns in many short rounds, the
//! difference to `bare` is taken in each round, and the median of these differences is used. The table has
//! the median of several processes, and the lowest and highest. Nanoseconds of different runs or machines
//! can't be compared. Of two threads only the batches count during which both ran.
//!
//! # Instructions
//!
//! They repeat to the last digit, and need valgrind. For each candidate the bench runs
//!
//! ```text
//! FRESH_COUNT=auth:5000 valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/deps/fresh-…
//! ```
//!
//! once for 5,000 calls and once for 10,000: the difference is what 5,000 calls took. (Name another
//! `--callgrind-out-file` and read it with `callgrind_annotate` to see where they are.) Under valgrind
//! reading the clock is a system call, whose instructions aren't counted; an atomic operation counts as one.
//! `auth_clone` and so on are the candidates with the service cloned for each call.
#![allow(clippy::disallowed_methods, reason = "the real clock is what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    collections::BTreeMap,
    env,
    hint::black_box,
    io,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use http::{HeaderValue, Request, Response, header};
use tower::{Layer, Service};
use tower_http::{auth::AddAuthorizationLayer, set_header::SetRequestHeaderLayer};
use tower_reauth::{
    AuthLayer,
    replay::{Buffered, NoReplay},
    store::MemoryStore,
};

use support::{
    Body, Noop,
    callgrind::instructions,
    fresh_session, fresh_token,
    hand_written::{FromRwLock, FromWatch},
    request, send, shared_session,
    table::{Goal, Samples, Table, in_processes, is_bench, job, median, report},
    threads::{Span, on_two_threads},
    token_text,
};

/// Called with each candidate: its name, its service, and the request that it gets.
trait Visit {
    fn visit<S>(&mut self, name: &'static str, service: &S, request: fn() -> Request<Body>)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync;
}

struct ByCriterion<'a>(&'a mut Criterion);

/// Lets the candidates take turns.
struct ByTurns {
    mode: Mode,
    /// Nanoseconds per call, one for each round; not a number if the two threads never ran at once.
    rounds: BTreeMap<&'static str, Vec<f64>>,
}

/// Runs one candidate, for callgrind.
struct Counted<'a> {
    only: &'a str,
    calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    OneThread,
    /// The service is cloned for each call.
    Cloned,
    /// Each thread has a clone of the service.
    TwoThreads,
}

/// A user's extension.
#[derive(Clone, Copy, Debug)]
struct Tenant(#[expect(dead_code, reason = "only carried along")] u32);

const MODES: [Mode; 3] = [Mode::OneThread, Mode::Cloned, Mode::TwoThreads];
/// Few enough that the requests stay in the cache.
const BATCH: usize = 64;
/// Enough for two threads to overlap nearly all the time.
const BATCH_2_THREADS: usize = 512;
const PROCESSES: usize = 9;

fn main() {
    if let Ok(order) = env::var("FRESH_COUNT") {
        let (only, calls) = order.split_once(':').expect("FRESH_COUNT=candidate:calls");
        visit_all(&mut Counted { only, calls: calls.parse().expect("a number of calls") });
        return;
    }
    if job().is_some() {
        MODES.into_iter().for_each(report_times);
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    visit_all(&mut ByCriterion(&mut criterion));
    criterion.final_summary();
    if is_bench() {
        print_table();
    } else {
        for mode in MODES {
            take_turns(mode, 1);
        }
    }
}

fn visit_all(visitor: &mut impl Visit) {
    let token = token_text();
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).expect("visible ASCII");
    value.set_sensitive(true);
    visitor.visit("bare", &Noop, request);
    visitor.visit("bare_extension", &Noop, request_with_extension);
    let layer = SetRequestHeaderLayer::overriding(header::AUTHORIZATION, value);
    visitor.visit("set_request_header", &layer.layer(Noop), request);
    let layer = AddAuthorizationLayer::bearer(&token).as_sensitive(true);
    visitor.visit("add_authorization", &layer.layer(Noop), request);
    visitor.visit("rw_lock", &FromRwLock::new(Noop, &token), request);
    visitor.visit("watch", &FromWatch::new(Noop, &token), request);
    let default = AuthLayer::from_session(fresh_session());
    let layer = default.clone().with_replay(NoReplay);
    visitor.visit("auth", &layer.clone().layer(Noop), request);
    let origin = "https://api.example.com".parse().expect("an origin");
    visitor.visit("auth_origin", &layer.clone().restrict_to_origin(origin).layer(Noop), request);
    visitor.visit("auth_extension", &layer.layer(Noop), request_with_extension);
    let shared = shared_session(&MemoryStore::new(), fresh_token());
    let layer = AuthLayer::from_session(shared).with_replay(NoReplay);
    visitor.visit("auth_shared", &layer.layer(Noop), request);
    visitor.visit("auth_clone_body", &default.clone().layer(Noop), request);
    visitor.visit("auth_buffered", &default.with_replay(Buffered::default()).layer(Noop), request);
}

fn request_with_extension() -> Request<Body> {
    let mut request = request();
    request.extensions_mut().insert(Tenant(1));
    request
}

fn print_table() {
    let mut table = Table::default();
    match Instructions::count_all() {
        Ok(counts) => counts.add_to(&mut table),
        Err(error) => {
            let why = format!("valgrind: {error}");
            table.missing("fresh, `NoReplay`: instructions, net", &why, Goal::AtMost(670.0));
            table.missing("fresh, `CloneBody`: instructions, net", &why, Goal::AtMost(1950.0));
        }
    }
    let samples = in_processes(PROCESSES, "times");
    for mode in MODES {
        print_nanos(mode, &samples);
    }
    for mode in MODES {
        let row = format!("fresh, `NoReplay`, {}: net time, ratio to `AddAuthorization`", mode.name());
        table.row_of(row, &samples, &ratio_name(mode, "auth"), mode.goal());
    }
    for (candidate, what) in
        [("rw_lock", "a header in a `RwLock`"), ("watch", "a string in a `watch` channel")]
    {
        for mode in MODES {
            let row = format!("by hand, {what}, {}: net time, the same ratio", mode.name());
            table.row_of(row, &samples, &ratio_name(mode, candidate), Goal::None);
        }
    }
    table.print();
}

fn ratio_name(mode: Mode, candidate: &str) -> String {
    format!("{} {candidate} ratio", mode.name())
}

fn print_nanos(mode: Mode, samples: &Samples) {
    let nanos = |candidate: &str| samples.median(&format!("{} {candidate} ns", mode.name()));
    print!("{}: bare {:.1} ns; net of it", mode.name(), nanos("bare"));
    let candidates = [
        "set_request_header",
        "add_authorization",
        "rw_lock",
        "watch",
        "auth",
        "auth_origin",
        "auth_extension",
        "auth_clone_body",
        "auth_buffered",
    ];
    for candidate in candidates {
        print!(", {candidate} {:.1}", nanos(candidate));
    }
    println!();
}

/// Measures in this process, for the one that started it.
fn report_times(mode: Mode) {
    let turns = take_turns(mode, if mode == Mode::TwoThreads { 40 } else { 1_000 });
    report(format_args!("{} bare ns", mode.name()), turns.gross("bare"));
    for candidate in turns.rounds.keys().filter(|name| !name.starts_with("bare")) {
        let net = turns.net(candidate);
        report(format_args!("{} {candidate} ns", mode.name()), net);
        report(ratio_name(mode, candidate), net / turns.net("add_authorization"));
    }
}

fn take_turns(mode: Mode, rounds: usize) -> ByTurns {
    let mut turns = ByTurns { mode, rounds: BTreeMap::new() };
    for _ in 0..rounds {
        visit_all(&mut turns);
    }
    turns
}

/// The candidate that gets the same request and adds nothing.
fn bare_of(candidate: &str) -> &'static str {
    if candidate.contains("extension") { "bare_extension" } else { "bare" }
}

#[inline(never)]
fn run<S>(service: &mut S, requests: impl Iterator<Item = Request<Body>>)
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    for request in requests {
        black_box(send(service, request));
    }
}

#[inline(never)]
fn run_cloned<S>(service: &S, requests: impl Iterator<Item = Request<Body>>)
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
{
    for request in requests {
        black_box(send(&mut black_box(service).clone(), request));
    }
}

fn time_batch<S>(service: &mut S, cloned: bool, requests: Vec<Request<Body>>, start: impl FnOnce()) -> Span
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
{
    let mut requests = requests.into_iter();
    start();
    let began = Instant::now();
    if cloned {
        run_cloned(service, requests.by_ref());
    } else {
        run(service, requests.by_ref());
    }
    (began, Instant::now())
}

fn time_two_threads<S>(
    service: &S,
    request: fn() -> Request<Body>,
    calls: usize,
    rounds: usize,
) -> Vec<(Duration, f64)>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync,
{
    on_two_threads(rounds, |_, start| {
        let requests = (0..calls).map(|_| request()).collect();
        time_batch(&mut service.clone(), false, requests, start)
    })
}

fn nanos_each(time: Duration, calls: usize) -> f64 {
    time.as_nanos() as f64 / calls as f64
}

/// Instructions per call, by candidate.
struct Instructions(BTreeMap<String, f64>);

// === impl Instructions ===

impl Instructions {
    fn count_all() -> io::Result<Self> {
        let mut counts = BTreeMap::new();
        for candidate in [
            "bare",
            "bare_clone",
            "bare_extension",
            "add_authorization",
            "add_authorization_clone",
            "rw_lock",
            "watch",
            "auth",
            "auth_clone",
            "auth_origin",
            "auth_extension",
            "auth_shared",
            "auth_clone_body",
            "auth_buffered",
        ] {
            counts.insert(candidate.to_owned(), instructions("FRESH_COUNT", candidate)?);
        }
        Ok(Self(counts))
    }

    fn net(&self, candidate: &str) -> f64 {
        let bare = if candidate.ends_with("_clone") { "bare_clone" } else { bare_of(candidate) };
        self.0[candidate] - self.0[bare]
    }

    fn add_to(&self, table: &mut Table) {
        let add = self.net("add_authorization");
        let auth = self.net("auth");
        let more = |candidate| self.net(candidate) - auth;
        table.row("fresh, `NoReplay`: instructions, net", auth, Goal::AtMost(670.0));
        table.row(
            "fresh, `NoReplay`: instructions, ratio to `AddAuthorization`",
            auth / add,
            Goal::AtMost(2.0),
        );
        let cloned = self.net("auth_clone") / self.net("add_authorization_clone");
        table.row(
            "fresh, `NoReplay`, service cloned per call: instructions, the same ratio",
            cloned,
            Goal::None,
        );
        let row = "fresh, `NoReplay`, `restrict_to_origin`: instructions more";
        table.row(row, more("auth_origin"), Goal::AtMost(60.0));
        let row = "fresh, `NoReplay`, an extension in the request: instructions more";
        table.row(row, more("auth_extension"), Goal::AtMost(60.0));
        let row = "fresh, `NoReplay`, a store behind the session: instructions more";
        table.row(row, more("auth_shared"), Goal::AtMost(1.0));
        let row = "fresh, `CloneBody`: instructions, net";
        table.row(row, self.net("auth_clone_body"), Goal::AtMost(1950.0));
        table.row("fresh, `Buffered`: instructions, net", self.net("auth_buffered"), Goal::None);
        table.row("tower-http's `AddAuthorization`: instructions, net", add, Goal::None);
        table.row("by hand, a header in a `RwLock`: instructions, net", self.net("rw_lock"), Goal::None);
        table.row("by hand, a string in a `watch` channel: instructions, net", self.net("watch"), Goal::None);
    }
}

// === impl Mode ===

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::OneThread => "one thread",
            Self::Cloned => "service cloned per call",
            Self::TwoThreads => "two threads",
        }
    }

    fn goal(self) -> Goal {
        match self {
            Self::OneThread => Goal::AtMost(2.5),
            Self::Cloned => Goal::AtMost(2.4),
            Self::TwoThreads => Goal::AtMost(1.0),
        }
    }
}

// === impl ByCriterion ===

impl Visit for ByCriterion<'_> {
    fn visit<S>(&mut self, name: &'static str, service: &S, request: fn() -> Request<Body>)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync,
    {
        let mut group = self.0.benchmark_group("fresh");
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        let mut own = service.clone();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(request, |request| send(&mut own, request), BatchSize::SmallInput);
        });
        group.bench_function(format!("{name}_clone"), |bencher| {
            let call = |request| send(&mut black_box(service).clone(), request);
            bencher.iter_batched(request, call, BatchSize::SmallInput);
        });
        group.finish();

        let mut group = self.0.benchmark_group("fresh_2_threads");
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| {
                let (rounds, rest) = (calls as usize / BATCH_2_THREADS, calls as usize % BATCH_2_THREADS);
                let full = time_two_threads(service, request, BATCH_2_THREADS, rounds);
                let rest = time_two_threads(service, request, rest, 1);
                full.into_iter().chain(rest).map(|(time, _)| time).sum()
            });
        });
        group.finish();
    }
}

// === impl ByTurns ===

impl ByTurns {
    fn gross(&self, candidate: &str) -> f64 {
        median(self.rounds[candidate].iter().copied())
    }

    /// Nanoseconds that a call takes beyond those of the bare service.
    fn net(&self, candidate: &str) -> f64 {
        let bare = &self.rounds[bare_of(candidate)];
        median(self.rounds[candidate].iter().zip(bare).map(|(time, bare)| time - bare))
    }
}

impl Visit for ByTurns {
    fn visit<S>(&mut self, name: &'static str, service: &S, request: fn() -> Request<Body>)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync,
    {
        let nanos = if self.mode == Mode::TwoThreads {
            let times = time_two_threads(service, request, BATCH_2_THREADS, 8);
            let together = times.iter().filter(|(_, together)| *together > 0.9);
            median(together.map(|(time, _)| nanos_each(*time, BATCH_2_THREADS)))
        } else {
            let mut service = service.clone();
            let mut one = || {
                let requests = (0..BATCH).map(|_| request()).collect();
                time_batch(&mut service, self.mode == Mode::Cloned, requests, || ())
            };
            // The first one warms the caches up.
            one();
            let (began, ended) = one();
            nanos_each(ended - began, BATCH)
        };
        self.rounds.entry(name).or_default().push(nanos);
    }
}

// === impl Counted ===

impl Visit for Counted<'_> {
    fn visit<S>(&mut self, name: &'static str, service: &S, request: fn() -> Request<Body>)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync,
    {
        let requests = (0..self.calls).map(|_| request());
        if self.only == name {
            run(&mut service.clone(), requests);
        } else if self.only.strip_suffix("_clone") == Some(name) {
            run_cloned(service, requests);
        }
    }
}
