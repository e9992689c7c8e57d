//! The throughput of layered clients beside that of the bare ones, end to end on loopback.
//!
//! ```text
//! cargo bench --bench clients
//! ```
//!
//! The server is in the same process, on a runtime of its own, and sends 200 bytes. 64 callers share a client; each
//! sends the next request when it has read the response. The bare client sends the same token, of 800 bytes, as a fixed
//! header. The bare and the layered client take turns in short rounds,
//! and each pair of rounds gives a ratio. The table has the median of the pairs, and the lowest and highest. A machine
//! with few cores is the worst case: client and server compete for them.
//!
//! # Instructions
//!
//! They don't depend on the machine's load. Under valgrind the bench makes calls one after the other, with the server
//! on the same thread:
//!
//! ```text
//! CLIENTS_COUNT='reqwest, HTTP/1:layered:1500' valgrind --tool=callgrind target/release/deps/clients-…
//! ```
//!
//! The difference between 500 calls and 1,500 is what 1,000 calls took, client and server. It varies by 0.3 %, as the
//! path through the allocator does.
#![allow(clippy::disallowed_methods, reason = "real tasks are what a bench needs")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod support;

use std::{
    convert::Infallible,
    env,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tower::{Layer, ServiceExt};

use support::{
    fresh_session,
    table::{Goal, Table, is_bench, median},
    token_text,
};

const PAIRS: usize = 20;
const CALLERS: usize = 64;
const ROUND: Duration = Duration::from_millis(400);

/// The calls of one client, for callgrind.
struct Counted {
    client: String,
    is_layered: bool,
    calls: usize,
}

fn main() {
    let counted = Counted::ordered();
    let (pairs, round) = if is_bench() { (PAIRS, ROUND) } else { (1, Duration::from_millis(20)) };
    let server = runtime();
    let client = if counted.is_some() { single_thread() } else { runtime() };
    let url = if counted.is_some() { &client } else { &server }.block_on(serve());
    let mut value = HeaderValue::try_from(format!("Bearer {}", token_text())).expect("visible ASCII");
    value.set_sensitive(true);
    let mut table = Table::default();
    for (is_http2, protocol) in [(false, "HTTP/1"), (true, "HTTP/2")] {
        let bare = hyper_client(is_http2);
        let layered = fresh_session().layer().layer(bare.clone());
        let request = {
            let url = url.clone();
            move || Request::get(&*url).body(Full::<Bytes>::default()).expect("a request")
        };
        let call_bare = {
            let (request, value) = (request.clone(), value.clone());
            move || {
                let mut request = request();
                request.headers_mut().insert(AUTHORIZATION, value.clone());
                read(bare.clone().oneshot(request))
            }
        };
        let call_layered = move || read(layered.clone().oneshot(request()));
        let name = format!("hyper, {protocol}");
        match &counted {
            Some(counted) => client.block_on(counted.make(&name, call_bare, call_layered)),
            None => add(&mut table, &name, client.block_on(ratios(pairs, round, call_bare, call_layered))),
        }

        let bare = reqwest_client(is_http2);
        let layered = fresh_session().layer().reqwest(bare.clone());
        let call_bare = {
            let (bare, url, value) = (bare.clone(), url.clone(), value.clone());
            move || {
                let request = bare.get(&url).header(AUTHORIZATION, value.clone());
                async move { request.send().await.expect("a response").bytes().await.expect("a body").len() }
            }
        };
        let url = url.clone();
        let call_layered = move || {
            let (layered, request) = (layered.clone(), bare.get(&url));
            async move {
                let response = layered.send(request).await.expect("a response");
                response.bytes().await.expect("a body").len()
            }
        };
        let name = format!("reqwest, {protocol}");
        match &counted {
            Some(counted) => client.block_on(counted.make(&name, call_bare, call_layered)),
            None => add(&mut table, &name, client.block_on(ratios(pairs, round, call_bare, call_layered))),
        }
    }
    table.print();
}

// === impl Counted ===

impl Counted {
    fn ordered() -> Option<Self> {
        let order = env::var("CLIENTS_COUNT").ok()?;
        let mut fields = order.split(':');
        let mut field = || fields.next().expect("CLIENTS_COUNT=client:bare or layered:calls");
        let (client, layer, calls) = (field().to_owned(), field(), field());
        Some(Self {
            client,
            is_layered: layer == "layered",
            calls: calls.parse().expect("a number of calls"),
        })
    }

    async fn make<F, G>(&self, client: &str, bare: impl Fn() -> F, layered: impl Fn() -> G)
    where
        F: Future<Output = usize>,
        G: Future<Output = usize>,
    {
        if client != self.client {
            return;
        }
        for _ in 0..self.calls {
            let length = if self.is_layered { layered().await } else { bare().await };
            assert_eq!(length, 200);
        }
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime can be built")
}

fn single_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

fn add(table: &mut Table, name: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let (Some(lowest), Some(highest)) = (ratios.first(), ratios.last()) else { return };
    let row = format!("{name}: throughput, layered to bare ({lowest:.2} to {highest:.2})");
    table.row(row, median(ratios.iter().copied()), Goal::AtLeast(0.97));
}

/// The ratio of each pair of rounds. Which one is first changes from pair to pair.
async fn ratios<F, G>(
    pairs: usize,
    round: Duration,
    bare: impl Fn() -> F + Clone + Send + Sync + 'static,
    layered: impl Fn() -> G + Clone + Send + Sync + 'static,
) -> Vec<f64>
where
    F: Future<Output = usize> + Send,
    G: Future<Output = usize> + Send,
{
    // Opens the connections.
    throughput(round, bare.clone()).await;
    throughput(round, layered.clone()).await;
    let mut ratios = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let (bare, layered) = if pair % 2 == 0 {
            let bare = throughput(round, bare.clone()).await;
            (bare, throughput(round, layered.clone()).await)
        } else {
            let layered = throughput(round, layered.clone()).await;
            (throughput(round, bare.clone()).await, layered)
        };
        ratios.push(layered / bare);
    }
    ratios
}

/// Calls per second.
async fn throughput<F>(round: Duration, call: impl Fn() -> F + Clone + Send + Sync + 'static) -> f64
where
    F: Future<Output = usize> + Send,
{
    let count = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (call, count) = (call.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                while start.elapsed() < round {
                    assert_eq!(call().await, 200);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no caller panics");
    }
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// The length of a response.
async fn read<E: std::fmt::Debug>(response: impl Future<Output = Result<Response<Incoming>, E>>) -> usize {
    let body = response.await.expect("a response").into_body();
    body.collect().await.expect("a body").to_bytes().len()
}

fn hyper_client(is_http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(is_http2).build(connector)
}

fn reqwest_client(is_http2: bool) -> reqwest::Client {
    let builder = reqwest::Client::builder();
    let builder = if is_http2 { builder.http2_prior_knowledge() } else { builder };
    builder.build().expect("a client")
}

/// Starts the server. Returns its URL.
async fn serve() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let respond =
            |_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 200])))) };
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service_fn(respond)).await;
            });
        }
    });
    url
}
