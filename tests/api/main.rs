//! The crate's behaviour through its public API, one file a subject.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

mod builder;
mod cancellation;
mod clocks;
mod ends;
mod hooks;
mod itself;
mod one_flight;
mod order;
mod origins;
mod readiness;
mod rejections;
mod replay;
mod requests;
mod secrets;
mod watching;

#[path = "../support/mod.rs"]
mod support;
