//! Processes that share one rotating refresh token, without and with a store.
//!
//! ```sh
//! cargo run --release --example fleet -- --processes 8 --callers 200 --store file
//! ```
//!
//! The program is the server: it revokes the grant if a refresh token is used again, and tolerates one repeat for
//! 30 s (`--strict`: none). It runs itself again as processes, whose callers all find the token expired at once. One
//! process is killed when the server has exchanged the refresh token and hasn't sent the response; another one, which
//! knows from the store what happened, repeats the exchange. The last line is counted by the server.
//!
//! The run begins with the same processes without a store, each with a copy of the same token (alone:
//! `--store none`): they are signed out at the first expiry.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is the purpose of the example"
)]

mod options;
mod table;

use std::{process::ExitCode, time::Duration};

use tokio_postgres::NoTls;
use tower_reauth::testing::Issuer;
use tower_reauth_fleet::{
    Command, Fleet, Moment, Outcome, Program, Settings, StoreKind, TokenServer, run_if_process,
};
use tower_reauth_fleet::{postgres::PostgresServer, redis::RedisServer};
use tower_reauth_postgres::PostgresStore;

use options::Options;
use table::Table;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const TOLERANCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    run_if_process();
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Runtime::new();
    match runtime.map_err(BoxError::from).and_then(|runtime| runtime.block_on(run(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), BoxError> {
    println!("Without a store, each process has a copy of the refresh token:\n");
    if trial(&options, StoreKind::None).await? {
        return Err("the processes without a store were expected to be signed out".into());
    }
    if options.store == StoreKind::None {
        return Ok(());
    }
    // Deleted at the end.
    let folder = tempfile::tempdir()?;
    let (redis, postgres);
    let store = match options.store.clone() {
        StoreKind::File(None) => StoreKind::File(Some(folder.path().join("credentials.json"))),
        StoreKind::Redis(None) => {
            redis = RedisServer::start(&[]).ok_or("redis-server isn't installed")?;
            StoreKind::Redis(Some(redis.url()))
        }
        StoreKind::Postgres(None) => {
            postgres = PostgresServer::start().ok_or("PostgreSQL isn't installed")?;
            StoreKind::Postgres(Some(postgres.url()))
        }
        store => store,
    };
    if let StoreKind::Postgres(Some(url)) = &store {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        PostgresStore::create_table(&client).await?;
        connection.abort();
    }
    println!("\nWith the store {store}:\n");
    let signed_in = trial(&options, store).await?;
    // A strict server doesn't know the lost response from a theft. No store can prevent that.
    if signed_in == options.strict {
        return Err("this isn't what a store promises".into());
    }
    Ok(())
}

/// Returns whether the processes are signed in at the end.
async fn trial(options: &Options, store: StoreKind) -> Result<bool, BoxError> {
    let Options { processes, callers, .. } = *options;
    let tolerance = if options.strict { Duration::ZERO } else { TOLERANCE };
    let server = TokenServer::start(Issuer::builder().tolerate_reuse_for(tolerance)).await?;
    let kills = store != StoreKind::None;
    let settings = Settings { store, callers, ..Settings::default() };
    let (mut fleet, _) = Fleet::start(Program::this(&[])?, server, settings, processes).await?;
    let mut table = Table::new(&fleet);
    let mut failed = 0;

    fleet.send(&Command::Call).await;
    for (index, process) in fleet.processes.iter_mut().enumerate() {
        let outcome = process.called().await;
        failed += outcome.failed;
        table.begin(index, &outcome);
    }

    let (mut expiries, mut killed) = (0, 0);
    while expiries < options.expiries && fleet.server.issuer.family_is_alive() {
        expiries += 1;
        fleet.expire();
        if !kills {
            // Otherwise chance decides which of them are in time.
            fleet.server.gather_presentations(processes);
        }
        let held = (kills && expiries == options.expiries.div_ceil(2))
            .then(|| fleet.server.hold_next(Moment::Exchanged));
        fleet.send(&Command::Call).await;
        if let Some(held) = held {
            let index = fleet.kill(held.await).await?;
            killed += 1;
            let mut process = fleet.start_one().await?;
            table.restarted(index, process.id());
            table.note(&format!("expiry {expiries}: process {} is killed and restarted", index + 1));
            process.send(&Command::Call).await;
            fleet.processes.insert(index, process);
            table.update(&fleet.server);
        }
        let mut all = Outcome::default();
        for (index, process) in fleet.processes.iter_mut().enumerate() {
            let outcome = process.called().await;
            table.add(index, &outcome);
            table.update(&fleet.server);
            all.merge(outcome);
        }
        failed += all.failed;
        let Outcome { ok, failures, .. } = all;
        table.note(&format!("expiry {expiries}: {ok} requests succeeded, {} failed", all.failed));
        if let Some(failure) = failures.first() {
            table.note(&format!("expiry {expiries}: {}", failure.message));
        }
    }

    let signed_in = fleet.server.issuer.family_is_alive();
    let counts = fleet.server.counts();
    table.finish(&fleet.server);
    println!(
        "\nfleet: processes={processes} callers={} expiries={expiries} refreshes={} refused={} failed={failed} \
         killed={killed} signed_in={}",
        processes * callers,
        counts.refreshes,
        counts.refusals,
        if signed_in { "yes" } else { "no" },
    );
    Ok(signed_in)
}
