//! What the layer costs a request while the token is fresh.
//!
//! The contestants are what a user would pick for a token that never changes: tower-http's `SetRequestHeader` and
//! `AddAuthorization`. All sit on the same service, which drops the request and answers at once (`bare`), and send the
//! same request: four headers, and a token of 800 bytes. `auth` is the layer itself (replay `NoReplay`); `auth_clone_body`
//! (the default) and `auth_buffered` copy the head of each request besides, so that it can be sent again. Each is also measured with the service cloned for each call,
//! and from two threads over clones of one service.
//!
//! ```text
//! cargo bench --bench fresh                 # criterion's groups, then the ratios
//! cargo bench --bench fresh -- ratios       # the ratios alone
//! FRESH_INSTRUCTIONS=1 cargo bench --bench fresh
//! ```
//!
//! What counts is a ratio within one run, net of `bare`: the contestants take turns in many short rounds, the
//! difference to `bare` is taken in each round, and the median of these differences is used. Nanoseconds of different
//! runs or machines can't be compared. Of two threads only the batches count during which both ran.
//!
//! The third form counts instructions, which repeat to the last digit. For each contestant it runs
//!
//! ```text
//! FRESH_COUNT=auth:20000 valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/deps/fresh-…
//! ```
//!
//! once for 20,000 calls and once for 40,000: the difference is what 20,000 calls took. (Give it an
//! `--callgrind-out-file` of your own and read that with `callgrind_annotate` to see where they are.) Under valgrind a
//! reading of the clock is a system call, whose instructions aren't seen; atomic operations count as one.
#![allow(clippy::disallowed_methods, reason = "the real clock is what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    env,
    hint::{black_box, spin_loop},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use http::{HeaderValue, Request, Response, header};
use tower::{Layer, Service};
use tower_http::{auth::AddAuthorizationLayer, set_header::SetRequestHeaderLayer};
use tower_reauth::{
    AuthLayer,
    replay::{Buffered, NoReplay},
};

use support::{Body, Noop, fresh_session, request, send, token_text};

/// The layers that compete, each called by `visit` with its name and its service.
trait Visit {
    fn visit<S>(&mut self, name: &'static str, service: &S)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync;
}

struct ByCriterion<'a>(&'a mut Criterion);

struct ByTurns {
    /// Nanoseconds a call, one for each round; not a number where both threads never ran at once.
    rounds: Vec<(&'static str, Vec<f64>)>,
    two_threads: bool,
    cloned: bool,
}

/// Runs one contestant for callgrind.
struct Counted<'a> {
    only: &'a str,
    calls: usize,
}

/// When a batch began and when it ended.
type Lap = (Instant, Instant);

/// Lets threads begin at the same instant; each use has a number of its own.
struct StartLine {
    arrived: AtomicUsize,
}

const NAMES: [&str; 6] =
    ["bare", "set_request_header", "add_authorization", "auth", "auth_clone_body", "auth_buffered"];
const THREADS: usize = 2;
/// Few enough that the requests stay in the cache.
const BATCH: usize = 64;
/// Enough for two threads to overlap nearly all the time.
const BATCH_2_THREADS: usize = 512;

fn main() {
    if let Ok(order) = env::var("FRESH_COUNT") {
        let (only, calls) = order.split_once(':').expect("FRESH_COUNT=contestant:calls");
        visit_all(&mut Counted { only, calls: calls.parse().expect("a number of calls") });
        return;
    }
    if env::var_os("FRESH_INSTRUCTIONS").is_some() {
        print_instructions();
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    visit_all(&mut ByCriterion(&mut criterion));
    criterion.final_summary();
    // `cargo test` runs benches, too, without this argument.
    if env::args().any(|argument| argument == "--bench") {
        print_ratios();
    }
}

fn visit_all(visitor: &mut impl Visit) {
    let bearer = format!("Bearer {}", token_text());
    let mut value = HeaderValue::try_from(bearer).expect("visible ASCII");
    value.set_sensitive(true);
    visitor.visit(NAMES[0], &Noop);
    let layer = SetRequestHeaderLayer::overriding(header::AUTHORIZATION, value);
    visitor.visit(NAMES[1], &layer.layer(Noop));
    let layer = AddAuthorizationLayer::bearer(&token_text()).as_sensitive(true);
    visitor.visit(NAMES[2], &layer.layer(Noop));
    let layer = AuthLayer::from_session(fresh_session());
    visitor.visit(NAMES[3], &layer.clone().with_replay(NoReplay).layer(Noop));
    visitor.visit(NAMES[4], &layer.clone().layer(Noop));
    visitor.visit(NAMES[5], &layer.with_replay(Buffered::default()).layer(Noop));
}

fn print_ratios() {
    for (two_threads, cloned, what, goal) in [
        (false, false, "fresh", 2.2),
        (false, true, "fresh, cloned", 2.4),
        (true, false, "fresh_2_threads", 1.0),
        (true, true, "fresh_2_threads, cloned", 1.0),
    ] {
        let count = if two_threads { 300 } else { 3000 };
        let mut turns = ByTurns { rounds: NAMES.map(|name| (name, Vec::new())).into(), two_threads, cloned };
        for _ in 0..count {
            visit_all(&mut turns);
        }
        let net = |name| turns.net(name);
        let (auth, add, set) = (net("auth"), net("add_authorization"), net("set_request_header"));
        println!(
            "{what}: auth/add_authorization net = {:.2} (goal {goal:.1}); \
             bare {:.1} ns, net of it: set_request_header {set:.1}, add_authorization {add:.1}, auth {auth:.1}, \
             auth_clone_body {:.1}, auth_buffered {:.1}",
            auth / add,
            turns.gross("bare"),
            net("auth_clone_body"),
            net("auth_buffered"),
        );
    }
}

fn print_instructions() {
    for suffix in ["", "_clone"] {
        let of = |name: &str| instructions(&format!("{name}{suffix}"));
        let bare = of("bare");
        let net = |name| of(name) - bare;
        let (set, add, auth) = (net("set_request_header"), net("add_authorization"), net("auth"));
        println!(
            "instructions{suffix}: auth/add_authorization net = {:.2}; \
             bare {bare:.1}, net of it: set_request_header {set:.1}, add_authorization {add:.1}, auth {auth:.1}, \
             auth_clone_body {:.1}, auth_buffered {:.1}",
            auth / add,
            net("auth_clone_body"),
            net("auth_buffered"),
        );
    }
}

/// How many instructions one call of a contestant takes.
fn instructions(name: &str) -> f64 {
    const CALLS: u64 = 20_000;
    let total = |calls: u64| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().expect("a running program has a path"))
            .env("FRESH_COUNT", format!("{name}:{calls}"))
            .output()
            .expect("valgrind is installed");
        let report = String::from_utf8_lossy(&output.stderr);
        let collected = report.lines().find_map(|line| line.split_once("Collected :"));
        let (_, collected) = collected.expect("callgrind tells how much it collected");
        collected.trim().parse::<u64>().expect("a number")
    };
    (total(2 * CALLS) - total(CALLS)) as f64 / CALLS as f64
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

/// Runs a batch, and says when it began and ended.
fn time<S>(service: &mut S, cloned: bool, calls: usize, start: &StartLine, round: usize) -> Lap
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
{
    let requests: Vec<_> = (0..calls).map(|_| request()).collect();
    let mut requests = requests.into_iter();
    start.wait(round);
    let began = Instant::now();
    if cloned {
        run_cloned(service, requests.by_ref());
    } else {
        run(service, requests.by_ref());
    }
    (began, Instant::now())
}

/// Runs `rounds` batches on each thread, and gives each one's time, the mean of both threads, and how much of it both
/// ran at once.
fn time_two_threads<S>(service: &S, cloned: bool, calls: usize, rounds: usize) -> Vec<(Duration, f64)>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync,
{
    let start = StartLine::new();
    let on_one_thread = || {
        let mut service = service.clone();
        let one = |round| time(&mut service, cloned, calls, &start, round);
        (0..rounds).map(one).collect::<Vec<_>>()
    };
    let (here, there) = thread::scope(|scope| {
        let there = scope.spawn(on_one_thread);
        (on_one_thread(), there.join().expect("no thread panics"))
    });
    let both = here.into_iter().zip(there).map(|(here, there)| {
        let mean = (here.1 - here.0 + (there.1 - there.0)) / 2;
        let together = here.1.min(there.1).saturating_duration_since(here.0.max(there.0));
        (mean, together.as_secs_f64() / mean.as_secs_f64())
    });
    both.collect()
}

fn nanos_each(time: Duration, calls: usize) -> f64 {
    time.as_nanos() as f64 / calls as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

// === impl ByCriterion ===

impl Visit for ByCriterion<'_> {
    fn visit<S>(&mut self, name: &'static str, service: &S)
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
        for (cloned, suffix) in [(false, ""), (true, "_clone")] {
            group.bench_function(format!("{name}{suffix}"), |bencher| {
                bencher.iter_custom(|calls| {
                    let (rounds, rest) = (calls as usize / BATCH_2_THREADS, calls as usize % BATCH_2_THREADS);
                    let full = time_two_threads(service, cloned, BATCH_2_THREADS, rounds);
                    let rest = time_two_threads(service, cloned, rest, 1);
                    full.into_iter().chain(rest).map(|(time, _)| time).sum()
                });
            });
        }
        group.finish();
    }
}

// === impl ByTurns ===

impl ByTurns {
    fn gross(&self, name: &str) -> f64 {
        let times = self.of(name).iter().copied().filter(|time| !time.is_nan());
        median(&mut times.collect::<Vec<_>>())
    }

    /// What a call takes more than with the bare service.
    fn net(&self, name: &str) -> f64 {
        let pairs = self.of(name).iter().zip(self.of("bare")).map(|(time, bare)| time - bare);
        median(&mut pairs.filter(|time| !time.is_nan()).collect::<Vec<_>>())
    }

    fn of(&self, name: &str) -> &[f64] {
        let found = self.rounds.iter().find(|(known, _)| *known == name);
        &found.expect("a contestant's name").1
    }
}

impl Visit for ByTurns {
    fn visit<S>(&mut self, name: &'static str, service: &S)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync,
    {
        let nanos = if self.two_threads {
            let times = time_two_threads(service, self.cloned, BATCH_2_THREADS, 8);
            // Where something else had the other core, they took turns, and nothing was contended for.
            let together = times.iter().filter(|(_, together)| *together > 0.9);
            let mut nanos: Vec<_> = together.map(|(time, _)| nanos_each(*time, BATCH_2_THREADS)).collect();
            if nanos.is_empty() { f64::NAN } else { median(&mut nanos) }
        } else {
            let mut service = service.clone();
            let mut one = || time(&mut service, self.cloned, BATCH, &StartLine::alone(), 0);
            // The first warms up what the contestant before it had pushed out of the caches.
            one();
            let (began, ended) = one();
            nanos_each(ended - began, BATCH)
        };
        let (_, rounds) = self.rounds.iter_mut().find(|(known, _)| *known == name).expect("a known name");
        rounds.push(nanos);
    }
}

// === impl Counted ===

impl Visit for Counted<'_> {
    fn visit<S>(&mut self, name: &'static str, service: &S)
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

// === impl StartLine ===

impl StartLine {
    fn new() -> Self {
        Self { arrived: AtomicUsize::new(0) }
    }

    /// Nobody else is waited for.
    fn alone() -> Self {
        Self { arrived: AtomicUsize::new(THREADS) }
    }

    fn wait(&self, round: usize) {
        let all = (round + 1) * THREADS;
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.arrived.load(Ordering::Acquire) < all {
            spins += 1;
            // The other thread may be without a core.
            if spins % 10_000 == 0 { thread::yield_now() } else { spin_loop() }
        }
    }
}
