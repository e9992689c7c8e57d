//! Processes that share a session through a store.
//!
//! They are real: this binary, run again. The program sees at the server what they present, and stops them at named
//! points. No test asserts how long anything takes.
#![cfg(unix)]
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks"
)]

mod changes;
mod commands;
mod killed;
mod oidc_provider;
mod race;
mod setup;
mod stale;
mod stores;
mod suspended;
mod unavailable;
mod users;

#[allow(dead_code, reason = "its other users use the rest")]
#[path = "../../../../tests/support/servers/mod.rs"]
mod servers;

/// What a process does. In the test run itself: nothing.
#[test]
fn runs_as_a_process() {
    tower_reauth_fleet::run_if_process();
}
