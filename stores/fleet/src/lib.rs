//! Processes that share a session of tower-reauth, and the servers that they use: for tests and the example `fleet`.
//!
//! A program runs its own executable again as processes ([`Process`]), each with a session over the same store.
//! Their token endpoint and API are a [`TokenServer`] in the program itself, which counts what they present.
#![cfg(unix)]
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "the rule is for the crate: a program uses the system's clock and tokio's tasks"
)]

pub mod etcd;
mod fleet;
mod messages;
mod points;
pub mod postgres;
mod process;
mod proxy;
pub mod redis;
mod server;
mod store_kind;
mod token_server;
mod users;
mod worker;

pub use fleet::Fleet;
pub use messages::{Command, Credential, Failure, FailureKind, Outcome, Point, Provider, Report, Settings};
pub use process::{Process, Program};
pub use proxy::Proxy;
pub use store_kind::StoreKind;
pub use token_server::{Counts, Held, Moment, Reply, TokenServer};
pub use worker::run_if_process;
