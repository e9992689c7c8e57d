//! The layer over real hyper clients, with real authorization servers behind it.
//!
//! What our side sent is asserted, and what the servers counted of it; never which of several requests a server takes
//! for the first.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test's failure is a panic, it has the system's clock, and says what it skips"
)]

#[path = "../servers/mod.rs"]
mod servers;

mod delays;
mod expiries;
mod provider;
mod restart;
mod revocation;
mod sign_out;
mod stage;
