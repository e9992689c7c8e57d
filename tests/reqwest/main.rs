//! reqwest clients over real connections, each test on each way to use the layer with them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod cookies;
mod errors;
mod expiry;
mod held;
mod middleware;
mod options;
mod redirects;
mod rejections;
mod sender;
mod server;
mod timeouts;
mod token_requests;
mod uploads;

#[path = "../support/fake_backend.rs"]
mod fake_backend;
#[path = "../support/mod.rs"]
mod support;
