//! The layer and the ready-made client over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod early_rejections;
#[path = "../support/fake_backend.rs"]
mod fake_backend;
mod held;
mod http;
mod uploads;
