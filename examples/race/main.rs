//! Three calls find the access token expired at once, with and without the layer.
//!
//! ```sh
//! cargo run --release --example race -- --help
//! ```
//!
//! The server on loopback (`server.rs`) accepts each refresh token once, as a server that rotates refresh
//! tokens does. The same calls are made by a client that refreshes in each call (`naive.rs`), through the
//! layer (`layered.rs`), and by thousands of callers through the layer (`many_callers.rs`). With
//! `--revoke-mid-traffic N` the server also revokes a valid token while N calls are being made
//! (`revoked.rs`).
//!
//! The example also runs against Django REST framework with simplejwt:
//!
//! ```sh
//! python3 -m venv v && v/bin/pip install -r tests/support/servers/requirements.txt
//! v/bin/python tests/support/servers/simplejwt_server.py 8000 --sign-in-lifetime 2 --mode gunicorn --workers 1 &
//! cargo run --release --example race -- --server http://127.0.0.1:8000
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is the purpose of the example")]
#![allow(
    clippy::disallowed_methods,
    reason = "the rule is for the crate: a program uses the system's clock and tokio's tasks"
)]

mod api;
mod counts;
mod grants;
mod jwt;
mod layered;
mod many_callers;
mod naive;
mod options;
mod response_order;
mod revoked;
mod server;
mod setup;
mod step;
mod svg;
mod timeline;

use std::process::ExitCode;

use crate::{
    counts::Totals,
    options::{Options, Parsed},
    setup::Setup,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match options::parse(std::env::args().skip(1)) {
        Ok(Parsed::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Run(options)) => run(&options).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), BoxError> {
    let setup = Setup::start(options).await?;
    let naive = naive::run(&setup).await?;
    let layered = layered::run(&setup).await?;
    let many_callers = many_callers::run(&setup, options.callers()).await?;

    let revoked = match options.revoke_mid_traffic {
        Some(callers) => Some(revoked::run(&setup, callers).await?),
        None => None,
    };

    let runs = [naive, layered, many_callers];
    if let Some(file) = &options.svg {
        std::fs::write(file, svg::draw(&runs))?;
    }
    println!();
    for run in &runs {
        println!("{}", run.totals);
    }
    if let Some(totals) = &revoked {
        println!("{totals}");
    }
    // How the naive client fails depends on the backend. The layer has to succeed with each.
    let layered = runs.iter().filter(|run| run.is_layered).map(|run| &run.totals);
    if !layered.chain(&revoked).all(Totals::is_single_refresh) {
        return Err("expected all calls to succeed with a single refresh".into());
    }
    Ok(())
}
