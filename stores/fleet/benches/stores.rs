//! What a refresh through each store costs, beyond one of a session without a store.
//!
//! `cargo bench --bench stores` prints a table. The exchange takes no time, so what is left is the store: a load, the
//! claim and the save. The baseline is what one write, or one round trip,
//! costs on this machine.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a report, with the system's time"
)]

use std::{
    fs::File,
    future::Future,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use tower_reauth::{
    Session, SessionBuilder, Token, refresh_fn,
    store::{FileStore, MemoryStore, TokenStore},
};
use tower_reauth_fleet::{postgres::PostgresServer, redis::RedisServer};
use tower_reauth_postgres::PostgresStore;
use tower_reauth_redis::RedisStore;

/// Of the length of a usual record.
const RECORD: usize = 2048;

struct Bench {
    rounds: usize,
    /// A refresh without a store.
    without: Duration,
}

fn main() {
    // `cargo test` only checks that it runs.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_measured { 500 } else { 3 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(report(rounds));
}

async fn report(rounds: usize) {
    let session = builder().token(Token::builder("A1").refresh_token("R1").build().unwrap()).build();
    let mut times = refreshes(&session, rounds).await;
    let without = at(&mut times, 0.5);
    println!("a refresh without a store: p50 {without:.2?}\n");
    println!("| store | beside it | a refresh through it: p50 | ratio | p99 |\n|---|---|---|---|---|");
    let bench = Bench { rounds, without };
    bench.measure("memory", None, MemoryStore::new()).await;
    // Linux keeps this folder in memory.
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() {
        let folder = tempfile::tempdir_in(in_memory).unwrap();
        let store = FileStore::new(folder.path().join("credentials.json"));
        bench.measure("file, in memory (tmpfs)", None, store).await;
    }
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = FileStore::new(folder.path().join("credentials.json"));
    bench.measure("file, on this disk", Some(("an fsync", fsync(folder.path(), rounds))), store).await;
    if let Some(server) = RedisServer::start(&[]) {
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let ping = async || redis::cmd("PING").exec_async(&mut connection.clone()).await.unwrap();
        let round_trip = median_of(rounds, ping).await;
        let store = RedisStore::new(connection.clone(), "bench");
        bench.measure("Redis, without persistence", Some(("a round trip", round_trip)), store).await;
    }
    if let Some(server) = PostgresServer::start() {
        let (client, connection) =
            tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        PostgresStore::create_table(&client).await.unwrap();
        client.batch_execute("CREATE TABLE one (value int); INSERT INTO one VALUES (0)").await.unwrap();
        let update = async || client.batch_execute("UPDATE one SET value = value + 1").await.unwrap();
        let commit = median_of(rounds, update).await;
        let store = PostgresStore::new(client, "bench");
        bench.measure("PostgreSQL, with fsync", Some(("a committed UPDATE", commit)), store).await;
        task.abort();
    }
}

/// A refresher without an endpoint.
fn builder() -> SessionBuilder {
    Session::builder(refresh_fn(|_| async {
        let number = fastrand::u64(..);
        let token = Token::builder(format!("{number:x}{}", "a".repeat(RECORD)));
        Ok(token.refresh_token(format!("R{number:x}")).expires_in(Duration::from_secs(3600)).build()?)
    }))
}

async fn refreshes(session: &Session, rounds: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        session.refresh().await.unwrap();
        times.push(start.elapsed());
    }
    times
}

async fn median_of<F: Future<Output = ()>>(rounds: usize, mut operation: impl FnMut() -> F) -> Duration {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        operation().await;
        times.push(start.elapsed());
    }
    at(&mut times, 0.5)
}

/// What one `fsync` of a small file costs.
fn fsync(folder: &Path, rounds: usize) -> Duration {
    let mut file = File::create(folder.join("fsync")).unwrap();
    let fsync = |_| {
        let start = Instant::now();
        file.write_all(&[b'a'; RECORD]).unwrap();
        file.sync_all().unwrap();
        start.elapsed()
    };
    at(&mut (0..rounds).map(fsync).collect::<Vec<_>>(), 0.5)
}

fn at(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

// === impl Bench ===

impl Bench {
    /// `beside`: what the store is compared with, and its time.
    async fn measure<S: TokenStore>(&self, name: &str, beside: Option<(&str, Duration)>, store: S) {
        let shared = builder().build_shared(store);
        shared.sign_in(Token::builder("A1").refresh_token("R1").build().unwrap()).await.unwrap();
        shared.session().token().await.unwrap();
        let mut times = refreshes(shared.session(), self.rounds).await;
        let [p50, p99] = [0.5, 0.99].map(|share| at(&mut times, share).saturating_sub(self.without));
        let (what, ratio) = match beside {
            Some((what, time)) => {
                (format!("{what}: {time:.2?}"), format!("{:.1}", p50.as_secs_f64() / time.as_secs_f64()))
            }
            None => Default::default(),
        };
        println!("| {name} | {what} | {p50:.2?} | {ratio} | {p99:.2?} |");
    }
}
