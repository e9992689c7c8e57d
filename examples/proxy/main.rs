//! A reverse proxy on loopback that attaches tokens, for programs that must not hold them.
//!
//! ```text
//! cargo run --release --features file-store,https-ring,json,oauth2 --example proxy                 # the demo
//! cargo run --release --features file-store,https-ring,json,oauth2 --example proxy -- proxy.toml
//! ```
//!
//! A route for each API:
//!
//! ```toml
//! [[route]]
//! path = "/github"
//! upstream = "https://api.github.com"
//! store = "github.json"
//!
//! [route.source]
//! kind = "refresh_token"            # or "client_credentials", "json"
//! token_url = "https://github.com/login/oauth/access_token"
//! client_id = "my-client"
//! client_secret_file = "github.secret"
//! refresh_token_file = "github.refresh-token"
//! ```
//!
//! The proxy prints its address, and a key that it generates for each run. Callers send the key as `x-proxy-key`.
//! `/_status` has a line for each session.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line, with tasks of its own"
)]

mod config;
mod demo;
mod forward;

use std::{env, error::Error, io, path::Path, process::ExitCode, sync::Arc};

#[cfg(unix)]
use tokio::signal::unix;
use tokio::{net::TcpListener, signal};

use config::Config;
use forward::{KEY, Proxy};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match env::args_os().nth(1) {
        Some(path) => run(Path::new(&path)).await,
        None => demo::run().await,
    };
    if let Err(error) = &result {
        eprintln!("{error}");
    }
    ExitCode::from(u8::from(result.is_err()))
}

async fn run(config: &Path) -> Result<(), BoxError> {
    let proxy = Arc::new(Proxy::new(&Config::read(config)?)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}; send the header {KEY}: {}", listener.local_addr()?, proxy.key());
    let stopped = tokio::select! {
        () = Arc::clone(&proxy).serve(listener) => Ok(()),
        stopped = until_stopped() => stopped,
    };
    // Whatever happened: a token may be unsaved.
    proxy.shut_down().await;
    Ok(stopped?)
}

/// Ctrl-C, or the signal of a service manager.
async fn until_stopped() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = unix::signal(unix::SignalKind::terminate())?;
        tokio::select! {
            stopped = signal::ctrl_c() => stopped,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}
