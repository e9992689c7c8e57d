//! A gateway for a thousand users, each with a rotating refresh token of their own, over one upstream.
//!
//! ```sh
//! cargo run --release --features sessions --example many
//! ```
//!
//! The upstream (`upstream.rs`) revokes a user's grant if a refresh token is used again, and accepts only the user's
//! current access token, for requests of that user. It expires all access tokens at once. Then the users call through
//! the gateway (`gateway.rs`), 200 at a time, each with twenty concurrent callers (`callers.rs`). The gateway keeps
//! fewer sessions than there are users (`layered.rs`): it evicts some and loads them again from its database
//! (`database.rs`). The last line is counted by the upstream.
//!
//! With `--naive`, the gateway keeps the tokens in a plain map instead (`naive.rs`), which evicts whichever comes
//! first. If that user's token is being refreshed, the user's next call loads the old refresh token from the database
//! and presents it again, and the upstream signs the user out.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the rules are for the crate: a program prints, and uses the system's clock and tokio's tasks"
)]

mod accounts;
mod callers;
mod database;
mod gateway;
mod layered;
mod loopback;
mod naive;
mod options;
mod upstream;

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tower_reauth::rt::TestClock;

use callers::Callers;
use database::{Database, UserId};
use options::Options;
use upstream::Upstream;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), BoxError> {
    let (upstream, clock) = (Upstream::start().await?, TestClock::new(SystemTime::now()));
    let (database, mut callers) = (Arc::new(Database::default()), Callers::new(options.callers));
    for number in 0..options.users {
        let user = UserId(format!("user-{number}").into());
        database.save(&user, Some(upstream.accounts().sign_in(&user.0)));
        callers.add(user);
    }
    if options.naive {
        let naive = naive::Naive::new(&upstream, &database, options.capacity);
        let gateway = gateway::start(&upstream, callers.cookies(), naive).await?;
        make_calls(options, &upstream, gateway, &callers, &clock).await?;
    } else {
        let sessions = layered::sessions(&upstream, &database, options.capacity, &clock)?;
        let client = layered::client(sessions.clone(), &upstream)?;
        let gateway = gateway::start(&upstream, callers.cookies(), client).await?;
        make_calls(options, &upstream, gateway, &callers, &clock).await?;
        println!("sessions: loads={} evictions={}", database.loads(), database.loads() - sessions.len());
        sessions.close(Duration::from_secs(10)).await?;
    }
    let accounts = upstream.accounts();
    println!("upstream: {}", accounts.counts);
    let totals = accounts.totals(options.calls());
    println!("{totals}");
    let expected = if options.naive { totals.refused > 0 } else { totals.is_one_refresh_each() };
    expected.then_some(()).ok_or_else(|| "this isn't what was expected".into())
}

/// For each expiry, lets all callers call.
async fn make_calls(
    options: &Options,
    upstream: &Upstream,
    gateway: SocketAddr,
    callers: &Callers,
    clock: &TestClock,
) -> Result<(), BoxError> {
    for expiry in 1..=options.expiries {
        // A session doesn't refresh a token at once if it has only just got it: the next one may be no better.
        clock.step(Duration::from_secs(60));
        upstream.accounts().expire_all();
        let ok = callers.call_all(gateway).await?;
        println!("expiry {expiry}: callers={} ok={ok}", options.users * options.callers);
    }
    Ok(())
}
