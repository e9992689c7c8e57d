//! Three calls find the access token expired at once: what becomes of them, with and without the layer.
//!
//! ```sh
//! cargo run --release --example race -- --help
//! ```
//!
//! A server on loopback (`server.rs`) spends a refresh token by its first use, as a server that rotates refresh tokens
//! does. Against it the same calls are made three times over: by a client whose calls refresh by themselves
//! (`naive.rs`), by one with the layer (`layered.rs`), and with the layer by thousands of callers (`crowd.rs`). With
//! `--revoke N` the server also revokes a token in mid-traffic (`revoked.rs`).
//!
//! Against Django REST framework with simplejwt, where this was first seen:
//!
//! ```sh
//! python3 -m venv v && v/bin/pip install -r tests/support/servers/requirements.txt
//! v/bin/python tests/support/servers/simplejwt_server.py 8000 --mode gunicorn --workers 1 &
//! cargo run --release --example race -- --server http://127.0.0.1:8000
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "to print is what it is for")]
#![allow(
    clippy::disallowed_methods,
    reason = "a rule for the crate's sources: a program has the system's clock and tokio's tasks"
)]

mod api;
mod crowd;
mod grants;
mod hold;
mod jwt;
mod layered;
mod naive;
mod options;
mod revoked;
mod server;
mod stage;
mod step;
mod svg;
mod tally;
mod timeline;

use std::process::ExitCode;

use crate::{
    options::{Asked, Options},
    stage::Stage,
    tally::Tally,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match options::parse(std::env::args().skip(1)) {
        Ok(Asked::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Run(options)) => run(&options).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), BoxError> {
    let stage = Stage::set(options).await?;
    let naive = naive::run(&stage).await?;
    let layered = layered::run(&stage).await?;
    let crowd = crowd::run(&stage, options.callers()).await?;

    let revoked = match options.revoke {
        Some(callers) => Some(revoked::run(&stage, callers).await?),
        None => None,
    };

    let parts = [naive, layered, crowd];
    if let Some(file) = &options.svg {
        std::fs::write(file, svg::draw(&parts))?;
    }
    println!();
    for part in &parts {
        println!("{}", part.tally);
    }
    if let Some(tally) = &revoked {
        println!("{tally}");
    }
    // What the naive client suffers is the backend's choice; what the layer promises holds on each.
    let layered = parts.iter().filter(|part| part.is_layered).map(|part| &part.tally);
    if !layered.chain(&revoked).all(Tally::is_one_for_all) {
        return Err("the layer should have let all calls succeed by one refresh".into());
    }
    Ok(())
}
