//! Bytes and allocations of requests, waiters and sessions.
//!
//! Nothing is timed, and each figure repeats to the last digit.
//!
//! ```text
//! cargo bench --bench memory
//! ```
//!
//! # A waiter
//!
//! It is measured while a refresh runs. The bytes that [`Session::token`] leaves on the heap once it is
//! pending are the timer and the slot for the waker (of a vector that doubles, so a slot counts up to twice).
//! The waiter itself is inside that call's future, whose size has a row of its own. What a pending request
//! through the layer leaves besides are the boxes of the slow path: they hold the request and its waiter. The
//! request's own headers were allocated before.
//!
//! # An idle session
//!
//! It has an access and a refresh token and no hooks, and one request was made, whose layer is gone. The
//! tokens' own strings are subtracted once. It shares the default settings with other sessions; those of one
//! cloned builder share its refresher and settings, too. One that was refreshed also keeps the refresh token
//! that it has exchanged, whose string is subtracted, too. A shared session has read its tokens from a store,
//! which all of them share.
#![allow(clippy::disallowed_methods, reason = "real tasks are what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, Ready, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use http::{Request, Response};
use tokio::{
    runtime::{self, Runtime},
    sync::Notify,
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer, RefreshContext, Session, Token, refresh_fn,
    replay::{Buffered, NoReplay},
    store::MemoryStore,
};

use support::{
    Body, Noop,
    counting::{Allocations, Counting, during, left_by_size},
    fresh_session, never_refreshed, request, send, shared_session,
    table::{Goal, Table},
    token_text,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A session with a refresh that runs until it is released.
struct Waiting {
    runtime: Runtime,
    session: Session,
    release: Arc<Notify>,
}

/// The heap of each of many pending futures or idle sessions.
struct Heap {
    bytes: f64,
    /// Allocations by size.
    sizes: BTreeMap<usize, f64>,
}

const WAITERS: usize = 1_000;
const SESSIONS: usize = 64;

fn main() {
    let mut table = Table::default();
    add_requests(&mut table);
    add_waiter(&mut table);
    for token_bytes in [40, 1_500] {
        add_idle_session(&mut table, token_bytes);
    }
    table.print();
}

fn add_requests(table: &mut Table) {
    let layer = AuthLayer::from_session(fresh_session());
    let no_replay = allocations(layer.clone().with_replay(NoReplay).layer(Noop));
    let clone_body = allocations(layer.clone().layer(Noop));
    let buffered = allocations(layer.clone().with_replay(Buffered::default()).layer(Noop));
    table.row("fresh, `NoReplay`: allocations", no_replay, Goal::AtMost(0.0));
    table.row("fresh, `CloneBody`: allocations", clone_body, Goal::AtMost(2.0));
    table.row("fresh, `Buffered`: allocations", buffered, Goal::None);

    let future = layer.with_replay(NoReplay).layer(Noop).call(request());
    let inner = size_of::<Ready<Result<Response<Body>, Infallible>>>();
    let besides = size_of_val(&future) - inner;
    table.row("response future: bytes besides the inner future", besides as f64, Goal::AtMost(64.0));
}

/// Allocations per call.
fn allocations<S>(mut service: S) -> f64
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    const CALLS: usize = 1_000;
    let mut requests: Vec<_> = (0..CALLS).map(|_| request()).collect();
    // A thread's first use may set something up.
    drop(send(&mut service, request()));
    let call_all = || {
        for request in requests.drain(..) {
            drop(send(&mut service, request));
        }
    };
    during(call_all).1.count as f64 / CALLS as f64
}

fn add_waiter(table: &mut Table) {
    let waiting = Waiting::start();
    let session = waiting.session.clone();
    let token_size = size_of_val(&session.token());
    let waiter = waiting.heap_of(|| {
        let session = session.clone();
        async move { session.token().await.is_ok() }
    });

    let waiting = Waiting::start();
    let auth = waiting.auth();
    let through_layer = waiting.heap_of(|| {
        let (auth, request) = (auth.clone(), request());
        async move { auth.oneshot(request).await.is_ok() }
    });
    println!("a pending `Session::token`: allocations {}", waiter.list());
    println!("a pending request through the layer: allocations {}", through_layer.list());

    table.row("a waiter: bytes of its timer and waker slot", waiter.bytes, Goal::AtMost(160.0));
    table.row("a waiter: polls", polls(), Goal::AtMost(2.0));
    table.row("a waiter: bytes of the slow path's boxes", through_layer.bytes - waiter.bytes, Goal::None);
    table.row("a waiter: bytes of the future of `Session::token`", token_size as f64, Goal::None);
    table.row("an `http::Request` without its headers: bytes", size_of::<Request<Body>>() as f64, Goal::None);
}

/// How often a request that waits is polled.
fn polls() -> f64 {
    let waiting = Waiting::start();
    let auth = waiting.auth();
    let (polls, waits) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    waiting.runtime.block_on(async {
        let tasks: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (auth, request) = (auth.clone(), request());
                let (polls, waits) = (Arc::clone(&polls), Arc::clone(&waits));
                tokio::spawn(async move {
                    let mut future = pin!(auth.oneshot(request));
                    let mut first = true;
                    let counted = poll_fn(|cx| {
                        polls.fetch_add(1, Ordering::Relaxed);
                        let poll = future.as_mut().poll(cx);
                        if poll.is_pending() && std::mem::take(&mut first) {
                            waits.fetch_add(1, Ordering::Relaxed);
                        }
                        poll
                    });
                    counted.await.expect("a token comes");
                })
            })
            .collect();
        while waits.load(Ordering::Relaxed) < WAITERS {
            tokio::task::yield_now().await;
        }
        waiting.release.notify_one();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    polls.load(Ordering::Relaxed) as f64 / WAITERS as f64
}

fn add_idle_session(table: &mut Table, token_bytes: usize) {
    let text = move |letter: &str| letter.repeat(token_bytes);
    let token = move || {
        let token = Token::builder(text("a")).refresh_token(text("r")).expires_in(Duration::from_secs(3600));
        token.build().expect("visible ASCII")
    };
    let (alone, services) = idle_heap(|| never_refreshed().token(token()).build());
    let builder = never_refreshed();
    let (cloned, _) = idle_heap(|| builder.clone().token(token()).build());
    let refreshing = Session::builder(refresh_fn(move |_: RefreshContext| async move { Ok(token()) }));
    let (refreshed, _) = idle_heap(|| {
        let session = refreshing.clone().refresh_token(text("s")).build();
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime can be built").block_on(session.token()).expect("it is refreshed");
        session
    });
    let store = MemoryStore::new();
    let (shared, _) = idle_heap(|| shared_session(&store, token()));
    let what = format!("idle session, tokens of {token_bytes} bytes");
    let besides = |heap: &Heap| heap.bytes - 2.0 * token_bytes as f64;
    let previous = token_bytes as f64;
    println!("an {what}, of a cloned builder: allocations {}", cloned.list());
    table.row(format!("{what}: bytes besides them"), besides(&alone), Goal::AtMost(1024.0));
    table.row(format!("{what}: the same of a cloned builder"), besides(&cloned), Goal::AtMost(1000.0));
    table.row(format!("{what}: the same, refreshed"), besides(&refreshed) - previous, Goal::None);
    table.row(format!("{what}: bytes of a service over it"), services, Goal::None);
    table.row(format!("{what}: bytes more if it is shared"), shared.bytes - alone.bytes, Goal::None);
}

/// The heap of a session that has sent a request, and the bytes of a service over it.
fn idle_heap(session: impl Fn() -> Session) -> (Heap, f64) {
    let idle = || {
        let session = session();
        let layer = AuthLayer::from_session(session.clone()).with_replay(NoReplay);
        let mut service = layer.layer(Noop);
        drop(send(&mut service, request()));
        (session, service)
    };
    // A thread's first use may set something up, and so may a store's.
    drop(idle());
    let mut sessions = Vec::with_capacity(SESSIONS);
    let mut services = Vec::with_capacity(SESSIONS);
    let mut of_services = 0;
    let make = || {
        for _ in 0..SESSIONS {
            let (session, service) = idle();
            sessions.push(session);
            services.push(service);
        }
        // The vectors were allocated before, and stay.
        of_services = -during(|| services.clear()).1.live;
    };
    let (((), left), sizes) = left_by_size(|| during(make));
    (Heap::of_each(SESSIONS, left, sizes), of_services as f64 / SESSIONS as f64)
}

// === impl Waiting ===

impl Waiting {
    fn start() -> Self {
        let runtime =
            runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
        let release = Arc::new(Notify::new());
        let released = Arc::clone(&release);
        let refresher = refresh_fn(move |_: RefreshContext| {
            let released = Arc::clone(&released);
            async move {
                released.notified().await;
                Ok(Token::builder(token_text()).expires_in(Duration::from_secs(3600)).build()?)
            }
        });
        let session = Session::builder(refresher).build();
        Self { runtime, session, release }
    }

    fn auth(&self) -> Auth<Noop, NoReplay> {
        AuthLayer::from_session(self.session.clone()).with_replay(NoReplay).layer(Noop)
    }

    /// The heap that a future takes from its first poll until it waits.
    fn heap_of<F: Future<Output = bool>>(&self, future: impl Fn() -> F) -> Heap {
        let _guard = self.runtime.enter();
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |future: &mut Pin<Box<F>>| assert!(future.as_mut().poll(&mut cx).is_pending());
        // The first one starts the refresh.
        let mut first = Box::pin(future());
        poll(&mut first);
        let mut futures: Vec<_> = (0..WAITERS).map(|_| Box::pin(future())).collect();
        let poll_all = || during(|| futures.iter_mut().for_each(&mut poll));
        let (((), allocations), sizes) = left_by_size(poll_all);
        Heap::of_each(WAITERS, allocations, sizes)
    }
}

// === impl Heap ===

impl Heap {
    fn of_each(count: usize, left: Allocations, sizes: BTreeMap<usize, i64>) -> Self {
        let each = |total: i64| total as f64 / count as f64;
        Self {
            bytes: each(left.live),
            sizes: sizes.into_iter().map(|(size, count)| (size, each(count))).collect(),
        }
    }

    /// The allocations that each future has; what it takes of a shared one is an average.
    fn list(&self) -> String {
        let own = || self.sizes.iter().filter(|(_, count)| **count > 0.5);
        let sizes: Vec<_> = own().map(|(size, count)| format!("{count:.0} of {size} bytes")).collect();
        let bytes: f64 = own().map(|(size, count)| *size as f64 * count).sum();
        format!("{}; {:.1} bytes of shared ones", sizes.join(", "), self.bytes - bytes)
    }
}
