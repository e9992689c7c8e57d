//! Token endpoints as they really answer: hyper servers that follow a script, asked by the crate's own refreshers.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

mod claims;
mod client_auth;
mod client_credentials;
mod codes;
mod dead_connection;
mod echoes;
mod empty_frames;
mod ends;
mod fixed;
mod handed_over;
mod json;
mod kinds_of_body;
mod leisure;
mod lifetimes;
mod limits;
mod one_suite;
mod pinned;
mod redirects;
mod retry_after;
mod revocation;
mod schemes;
mod secrets;
mod server;
mod settings;
mod successors;
mod verdict;
mod without_refresh_token;
mod zoo;

#[path = "../support/mod.rs"]
mod support;
