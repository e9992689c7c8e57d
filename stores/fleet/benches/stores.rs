//! What a refresh through each store costs, beyond the exchange itself.
//!
//! `cargo bench --bench stores` prints a table. The exchange takes no time, so what is left is the store: a load, the
//! claim and the save.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a report, with the system's time"
)]

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use tower_reauth::{
    Session, Token, refresh_fn,
    store::{FileStore, MemoryStore, TokenStore},
};
use tower_reauth_fleet::{postgres::PostgresServer, redis::RedisServer};
use tower_reauth_postgres::PostgresStore;
use tower_reauth_redis::RedisStore;

/// Of the length of a usual record.
const RECORD: usize = 2048;

fn main() {
    // `cargo test` only checks that it runs.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_measured { 500 } else { 3 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| a refresh, without the exchange | p50 | p99 |\n|---|---|---|");
    runtime.block_on(report(rounds));
}

async fn report(rounds: usize) {
    measure("memory", MemoryStore::new(), rounds).await;
    // Linux keeps this folder in memory.
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() {
        let folder = tempfile::tempdir_in(in_memory).unwrap();
        measure("file, in memory (tmpfs)", FileStore::new(folder.path().join("credentials.json")), rounds)
            .await;
    }
    let folder = tempfile::tempdir_in(".").unwrap();
    print("one fsync on this disk", fsyncs(folder.path(), rounds));
    measure("file, on this disk", FileStore::new(folder.path().join("credentials.json")), rounds).await;
    if let Some(server) = RedisServer::start(&[]) {
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        measure("Redis, without persistence", RedisStore::new(connection, "bench"), rounds).await;
    }
    if let Some(server) = PostgresServer::start() {
        let (client, connection) =
            tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        PostgresStore::create_table(&client).await.unwrap();
        measure("PostgreSQL, with fsync", PostgresStore::new(client, "bench"), rounds).await;
        task.abort();
    }
}

async fn measure<S: TokenStore>(name: &str, store: S, rounds: usize) {
    let refresher = refresh_fn(|_| async {
        let number = fastrand::u64(..);
        let token = Token::builder(format!("{number:x}{}", "a".repeat(RECORD)));
        Ok(token.refresh_token(format!("R{number:x}")).expires_in(Duration::from_secs(3600)).build()?)
    });
    let shared = Session::builder(refresher).build_shared(store);
    shared.sign_in(Token::builder("A1").refresh_token("R1").build().unwrap()).await.unwrap();
    shared.session().token().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        shared.session().refresh().await.unwrap();
        times.push(start.elapsed());
    }
    print(name, times);
}

/// What one `fsync` of a small file costs.
fn fsyncs(folder: &Path, rounds: usize) -> Vec<Duration> {
    let mut file = File::create(folder.join("fsync")).unwrap();
    let fsync = |_| {
        let start = Instant::now();
        file.write_all(&[b'a'; RECORD]).unwrap();
        file.sync_all().unwrap();
        start.elapsed()
    };
    (0..rounds).map(fsync).collect()
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("| {name} | {:.2?} | {:.2?} |", at(0.5), at(0.99));
}
