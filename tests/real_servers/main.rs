//! The layer over real hyper clients and real authorization servers.
//!
//! Each test asserts what our side sent and what the server counted of it, never which of several requests
//! the server handles first. No test depends on how long anything takes: it expires a token at the server,
//! holds a response until it releases it, and moves the session's clock.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests fail by panics, use the system's clock, and print what they skip"
)]

mod delays;
mod expiries;
mod grants;
mod harness;
mod kit;
mod provider;
mod restart;
mod revocation;
mod setup;
mod sign_out;
mod users;

#[path = "../support/servers/mod.rs"]
mod servers;
#[path = "../support/stopped_time.rs"]
mod stopped_time;
#[path = "../support/mod.rs"]
mod support;
