//! Real tonic channels and a generated client against a real tonic server, which judges each call's token.

#![allow(
    clippy::disallowed_methods,
    reason = "a rule for the crate's sources: a test has the system's clock and tokio's tasks"
)]
#![allow(clippy::unwrap_used, reason = "what can't be is a test's failure, in its helpers too")]

mod deadlines;
mod errors;
#[path = "../../examples/grpc/greeter.rs"]
mod greeter;
mod kinds;
mod rejections;
mod server;
mod stage;
mod streams;
#[path = "../support/mod.rs"]
mod support;
