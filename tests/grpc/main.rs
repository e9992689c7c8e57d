//! A generated client over real tonic channels, against a tonic server that checks each call's token.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod deadlines;
mod errors;
mod first_message;
#[path = "../../examples/grpc/greeter.rs"]
mod greeter;
mod interceptors;
mod kinds;
mod origins;
mod rejections;
mod server;
mod setup;
mod streams;

#[path = "../support/stopped_time.rs"]
mod stopped_time;
#[path = "../support/mod.rs"]
mod support;
