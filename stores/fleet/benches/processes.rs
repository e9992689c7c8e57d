//! Processes that find the token expired at once: what they ask of the store and the token endpoint, and how long they
//! wait.
//!
//! `cargo bench --bench processes` prints two tables. The processes are real: this program, run again.

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a report, with the system's time"
)]

use std::time::{Duration, Instant};

use tower_reauth::testing::Issuer;
use tower_reauth_fleet::{
    Command, Fleet, Moment, Outcome, Program, Settings, StoreKind, TokenServer, postgres::PostgresServer,
    redis::RedisServer, run_if_process,
};
use tower_reauth_postgres::PostgresStore;

fn main() {
    run_if_process();
    // `cargo test` only checks that it runs.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    tokio::runtime::Runtime::new().unwrap().block_on(report(is_measured));
}

async fn report(is_measured: bool) {
    let (counts, expiries): (&[usize], _) = if is_measured { (&[2, 10, 50, 200], 40) } else { (&[2], 2) };
    let redis = RedisServer::start(&[]);
    let postgres = PostgresServer::start();
    if let Some(server) = &postgres {
        create_table(server).await;
    }
    let redis = redis.as_ref().map(|server| StoreKind::Redis(Some(server.url())));
    let postgres = postgres.as_ref().map(|server| StoreKind::Postgres(Some(server.url())));
    println!(
        "| processes | store | exchanges per expiry | loads per process and expiry | swaps | \
         the last has the new token: p50 | p99 |\n|---|---|---|---|---|---|---|"
    );
    for &processes in counts {
        expire(processes, "file", file(), false, expiries).await;
        for (name, store) in [("Redis", &redis), ("PostgreSQL", &postgres)] {
            // A server has a hundred connections by default, and each process needs two.
            if let Some(store) = store.as_ref().filter(|_| processes <= 50) {
                expire(processes, name, store.clone(), false, expiries).await;
                let name = format!("{name}, without notifications");
                expire(processes, &name, store.clone(), true, expiries).await;
            }
        }
    }
    println!(
        "\n| a process is killed while it presents: the others go on after | p50 | longest |\n|---|---|---|"
    );
    let kills = if is_measured { 10 } else { 1 };
    kill("file", file(), kills).await;
    for (name, store) in [("Redis", redis), ("PostgreSQL", postgres)] {
        if let Some(store) = store {
            kill(&format!("{name}; a claim lapses after 5 s"), store, kills).await;
        }
    }
}

fn file() -> StoreKind {
    StoreKind::File(None)
}

/// Starts processes with one caller each.
async fn start(settings: Settings, processes: usize, folder: &tempfile::TempDir) -> Fleet {
    let store = match settings.store {
        StoreKind::File(_) => StoreKind::File(Some(folder.path().join("credentials.json"))),
        store => store,
    };
    let settings = Settings { store, callers: 1, ..settings };
    let issuer = Issuer::builder().tolerate_reuse_for(Duration::from_secs(60));
    let server = TokenServer::start(issuer).await.unwrap();
    Fleet::start(Program::this(&[]).unwrap(), server, settings, processes).await.unwrap().0
}

async fn expire(processes: usize, name: &str, store: StoreKind, only_polls: bool, expiries: usize) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { store, only_polls, ..Settings::default() };
    let mut fleet = start(settings, processes, &folder).await;
    let before = fleet.call().await;
    let mut times = Vec::new();
    let mut after = Outcome::default();
    for _ in 0..expiries {
        after = fleet.call_after_expiry().await;
        times.push(fleet.server.rotated_at().unwrap().elapsed());
        assert_eq!((after.ok, after.failed), (processes, 0), "{after:?}");
    }
    let counts = fleet.server.counts();
    assert_eq!((counts.refusals, counts.at_once), (0, 1));
    let per_process = |count: usize| count as f64 / (processes * expiries) as f64;
    println!(
        "| {processes} | {name} | {:.2} | {:.2} | {:.2} | {:.1?} | {:.1?} |",
        counts.presentations as f64 / expiries as f64,
        per_process(after.loads - before.loads),
        per_process(after.swaps - before.swaps),
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99),
    );
}

async fn kill(name: &str, store: StoreKind, kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let exchange_timeout = Some(Duration::from_secs(1));
    let mut fleet = start(Settings { store, exchange_timeout, ..Settings::default() }, 4, &folder).await;
    assert_eq!(fleet.call().await.ok, 4);
    let mut times = Vec::new();
    for _ in 0..kills {
        let held = fleet.server.hold_next(Moment::Exchanged);
        fleet.expire();
        fleet.send(&Command::Call).await;
        fleet.kill(held.await).await.unwrap();
        let killed = Instant::now();
        assert_eq!(fleet.called().await.ok, 3);
        times.push(killed.elapsed());
        let process = fleet.start_one().await.unwrap();
        fleet.processes.push(process);
        fleet.server.gather_rejections(0);
        assert_eq!(fleet.call().await.ok, 4);
    }
    println!("| {name} | {:.1?} | {:.1?} |", quantile(&mut times, 0.5), quantile(&mut times, 1.0));
}

async fn create_table(server: &PostgresServer) {
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    let task = tokio::spawn(connection);
    PostgresStore::create_table(&client).await.unwrap();
    task.abort();
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share).round() as usize]
}
