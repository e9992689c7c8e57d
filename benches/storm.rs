//! What it costs many callers to meet an expired token at once.
//!
//! Each caller is a task with a request. All find the token expired, one asks the token endpoint, and once *all* wait
//! the endpoint answers. Measured is the time from that answer until the last task has sent its request and ended
//! (`released`), beside the whole course from the first task on (`course`). The contestants:
//!
//! - `auth`: this crate's layer, without the copy of the head that a request needs to be sent again (replay `NoReplay`).
//! - `lock_and_recheck`: an async mutex around the token, looked at a second time under the lock, as most clients have.
//! - `watch`: a `tokio::sync::watch` channel for each refresh.
//! - `wakers`: a vector of wakers behind a lock and nothing else, the floor: it loses wake-ups on cancellation, and
//!   knows neither errors nor panics.
//!
//! Each waits under the same time limit: `tokio::time::timeout` around the others, the session's patience for `auth`.
//! In the group without a limit `auth` keeps its timer, as that can't be switched off: the ratio there is its worst
//! case. In the group whose refresh fails, `wakers` and `watch` share the failure, and `lock_and_recheck` asks the
//! endpoint once a caller.
//!
//! Tasks run on one thread (`current_thread`): what is compared is the work that a mechanism makes, and with other
//! threads the scheduler's stealing and parking is most of what is seen. `STORM_WORKERS=2` takes a runtime with so many
//! workers.
//!
//! ```text
//! cargo bench --bench storm                 # criterion's groups, then the table
//! cargo bench --bench storm -- table        # the table alone: medians of rounds in which the contestants take turns
//! ```
//!
//! Bytes and allocations are what the current thread's heap gained from when all tasks were made until all waited:
//! without the tasks (in which the futures lie) and the requests (which were made before).
#![allow(clippy::disallowed_methods, reason = "the real clock and real tasks are what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    convert::Infallible,
    env,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
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
use tower_reauth::{AuthLayer, RefreshContext, RefreshError, Session, Token, refresh_fn, replay::NoReplay};

use support::{
    Body, Noop,
    counting::{self, Allocations, Counting},
    request, token_text,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    LockAndRecheck,
    Watch,
    Wakers,
    Auth,
}

/// What a storm is about.
#[derive(Clone, Copy, Debug)]
struct Storm {
    callers: usize,
    limited: bool,
    fails: bool,
}

/// What a storm cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    released: Duration,
    course: Duration,
    asked: usize,
    waiting: Allocations,
}

/// Answers once it is released, and then each time.
struct Endpoint {
    released: AtomicBool,
    bell: Notify,
    asked: AtomicUsize,
    fails: bool,
}

/// Counts those who wait, and those who have ended.
#[derive(Default)]
struct Course {
    waiting: AtomicUsize,
    ended: AtomicUsize,
    last: OnceLock<Instant>,
    bell: Notify,
}

/// The endpoint said no.
#[derive(Clone, Copy, Debug)]
struct Refused;

/// Gets a token for callers.
trait GetToken: Send + Sync + 'static {
    fn get(&self) -> impl Future<Output = Result<HeaderValue, Refused>> + Send;
}

struct LockAndRecheck {
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
    /// Tells the course when its future waits for the first time, and when it is done.
    struct Counted<F> {
        #[pin]
        future: F,
        course: Arc<Course>,
        waits: bool,
    }
}

const ALL: [Contestant; 4] =
    [Contestant::LockAndRecheck, Contestant::Watch, Contestant::Wakers, Contestant::Auth];
/// Name, with a limit for each waiter, with a refresh that fails.
const GROUPS: [(&str, bool, bool); 3] =
    [("storm", true, false), ("storm_without_limit", false, false), ("storm_failing", true, true)];
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = runtime();
    for (name, limited, fails) in GROUPS {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(100));
        for callers in SIZES {
            for contestant in ALL {
                let storm = Storm { callers, limited, fails };
                group.bench_function(BenchmarkId::new(contestant.name(), callers), |bencher| {
                    let one = |_| storm.run(contestant, &runtime).released;
                    bencher.iter_custom(|storms| (0..storms).map(one).sum());
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
    // `cargo test` runs benches, too, without this argument.
    if env::args().any(|argument| argument == "--bench") {
        for (name, limited, fails) in GROUPS {
            print_table(name, limited, fails, &runtime);
        }
        print_sizes();
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

fn print_table(name: &str, limited: bool, fails: bool, runtime: &Runtime) {
    let mut growth = Vec::new();
    for callers in SIZES {
        let storm = Storm { callers, limited, fails };
        let rounds = (1_000_000 / callers).clamp(15, 201);
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); ALL.len()];
        for _ in 0..rounds {
            for (contestant, costs) in ALL.iter().zip(&mut costs) {
                costs.push(storm.run(*contestant, runtime));
            }
        }
        for (contestant, costs) in ALL.iter().zip(&costs) {
            let each = |time: fn(&Cost) -> Duration| {
                median(costs.iter().map(|cost| time(cost).as_nanos() as f64 / callers as f64).collect())
            };
            let Cost { asked, waiting, .. } = costs[costs.len() - 1];
            println!(
                "{name}: {callers:>6} {:16} released {:6.0} ns, course {:6.0} ns a caller; \
                 endpoint asked {asked} times; {:.0} bytes in {:.2} allocations a waiter (goal 160 bytes)",
                contestant.name(),
                each(|cost| cost.released),
                each(|cost| cost.course),
                waiting.live as f64 / callers as f64,
                waiting.count as f64 / callers as f64,
            );
        }
        let [lock_and_recheck, watch, wakers, auth] = &costs[..] else { panic!("one for each contestant") };
        // Round by round, as a disturbance often lasts for all contestants of a round.
        let ratio = |to: &[Cost]| {
            let pairs = auth.iter().zip(to);
            median(pairs.map(|(auth, to)| auth.released.as_secs_f64() / to.released.as_secs_f64()).collect())
        };
        println!(
            "{name}: {callers:>6} auth/wakers = {:.2} (goal 1.25), auth/watch = {:.2} (goal below 1), \
             auth/lock_and_recheck = {:.2}",
            ratio(wakers),
            ratio(watch),
            ratio(lock_and_recheck),
        );
        growth.push(ratio(wakers));
    }
    println!(
        "{name}: from {} to {} callers auth grows {:.2} times as fast as wakers (goal 1)",
        SIZES[0],
        SIZES[SIZES.len() - 1],
        growth[growth.len() - 1] / growth[0],
    );
}

/// What lies in a waiter's task.
fn print_sizes() {
    let session =
        Session::builder(refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) })).build();
    let mut auth = AuthLayer::from_session(session).with_replay(NoReplay).layer(Noop);
    // Outside a runtime it fails at once, which changes no size.
    let future = Service::call(&mut auth, request());
    let (future, request) = (size_of_val(&future), size_of::<Request<Body>>());
    println!("size of the response future: {future} bytes, of which the request is {request}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sends a request once there is a token.
async fn call<G: GetToken>(get: &G, mut request: Request<Body>) -> Result<Response<Body>, Refused> {
    let token = get.get().await?;
    request.headers_mut().insert(header::AUTHORIZATION, token);
    let Ok::<_, Infallible>(response) = Noop.call(request).await;
    Ok(response)
}

// === impl Contestant ===

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::LockAndRecheck => "lock_and_recheck",
            Self::Watch => "watch",
            Self::Wakers => "wakers",
            Self::Auth => "auth",
        }
    }
}

// === impl Storm ===

impl Storm {
    fn run(self, contestant: Contestant, runtime: &Runtime) -> Cost {
        let endpoint = Arc::new(Endpoint::new(self.fails));
        match contestant {
            Contestant::LockAndRecheck => {
                let token = tokio::sync::Mutex::new(None);
                self.run_get(LockAndRecheck { token, endpoint: Arc::clone(&endpoint) }, endpoint, runtime)
            }
            Contestant::Watch => {
                let flight = Mutex::new(None);
                self.run_get(Watch { flight, endpoint: Arc::clone(&endpoint) }, endpoint, runtime)
            }
            Contestant::Wakers => {
                let (token, wakers) = Default::default();
                self.run_get(Wakers { token, wakers, endpoint: Arc::clone(&endpoint) }, endpoint, runtime)
            }
            Contestant::Auth => self.run_auth(endpoint, runtime),
        }
    }

    fn run_get<G: GetToken>(self, get: G, endpoint: Arc<Endpoint>, runtime: &Runtime) -> Cost {
        let get = Arc::new(get);
        // Each task's future is made by one function, so that its size is what the contestant needs.
        if self.limited {
            self.run_tasks(endpoint, runtime, |request| {
                let get = Arc::clone(&get);
                async move {
                    let sent = tokio::time::timeout(LIMIT, call(&*get, request)).await;
                    sent.expect("no limit is reached").is_ok()
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
                    let text = endpoint.ask().await.map_err(|Refused| RefreshError::transient("refused"))?;
                    Ok(Token::builder(text).expires_in(Duration::from_secs(3600)).build()?)
                }
            })
        };
        let expired = Token::builder(token_text()).expires_in(Duration::ZERO).build();
        let session =
            Session::builder(refresher).token(expired.expect("visible ASCII")).wait_timeout(LIMIT).build();
        let auth = AuthLayer::from_session(session).with_replay(NoReplay).layer(Noop);
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

    /// Spawns the tasks, releases the answer once all wait, and waits for the last one's end.
    fn run_tasks<F>(
        self,
        endpoint: Arc<Endpoint>,
        runtime: &Runtime,
        task: impl Fn(Request<Body>) -> F,
    ) -> Cost
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let course = Arc::new(Course::default());
        let requests: Vec<_> = (0..self.callers).map(|_| request()).collect();
        runtime.block_on(async {
            let began = Instant::now();
            for request in requests {
                let future = task(request);
                let course = Arc::clone(&course);
                let ends_well = !self.fails;
                tokio::spawn(async move {
                    let counted = Counted { future, course: Arc::clone(&course), waits: false };
                    assert_eq!(counted.await, ends_well);
                    course.end();
                });
            }
            let made = counting::so_far();
            while course.waiting.load(Ordering::Acquire) < self.callers
                || endpoint.asked.load(Ordering::Acquire) == 0
            {
                tokio::task::yield_now().await;
            }
            let waiting = counting::so_far().since(made);
            let released = Instant::now();
            endpoint.release();
            let last = course.all_ended(self.callers).await;
            Cost {
                released: last - released,
                course: last - began,
                asked: endpoint.asked.load(Ordering::Relaxed),
                waiting,
            }
        })
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn new(fails: bool) -> Self {
        Self { released: AtomicBool::new(false), bell: Notify::new(), asked: AtomicUsize::new(0), fails }
    }

    async fn ask(&self) -> Result<String, Refused> {
        self.asked.fetch_add(1, Ordering::AcqRel);
        let bell = self.bell.notified();
        if self.released.load(Ordering::Acquire) {
            // An exchange is never ready at once.
            tokio::task::yield_now().await;
        } else {
            bell.await;
        }
        if self.fails { Err(Refused) } else { Ok(token_text()) }
    }

    /// Asks, for those who want a header's value.
    async fn ask_value(&self) -> Result<HeaderValue, Refused> {
        let text = self.ask().await?;
        Ok(HeaderValue::try_from(format!("Bearer {text}")).expect("visible ASCII"))
    }

    fn release(&self) {
        self.released.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }
}

// === impl Course ===

impl Course {
    fn end(&self) {
        let ended = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        // Nobody ends before all wait, so only the last one finds both equal.
        if ended == self.waiting.load(Ordering::Acquire) {
            let _ = self.last.set(Instant::now());
            self.bell.notify_one();
        }
    }

    async fn all_ended(&self, callers: usize) -> Instant {
        self.bell.notified().await;
        assert_eq!(self.ended.load(Ordering::Acquire), callers);
        *self.last.get().expect("set before the bell is rung")
    }
}

// === impl LockAndRecheck ===

impl GetToken for LockAndRecheck {
    async fn get(&self) -> Result<HeaderValue, Refused> {
        let mut token = self.token.lock().await;
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        Ok(token.insert(self.endpoint.ask_value().await?).clone())
    }
}

// === impl Watch ===

impl Watch {
    fn join(&self) -> Flight {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = flight.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            let endpoint = Arc::clone(&self.endpoint);
            tokio::spawn(async move { sender.send_replace(Some(endpoint.ask_value().await)) });
            receiver
        });
        joined.clone()
    }
}

impl GetToken for Watch {
    async fn get(&self) -> Result<HeaderValue, Refused> {
        let mut flight = self.join();
        let answer = flight.wait_for(Option::is_some).await.map_err(|_| Refused)?;
        answer.clone().unwrap_or(Err(Refused))
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
    /// Puts a waker into the vector; the first one starts the refresh.
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
            let _ = token.set(endpoint.ask_value().await);
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
            this.course.waiting.fetch_add(1, Ordering::AcqRel);
        }
        poll
    }
}
