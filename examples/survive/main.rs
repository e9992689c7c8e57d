//! How many expiries a signed-in user survives: three clients against the same authorization server.
//!
//! ```sh
//! cargo run --release --example survive -- --server oidc --expiries 100
//! ```
//!
//! A user's ten calls find the access token dead at once, again and again; some callers give up while they wait, as
//! a browser tab is closed or a request times out. A hand-written client refreshes in each call (`naive.rs`), another
//! behind an async mutex with a second check (`mutex.rs`), the third has the layer (`layer.rs`). What survived is what
//! the server says: after each expiry it is asked whether it takes the token that the client holds.
//!
//! The servers are those of the crate's tests, and need python3 or node: `oidc` is oidc-provider, which revokes the whole
//! grant when a spent refresh token is presented; `simplejwt` is Django REST framework's, whose tokens can't be
//! ended by the server, so each expiry takes two seconds; `dot` is django-oauth-toolkit.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program prints, and has the system's clock and tokio's tasks"
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
        Err(why) => {
            eprintln!("{why}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let delay = trial::ANSWER_DELAY_MS.to_string();
    let settings = ["--access-lifetime", trial::LIFETIME, "--token-delay", &delay];
    let Some(server) = Server::start(options.server, &settings).map(Arc::new) else {
        return ExitCode::FAILURE;
    };
    println!("{:?} listens on {}", options.server, server.url());

    let naive = trial::run::<naive::Naive>(&server, options.expiries).await;
    let mutex = trial::run::<mutex::Locked>(&server, options.expiries).await;
    let layer = trial::run::<layer::Layered>(&server, options.expiries).await;
    println!();
    for result in [&naive, &mutex, &layer] {
        println!("{result}");
    }
    let has_shown = options.server != Kind::Oidc || naive.signed_out_at.is_some();
    if layer.signed_out_at.is_none() && layer.survived == options.expiries && has_shown {
        ExitCode::SUCCESS
    } else {
        eprintln!("it should have been otherwise");
        ExitCode::FAILURE
    }
}
