//! Cost of an expired token for many concurrent callers.
//!
//! Each caller is a task with a request. All of them find the token expired, and one calls the token
//! endpoint, which responds once *all* wait. `released` is the time from that response until the last task
//! has sent its request and ended; `total` also has the time before, from the first task on. The candidates:
//!
//! - `auth`: this crate's layer, without the copy of the head that a retry needs (replay `NoReplay`).
//! - `async_mutex`: a `tokio::sync::Mutex` around the token, which is checked again under the lock, as most
//!   clients do.
//! - `watch`: a `tokio::sync::watch` channel for each refresh.
//! - `wakers`: a vector of wakers behind a lock and nothing else. It is the lower bound: it loses wake-ups on
//!   cancellation, and knows neither errors nor panics.
//!
//! Each waits under the same timeout: `tokio::time::timeout` around the others, the session's own for `auth`.
//! In the group `storm_without_timeout` only `auth` has a timer, as it always does: its worst case. In
//! `storm_failing` the refresh fails: `wakers`, `watch` and `auth` share the failure, and `async_mutex` calls
//! the endpoint once per caller.
//!
//! Tasks run on one thread (`current_thread`), as the work of each mechanism is compared: with more threads
//! the scheduler's stealing and parking is most of the time. `STORM_WORKERS=2` selects a runtime with so many
//! workers.
//!
//! `joins per second` has two threads that call the layer and poll its future once while a refresh runs.
//!
//! ```text
//! cargo bench --bench storm                 # criterion's groups, then the table
//! cargo bench --bench storm -- table        # the table alone
//! ```
//!
//! A ratio is the median over the rounds of a process, in each of which the candidates take turns in a random
//! order. The table has the median of several processes, and the lowest and highest. It takes five minutes,
//! and a million callers need 4 GB.
#![allow(clippy::disallowed_methods, reason = "the real clock and real tasks are what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    convert::Infallible,
    env,
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{
        Arc, Barrier, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, SamplingMode};
use http::{HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use tokio::{
    runtime::{self, Runtime},
    sync::{Notify, watch},
};
use tower::{Layer, Service};
use tower_reauth::{
    Auth, AuthLayer, RefreshContext, RefreshError, Refresher, Session, Token, refresh_fn, replay::NoReplay,
};

use support::{
    Body, Noop, request,
    table::{Goal, Samples, Table, in_processes, is_bench, job, median, report},
    token_text,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    AsyncMutex,
    Watch,
    Wakers,
    Auth,
}

#[derive(Clone, Copy, Debug)]
struct Storm {
    callers: usize,
    group: Group,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    name: &'static str,
    /// Whether each waiter has a timeout.
    timeout: bool,
    /// Whether the refresh fails.
    fails: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    released: Duration,
    total: Duration,
    /// How often the endpoint was called.
    endpoint_calls: usize,
}

/// Responds once it is released, and from then on to each call.
struct Endpoint {
    released: AtomicBool,
    notify: Notify,
    calls: AtomicUsize,
    fails: bool,
}

/// Counts the callers that wait, and those that have ended.
#[derive(Default)]
struct Progress {
    waiting: AtomicUsize,
    ended: AtomicUsize,
    last: OnceLock<Instant>,
    notify: Notify,
}

/// The endpoint refused the refresh.
#[derive(Clone, Copy, Debug)]
struct Refused;

/// Gets a token for callers.
trait GetToken: Send + Sync + 'static {
    fn get(&self) -> impl Future<Output = Result<HeaderValue, Refused>> + Send;
}

struct AsyncMutex {
    token: tokio::sync::Mutex<Option<HeaderValue>>,
    endpoint: Arc<Endpoint>,
}

type Flight = watch::Receiver<Option<Result<HeaderValue, Refused>>>;

struct Watch {
    flight: Mutex<Option<Flight>>,
    endpoint: Arc<Endpoint>,
}

struct Wakers {
    token: Arc<OnceLock<Result<HeaderValue, Refused>>>,
    wakers: Arc<Mutex<Vec<Waker>>>,
    endpoint: Arc<Endpoint>,
}

pin_project! {
    /// Counts its future as waiting when it is pending for the first time.
    struct Counted<F> {
        #[pin]
        future: F,
        progress: Arc<Progress>,
        waits: bool,
    }
}

const ALL: [Candidate; 4] = [Candidate::AsyncMutex, Candidate::Watch, Candidate::Wakers, Candidate::Auth];
const STORM: Group = Group { name: "storm", timeout: true, fails: false };
const WITHOUT_TIMEOUT: Group = Group { name: "storm_without_timeout", timeout: false, fails: false };
const FAILING: Group = Group { name: "storm_failing", timeout: true, fails: true };
const GROUPS: [Group; 3] = [STORM, WITHOUT_TIMEOUT, FAILING];
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const MILLION: usize = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(30);
const PROCESSES: usize = 5;
/// For the million.
const LARGE_PROCESSES: usize = 3;

fn main() {
    if let Some(job) = job() {
        run_job(&job);
        return;
    }
    // `cargo test` runs each once.
    let sizes = if is_bench() { &SIZES[..] } else { &SIZES[..2] };
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = runtime();
    for group in GROUPS {
        let mut criterion = criterion.benchmark_group(group.name);
        criterion.sample_size(10).sampling_mode(SamplingMode::Flat);
        criterion.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(100));
        for &callers in sizes {
            for candidate in ALL {
                let storm = Storm { callers, group };
                criterion.bench_function(BenchmarkId::new(candidate.name(), callers), |bencher| {
                    let one = |_| storm.run(candidate, &runtime).released;
                    bencher.iter_custom(|storms| (0..storms).map(one).sum());
                });
            }
        }
        criterion.finish();
    }
    criterion.final_summary();
    if is_bench() {
        print_table();
    } else {
        joins_per_second(100);
    }
}

fn runtime() -> Runtime {
    let workers = env::var("STORM_WORKERS").ok().and_then(|text| text.parse().ok());
    let mut builder = match workers {
        None => runtime::Builder::new_current_thread(),
        Some(workers) => {
            let mut builder = runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.enable_time().build().expect("a runtime can be built")
}

/// Measures in this process, for the one that started it.
fn run_job(job: &str) {
    let runtime = runtime();
    if job == "million" {
        Storm { callers: MILLION, group: STORM }.report(2, &runtime);
        return;
    }
    for group in GROUPS {
        for callers in SIZES {
            Storm { callers, group }.report((200_000 / callers).clamp(5, 60), &runtime);
        }
    }
    report("joins", median((0..5).map(|_| joins_per_second(20_000))) / 1e6);
}

fn print_table() {
    let mut samples = in_processes(PROCESSES, "storms");
    samples.extend(in_processes(LARGE_PROCESSES, "million"));
    for group in GROUPS {
        for callers in SIZES {
            Storm { callers, group }.print(&samples);
        }
    }
    Storm { callers: MILLION, group: STORM }.print(&samples);

    let mut table = Table::default();
    let all_sizes = [SIZES[0], SIZES[1], SIZES[2], MILLION];
    for (callers, goal) in all_sizes.into_iter().zip([1.25, 1.1, 1.15, 1.15]) {
        let storm = Storm { callers, group: STORM };
        storm.add_to(&mut table, &samples, Candidate::Wakers, Goal::AtMost(goal));
    }
    for callers in all_sizes {
        Storm { callers, group: STORM }.add_to(&mut table, &samples, Candidate::Watch, Goal::Below(1.0));
    }
    for callers in all_sizes {
        let goal = if callers >= 10_000 { Goal::Below(1.0) } else { Goal::None };
        Storm { callers, group: STORM }.add_to(&mut table, &samples, Candidate::AsyncMutex, goal);
    }
    for callers in SIZES {
        let storm = Storm { callers, group: FAILING };
        storm.add_to(&mut table, &samples, Candidate::Wakers, Goal::AtMost(1.15));
    }
    for callers in SIZES {
        let storm = Storm { callers, group: WITHOUT_TIMEOUT };
        storm.add_to(&mut table, &samples, Candidate::Wakers, Goal::None);
    }
    table.row_of("joins per second, two threads, millions", &samples, "joins", Goal::AtLeast(0.6));
    table.print();
}

/// Two threads join a running flight.
fn joins_per_second(calls: usize) -> f64 {
    let runtime = runtime();
    let auth = expired_auth(refresh_fn(|_: RefreshContext| pending()));
    let start = Barrier::new(2);
    let on_one_thread = || {
        let _guard = runtime.enter();
        let mut auth = auth.clone();
        let requests: Vec<_> = (0..calls).map(|_| request()).collect();
        let mut waiting = Vec::with_capacity(calls);
        let mut cx = Context::from_waker(Waker::noop());
        // The first call starts the flight, or joins it.
        let mut first = Box::pin(auth.call(request()));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        start.wait();
        let began = Instant::now();
        for request in requests {
            let mut future = Box::pin(auth.call(request));
            assert!(future.as_mut().poll(&mut cx).is_pending());
            waiting.push(future);
        }
        (began, Instant::now(), waiting)
    };
    let (here, there) = thread::scope(|scope| {
        let there = scope.spawn(on_one_thread);
        (on_one_thread(), there.join().expect("no thread panics"))
    });
    let time = here.1.max(there.1) - here.0.min(there.0);
    2.0 * calls as f64 / time.as_secs_f64()
}

/// The layer over a session whose token has expired.
fn expired_auth(refresher: impl Refresher) -> Auth<Noop, NoReplay> {
    let expired = Token::builder(token_text()).expires_in(Duration::ZERO).build();
    let session =
        Session::builder(refresher).token(expired.expect("visible ASCII")).wait_timeout(TIMEOUT).build();
    AuthLayer::from_session(session).with_replay(NoReplay).layer(Noop)
}

/// Sends a request once there is a token.
async fn call<G: GetToken>(get: &G, mut request: Request<Body>) -> Result<Response<Body>, Refused> {
    let token = get.get().await?;
    request.headers_mut().insert(header::AUTHORIZATION, token);
    let Ok::<_, Infallible>(response) = Noop.call(request).await;
    Ok(response)
}

// === impl Candidate ===

impl Candidate {
    fn name(self) -> &'static str {
        match self {
            Self::AsyncMutex => "async_mutex",
            Self::Watch => "watch",
            Self::Wakers => "wakers",
            Self::Auth => "auth",
        }
    }
}

// === impl Storm ===

impl Storm {
    /// Lets the candidates take turns, for the process that started this one.
    fn report(self, rounds: usize, runtime: &Runtime) {
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); ALL.len()];
        let mut order: [usize; ALL.len()] = std::array::from_fn(|index| index);
        for _ in 0..rounds {
            // What a candidate leaves behind on the heap slows the next one down.
            fastrand::shuffle(&mut order);
            for &index in &order {
                costs[index].push(self.run(ALL[index], runtime));
            }
        }
        let auth = ALL.iter().position(|candidate| *candidate == Candidate::Auth).expect("one of all");
        for (candidate, costs_of) in ALL.iter().zip(&costs) {
            let each = |time: fn(&Cost) -> Duration| {
                median(costs_of.iter().map(|cost| time(cost).as_nanos() as f64 / self.callers as f64))
            };
            report(self.figure(*candidate, "released"), each(|cost| cost.released));
            report(self.figure(*candidate, "total"), each(|cost| cost.total));
            report(self.figure(*candidate, "calls"), costs_of[0].endpoint_calls as f64);
            // Round by round, as a disturbance often lasts for a whole round.
            let pairs = costs[auth].iter().zip(costs_of);
            let ratio =
                median(pairs.map(|(auth, to)| auth.released.as_secs_f64() / to.released.as_secs_f64()));
            report(self.figure(*candidate, "ratio"), ratio);
        }
    }

    fn figure(self, candidate: Candidate, what: &str) -> String {
        format!("{} {} {} {what}", self.group.name, self.callers, candidate.name())
    }

    fn print(self, samples: &Samples) {
        for candidate in ALL {
            let of = |what| samples.median(&self.figure(candidate, what));
            println!(
                "{:21} {:>7} {:11} released {:6.0} ns, total {:6.0} ns per caller; endpoint called {} times",
                self.group.name,
                self.callers,
                candidate.name(),
                of("released"),
                of("total"),
                of("calls"),
            );
        }
    }

    fn add_to(self, table: &mut Table, samples: &Samples, to: Candidate, goal: Goal) {
        let to_what = match to {
            Candidate::Wakers => "a vector of wakers",
            Candidate::Watch => "`watch`",
            Candidate::AsyncMutex => "an async mutex",
            Candidate::Auth => "itself",
        };
        let group = match (self.group.fails, self.group.timeout) {
            (true, _) => "storm, refresh fails",
            (false, true) => "storm",
            (false, false) => "storm, the others without a timeout",
        };
        let row = format!("{group}, {} callers: released, ratio to {to_what}", self.callers);
        table.row_of(row, samples, &self.figure(to, "ratio"), goal);
    }

    fn run(self, candidate: Candidate, runtime: &Runtime) -> Cost {
        let endpoint = Arc::new(Endpoint::new(self.group.fails));
        match candidate {
            Candidate::AsyncMutex => {
                let token = tokio::sync::Mutex::new(None);
                self.run_get(AsyncMutex { token, endpoint: Arc::clone(&endpoint) }, endpoint, runtime)
            }
            Candidate::Watch => {
                let flight = Mutex::new(None);
                self.run_get(Watch { flight, endpoint: Arc::clone(&endpoint) }, endpoint, runtime)
            }
            Candidate::Wakers => {
                let (token, wakers) = Default::default();
                self.run_get(Wakers { token, wakers, endpoint: Arc::clone(&endpoint) }, endpoint, runtime)
            }
            Candidate::Auth => self.run_auth(endpoint, runtime),
        }
    }

    fn run_get<G: GetToken>(self, get: G, endpoint: Arc<Endpoint>, runtime: &Runtime) -> Cost {
        let get = Arc::new(get);
        // Each task's future is made by one function, so that its size is what the candidate needs.
        if self.group.timeout {
            self.run_tasks(endpoint, runtime, |request| {
                let get = Arc::clone(&get);
                async move {
                    let sent = tokio::time::timeout(TIMEOUT, call(&*get, request)).await;
                    sent.expect("no timeout is reached").is_ok()
                }
            })
        } else {
            self.run_tasks(endpoint, runtime, |request| {
                let get = Arc::clone(&get);
                async move { call(&*get, request).await.is_ok() }
            })
        }
    }

    fn run_auth(self, endpoint: Arc<Endpoint>, runtime: &Runtime) -> Cost {
        let refresher = {
            let endpoint = Arc::clone(&endpoint);
            refresh_fn(move |_: RefreshContext| {
                let endpoint = Arc::clone(&endpoint);
                async move {
                    let text = endpoint.call().await.map_err(|Refused| RefreshError::transient("refused"))?;
                    Ok(Token::builder(text).expires_in(Duration::from_secs(3600)).build()?)
                }
            })
        };
        let auth = expired_auth(refresher);
        self.run_tasks(endpoint, runtime, |request| {
            let mut auth = auth.clone();
            async move {
                poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut auth, cx))
                    .await
                    .expect("always ready");
                auth.call(request).await.is_ok()
            }
        })
    }

    /// Spawns the tasks, releases the response once all wait, and waits until the last one has ended.
    fn run_tasks<F>(
        self,
        endpoint: Arc<Endpoint>,
        runtime: &Runtime,
        task: impl Fn(Request<Body>) -> F,
    ) -> Cost
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let requests: Vec<_> = (0..self.callers).map(|_| request()).collect();
        runtime.block_on(async {
            let began = Instant::now();
            for request in requests {
                let future = task(request);
                let progress = Arc::clone(&progress);
                let succeeds = !self.group.fails;
                tokio::spawn(async move {
                    let counted = Counted { future, progress: Arc::clone(&progress), waits: false };
                    assert_eq!(counted.await, succeeds);
                    progress.end();
                });
            }
            while progress.waiting.load(Ordering::Acquire) < self.callers
                || endpoint.calls.load(Ordering::Acquire) == 0
            {
                tokio::task::yield_now().await;
            }
            let released = Instant::now();
            endpoint.release();
            let last = progress.all_ended(self.callers).await;
            Cost {
                released: last - released,
                total: last - began,
                endpoint_calls: endpoint.calls.load(Ordering::Relaxed),
            }
        })
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn new(fails: bool) -> Self {
        Self { released: AtomicBool::new(false), notify: Notify::new(), calls: AtomicUsize::new(0), fails }
    }

    async fn call(&self) -> Result<String, Refused> {
        self.calls.fetch_add(1, Ordering::AcqRel);
        let notify = self.notify.notified();
        if self.released.load(Ordering::Acquire) {
            // A real response is never ready at once.
            tokio::task::yield_now().await;
        } else {
            notify.await;
        }
        if self.fails { Err(Refused) } else { Ok(token_text()) }
    }

    /// Formats the token as a header value.
    async fn call_for_header(&self) -> Result<HeaderValue, Refused> {
        let text = self.call().await?;
        Ok(HeaderValue::try_from(format!("Bearer {text}")).expect("visible ASCII"))
    }

    fn release(&self) {
        self.released.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
}

// === impl Progress ===

impl Progress {
    fn end(&self) {
        let ended = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        // No caller ends before all wait, so only the last one finds both equal.
        if ended == self.waiting.load(Ordering::Acquire) {
            let _ = self.last.set(Instant::now());
            self.notify.notify_one();
        }
    }

    async fn all_ended(&self, callers: usize) -> Instant {
        self.notify.notified().await;
        assert_eq!(self.ended.load(Ordering::Acquire), callers);
        *self.last.get().expect("set before the notification")
    }
}

// === impl AsyncMutex ===

impl GetToken for AsyncMutex {
    async fn get(&self) -> Result<HeaderValue, Refused> {
        let mut token = self.token.lock().await;
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        Ok(token.insert(self.endpoint.call_for_header().await?).clone())
    }
}

// === impl Watch ===

impl Watch {
    fn join(&self) -> Flight {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = flight.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            let endpoint = Arc::clone(&self.endpoint);
            tokio::spawn(async move { sender.send_replace(Some(endpoint.call_for_header().await)) });
            receiver
        });
        joined.clone()
    }
}

impl GetToken for Watch {
    async fn get(&self) -> Result<HeaderValue, Refused> {
        let mut flight = self.join();
        let outcome = flight.wait_for(Option::is_some).await.map_err(|_| Refused)?;
        outcome.clone().unwrap_or(Err(Refused))
    }
}

// === impl Wakers ===

impl GetToken for Wakers {
    async fn get(&self) -> Result<HeaderValue, Refused> {
        let mut first = true;
        poll_fn(|cx| {
            if let Some(token) = self.token.get() {
                return Poll::Ready(token.clone());
            }
            if std::mem::take(&mut first) {
                self.register(cx.waker());
            }
            Poll::Pending
        })
        .await
    }
}

impl Wakers {
    /// Adds a waker; the first one starts the refresh.
    fn register(&self, waker: &Waker) {
        let mut vector = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        vector.push(waker.clone());
        if vector.len() > 1 {
            return;
        }
        drop(vector);
        let (token, wakers) = (Arc::clone(&self.token), Arc::clone(&self.wakers));
        let endpoint = Arc::clone(&self.endpoint);
        tokio::spawn(async move {
            let _ = token.set(endpoint.call_for_header().await);
            let wakers = std::mem::take(&mut *wakers.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.into_iter().for_each(Waker::wake);
        });
    }
}

// === impl Counted ===

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = this.future.poll(cx);
        if poll.is_pending() && !std::mem::replace(this.waits, true) {
            this.progress.waiting.fetch_add(1, Ordering::AcqRel);
        }
        poll
    }
}
