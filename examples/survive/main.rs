//! How many token expiries three clients survive, each against the same authorization server.
//!
//! ```sh
//! cargo run --release --example survive -- --server oidc --expiries 100
//! ```
//!
//! At each expiry, ten concurrent calls find the access token expired. Some of them are cancelled while they
//! wait, as happens when a browser tab is closed or a request times out. One client refreshes in each call
//! (`naive.rs`), one refreshes behind an async mutex with a second check (`mutex.rs`), and one uses the layer
//! (`layer.rs`). A client has survived an expiry if the server then accepts its token.
//!
//! The servers are those of the crate's tests, and need Python 3 or Node.js: `oidc` is oidc-provider, which
//! revokes the whole grant when a used refresh token is presented; `simplejwt` is Django REST framework's,
//! whose tokens can't be expired by the server, so each expiry takes two seconds; `django-oauth-toolkit` is
//! the toolkit of that name.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "the rules are for the crate: a program prints, and uses the system's clock and tokio's tasks"
)]

mod client;
mod layer;
mod mutex;
mod naive;
mod options;
#[path = "../../tests/support/servers/mod.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod servers;
mod trial;

use std::{process::ExitCode, sync::Arc};

use options::Options;
use servers::{Kind, Server};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let delay = trial::RESPONSE_DELAY_MS.to_string();
    let settings = ["--access-lifetime", trial::LIFETIME, "--token-delay", &delay];
    let Some(server) = Server::start(options.server, &settings).map(Arc::new) else {
        return ExitCode::FAILURE;
    };
    println!("Server: {} on {}", options::server_name(options.server), server.url());

    let naive = trial::run::<naive::Naive>(&server, options.expiries).await;
    let mutex = trial::run::<mutex::Locked>(&server, options.expiries).await;
    let layer = trial::run::<layer::Layered>(&server, options.expiries).await;
    println!();
    for result in [&naive, &mutex, &layer] {
        println!("{result}");
    }
    if layer.signed_out_at.is_some() || layer.survived != options.expiries {
        eprintln!("error: the layer did not survive all expiries");
        return ExitCode::FAILURE;
    }
    // The naive client has to fail here: otherwise the trial shows nothing.
    if options.server == Kind::Oidc && naive.signed_out_at.is_none() {
        eprintln!("error: the naive client was expected to be signed out");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
