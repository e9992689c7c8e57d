//! How many token expiries three clients survive, each against the same authorization server.
//!
//! ```sh
//! cargo run --release --example survive -- --server oidc --expiries 100
//! ```
//!
//! The program expires the access token at the server. Ten concurrent calls find it expired: the first one
//! refreshes it, and the others begin before it gets the response. Then a third of the calls is cancelled, as
//! happens when a browser tab is closed or a request times out. The call that refreshes is among them at each
//! third expiry. One client refreshes in each call (`naive.rs`), one refreshes behind an async mutex with a
//! second check (`mutex.rs`), and one uses the layer (`layer.rs`). A client has survived an expiry if the
//! server then accepts its token.
//!
//! The servers are those of the crate's tests, and need Python 3 or Node.js: `oidc` is oidc-provider, which
//! revokes the whole grant when a used refresh token is presented; `simplejwt` is Django REST framework's;
//! `django-oauth-toolkit` is the toolkit of that name.
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
use servers::Server;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let Some(server) = Server::start(options.server, &[]).map(Arc::new) else {
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
    // They have to fail: otherwise the trial shows nothing. The mutex fails at the third expiry.
    if naive.signed_out_at.is_none() || (options.expiries >= 3 && mutex.signed_out_at.is_none()) {
        eprintln!("error: the naive client and the mutex were expected to be signed out");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
