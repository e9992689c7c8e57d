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
//! The proxy prints its address, and a key that it makes for each run. Callers send the key as `x-proxy-key`.
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

use std::{env, error::Error, path::Path, sync::Arc};

use tokio::net::TcpListener;

use config::Config;
use forward::{KEY, Proxy};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Some(path) = env::args_os().nth(1) else { return demo::run().await };
    let proxy = Arc::new(Proxy::new(&Config::read(Path::new(&path))?)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{} with {KEY}: {}", listener.local_addr()?, proxy.key());
    tokio::select! {
        served = Arc::clone(&proxy).serve(listener) => served?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    proxy.shut_down().await;
    Ok(())
}
