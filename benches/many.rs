//! A session for each of many users: memory, finding one, and a request through it.
//!
//! ```text
//! cargo bench --features sessions --bench many
//! ```
//!
//! # Bytes
//!
//! Of 10,000 sessions in a map, built from clones of one builder. Each has sent one request. The key is a number, the
//! access token has 500 bytes, the refresh token 60; these strings are subtracted once. The map's own tables are
//! included.
//!
//! # Times
//!
//! `get` finds a session that has been loaded, among 1,000. On two threads, only the batches count during which both
//! ran. For `different keys` each thread goes through 500 keys of its own.
//!
//! A request through `AuthLayer::keyed` is compared to the same request through a layer with one session: they take
//! turns in many short rounds, the difference is taken in each round, and the median of the differences is used. The
//! table has the median of several processes, and the lowest and highest.
//!
//! # Instructions
//!
//! They are counted as in `benches/fresh.rs`, with `MANY_COUNT` for `FRESH_COUNT`. Each process has its own hash
//! function, so the last digits of the figures for `keyed` differ.
#![allow(clippy::disallowed_methods, reason = "the real clock is what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env,
    hash::Hash,
    hint::black_box,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::Request;
use tokio::runtime::{self, Runtime};
use tower::Layer;
use tower_reauth::{Auth, AuthLayer, Session, SessionBuilder, Token, replay::NoReplay, sessions::Sessions};

use support::{
    Body, Noop,
    callgrind::instructions,
    counting::{Counting, during, left_by_size},
    fresh_session, never_refreshed, request, send,
    table::{Goal, Table, in_processes, is_bench, job, median, report},
    threads::{Span, on_two_threads},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Called with each candidate: its name, its service, and the request that it gets.
trait Visit {
    fn visit(
        &mut self,
        name: &'static str,
        service: &Auth<Noop, NoReplay>,
        request: &dyn Fn() -> Request<Body>,
    );
}

/// Counts the allocations of each call.
#[derive(Default)]
struct Allocations(BTreeMap<&'static str, f64>);

/// Nanoseconds per call of each candidate, one for each round.
#[derive(Default)]
struct Nanos(BTreeMap<&'static str, Vec<f64>>);

/// Runs one candidate, for callgrind.
struct Counted<'a> {
    only: &'a str,
    calls: usize,
}

/// Two maps of the same size, and a layer with one session.
struct Users {
    numbers: Sessions<u64>,
    names: Sessions<Arc<str>>,
    one: Auth<Noop, NoReplay>,
}

/// What one session in the map takes.
struct Idle {
    bytes: f64,
    /// Allocations by size, if each session has one.
    sizes: BTreeMap<usize, f64>,
}

/// A kind of keys: its candidate, and the one that it is compared to.
struct Pair {
    keyed: &'static str,
    one: &'static str,
    key: &'static str,
}

const PAIRS: [Pair; 2] = [
    Pair { keyed: "keyed_u64", one: "one_u64", key: "`u64`" },
    Pair { keyed: "keyed_str", one: "one_str", key: "`Arc<str>`" },
];
const SESSIONS: u64 = 1_000;
const IDLE_SESSIONS: u64 = 10_000;
const ACCESS_BYTES: usize = 500;
const REFRESH_BYTES: usize = 60;
const BATCH: usize = 64;
const GETS: u64 = 1_024;
const PROCESSES: usize = 9;
const COUNT: &str = "MANY_COUNT";

fn main() {
    if let Ok(order) = env::var(COUNT) {
        let (only, calls) = order.split_once(':').expect("MANY_COUNT=candidate:calls");
        Users::load().visit(&mut Counted { only, calls: calls.parse().expect("a number of calls") });
        return;
    }
    if job().is_some() {
        report_times(1_000, 200);
        return;
    }
    let mut table = Table::default();
    add_idle_sessions(&mut table, if is_bench() { IDLE_SESSIONS } else { 100 });
    let mut allocations = Allocations::default();
    Users::load().visit(&mut allocations);
    for Pair { keyed, one, key } in PAIRS {
        let more = allocations.0[keyed] - allocations.0[one];
        table.row(format!("fresh, `keyed` by {key}: allocations more"), more, Goal::AtMost(0.0));
    }
    if !is_bench() {
        report_times(1, 1);
        return;
    }
    for Pair { keyed, one, key } in PAIRS {
        let row = format!("fresh, `keyed` by {key}: instructions more");
        let counts = instructions(COUNT, keyed).and_then(|keyed| Ok((keyed, instructions(COUNT, one)?)));
        match counts {
            Ok((keyed, one)) => table.row(row, keyed - one, Goal::None),
            Err(error) => table.missing(row, &format!("valgrind: {error}"), Goal::None),
        }
    }
    let samples = in_processes(PROCESSES, "times");
    table.row_of("`get`, one thread: ns", &samples, "get one", Goal::None);
    table.row_of("`get`, two threads, the same key: ns", &samples, "get same", Goal::AtMost(150.0));
    table.row_of("`get`, two threads, different keys: ns", &samples, "get different", Goal::AtMost(150.0));
    for Pair { keyed, one, key } in PAIRS {
        table.row_of(format!("fresh, one session, {key} in the request: ns"), &samples, one, Goal::None);
        table.row_of(format!("fresh, `keyed` by {key}: ns more"), &samples, keyed, Goal::AtMost(100.0));
    }
    table.print();
}

fn add_idle_sessions(table: &mut Table, count: u64) {
    let builder = never_refreshed();
    let plain = idle_sessions(count, builder.clone(), |builder, _| builder);
    let saved = Arc::new(Mutex::new(None));
    let hooked = idle_sessions(count, builder, move |builder, key| {
        let saved = Arc::clone(&saved);
        builder.save_with(move |token| {
            *saved.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, token));
            async { Ok::<_, Infallible>(()) }
        })
    });
    for (what, idle) in [("without hooks", plain), ("with a save hook", hooked)] {
        println!("an idle session {what}: allocations {}", idle.list());
        let row = format!("{count} idle sessions {what}: bytes of each besides its tokens");
        table.row(row, idle.bytes - (ACCESS_BYTES + REFRESH_BYTES) as f64, Goal::AtMost(1000.0));
    }
}

fn idle_sessions(
    count: u64,
    builder: SessionBuilder,
    set: impl Fn(SessionBuilder, u64) -> SessionBuilder + Clone + Send + Sync + 'static,
) -> Idle {
    let build = move |key| set(builder.clone().token(idle_token()), key).build();
    // A thread's first use may set something up, and so does the runtime's.
    let runtime = runtime();
    drop(load_all(&runtime, build.clone(), 0..1));
    let load = || {
        let sessions = load_all(&runtime, build, 0..count);
        let mut service = keyed(&sessions);
        for key in 0..count {
            drop(send(&mut service, with_extension(key)));
        }
        sessions
    };
    let ((sessions, allocations), sizes) = left_by_size(|| during(load));
    assert_eq!(sessions.len() as u64, count);
    let each = |total: i64| total as f64 / count as f64;
    let sizes = sizes.into_iter().map(|(size, left)| (size, each(left))).filter(|(_, left)| *left > 0.5);
    Idle { bytes: each(allocations.live), sizes: sizes.collect() }
}

fn idle_token() -> Token {
    let token = Token::builder("a".repeat(ACCESS_BYTES)).refresh_token("r".repeat(REFRESH_BYTES));
    token.expires_in(Duration::from_secs(3600)).build().expect("visible ASCII")
}

fn load_all<K>(
    runtime: &Runtime,
    build: impl Fn(K) -> Session + Send + Sync + 'static,
    keys: impl Iterator<Item = K>,
) -> Sessions<K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    let load = move |key| {
        let session = build(key);
        async { Ok::<_, Infallible>(session) }
    };
    let sessions = Sessions::builder(load).capacity(IDLE_SESSIONS as usize).build();
    runtime.block_on(async {
        for key in keys {
            sessions.get(&key).await.expect("the load succeeds");
        }
        // Until the task of the last load is gone.
        tokio::task::yield_now().await;
    });
    sessions
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built")
}

fn keyed<K>(sessions: &Sessions<K>) -> Auth<Noop, NoReplay>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    let layer = AuthLayer::keyed(sessions.clone(), |head| head.extensions().get::<K>().cloned());
    layer.with_replay(NoReplay).layer(Noop)
}

fn with_extension<T: Clone + Send + Sync + 'static>(extension: T) -> Request<Body> {
    let mut request = request();
    request.extensions_mut().insert(extension);
    request
}

fn requests(count: usize, request: &dyn Fn() -> Request<Body>) -> Vec<Request<Body>> {
    (0..count).map(|_| request()).collect()
}

#[inline(never)]
fn send_all(service: &mut Auth<Noop, NoReplay>, requests: Vec<Request<Body>>) {
    for request in requests {
        black_box(send(service, request));
    }
}

fn user_name(number: u64) -> Arc<str> {
    format!("3f6c1b9e-0d2a-4e57-9c1d-{number:012}").into()
}

/// Finds a session that has been loaded.
fn find(sessions: &Sessions<u64>, key: u64) -> Session {
    match pin!(sessions.get(&key)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(session)) => session,
        _ => panic!("it has been loaded"),
    }
}

#[inline(never)]
fn time_gets(sessions: &Sessions<u64>, first: u64, keys: u64, start: &dyn Fn()) -> Span {
    start();
    let began = Instant::now();
    for get in 0..GETS {
        drop(black_box(find(sessions, black_box(first + get % keys))));
    }
    (began, Instant::now())
}

/// Measures in this process, for the one that started it.
fn report_times(rounds: usize, batches: usize) {
    let users = Users::load();
    let mut nanos = Nanos::default();
    for _ in 0..rounds {
        users.visit(&mut nanos);
    }
    for Pair { keyed, one, .. } in PAIRS {
        let (keyed_nanos, one_nanos) = (&nanos.0[keyed], &nanos.0[one]);
        report(one, median(one_nanos.iter().copied()));
        report(keyed, median(keyed_nanos.iter().zip(one_nanos).map(|(keyed, one)| keyed - one)));
    }

    let numbers = &users.numbers;
    let each = |time: Duration| time.as_nanos() as f64 / GETS as f64;
    let one =
        (0..batches).map(|_| time_gets(numbers, 0, 1, &|| ())).map(|(began, ended)| each(ended - began));
    report("get one", median(one));
    report("get same", get_on_two_threads(batches, |_, start| time_gets(numbers, 0, 1, start)));
    let own = SESSIONS / 2;
    let different = |thread, start: &dyn Fn()| time_gets(numbers, thread as u64 * own, own, start);
    report("get different", get_on_two_threads(batches, different));
}

/// The median of the batches during which both threads ran: often those are few.
fn get_on_two_threads(batches: usize, batch: impl Fn(usize, &dyn Fn()) -> Span + Sync) -> f64 {
    let mut both = Vec::new();
    for _ in 0..20 {
        let times = on_two_threads(batches, &batch);
        both.extend(
            times.iter().filter(|(_, together)| *together > 0.9).map(|(time, _)| nanos_of_get(*time)),
        );
        if both.len() >= 20 {
            break;
        }
    }
    median(both)
}

fn nanos_of_get(time: Duration) -> f64 {
    time.as_nanos() as f64 / GETS as f64
}

// === impl Users ===

impl Users {
    fn load() -> Self {
        let runtime = runtime();
        let numbers = load_all(&runtime, |_| fresh_session(), 0..SESSIONS);
        let names = load_all(&runtime, |_| fresh_session(), (0..SESSIONS).map(user_name));
        let one = AuthLayer::from_session(fresh_session()).with_replay(NoReplay).layer(Noop);
        Self { numbers, names, one }
    }

    fn visit(&self, visitor: &mut impl Visit) {
        visitor.visit("one_u64", &self.one, &|| with_extension(1_u64));
        visitor.visit("keyed_u64", &keyed(&self.numbers), &|| with_extension(1_u64));
        let name = user_name(1);
        visitor.visit("one_str", &self.one, &|| with_extension(Arc::clone(&name)));
        visitor.visit("keyed_str", &keyed(&self.names), &|| with_extension(Arc::clone(&name)));
    }
}

// === impl Allocations ===

impl Visit for Allocations {
    fn visit(
        &mut self,
        name: &'static str,
        service: &Auth<Noop, NoReplay>,
        request: &dyn Fn() -> Request<Body>,
    ) {
        let mut service = service.clone();
        // A thread's first use may set something up.
        drop(send(&mut service, request()));
        let requests = requests(BATCH, request);
        let ((), allocations) = during(|| send_all(&mut service, requests));
        self.0.insert(name, allocations.count as f64 / BATCH as f64);
    }
}

// === impl Nanos ===

impl Visit for Nanos {
    fn visit(
        &mut self,
        name: &'static str,
        service: &Auth<Noop, NoReplay>,
        request: &dyn Fn() -> Request<Body>,
    ) {
        let mut service = service.clone();
        let mut one = || {
            let requests = requests(BATCH, request);
            let began = Instant::now();
            send_all(&mut service, requests);
            began.elapsed().as_nanos() as f64 / BATCH as f64
        };
        // The first one warms the caches up.
        one();
        self.0.entry(name).or_default().push(one());
    }
}

// === impl Counted ===

impl Visit for Counted<'_> {
    fn visit(
        &mut self,
        name: &'static str,
        service: &Auth<Noop, NoReplay>,
        request: &dyn Fn() -> Request<Body>,
    ) {
        if self.only == name {
            send_all(&mut service.clone(), requests(self.calls, request));
        }
    }
}

// === impl Idle ===

impl Idle {
    fn list(&self) -> String {
        let sizes: Vec<_> =
            self.sizes.iter().map(|(size, left)| format!("{left:.0} of {size} bytes")).collect();
        let own: f64 = self.sizes.iter().map(|(size, left)| *size as f64 * left).sum();
        format!("{}; {:.0} bytes of the map's tables", sizes.join(", "), self.bytes - own)
    }
}
