//! Token endpoints as they really answer: hyper servers that follow a script, asked by the crate's own refreshers.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

mod client_auth;
mod codes;
mod kinds_of_body;
mod lifetimes;
mod limits;
mod redirects;
mod retry_after;
mod schemes;
mod server;
mod verdict;
mod zoo;

#[path = "../support/mod.rs"]
mod support;
