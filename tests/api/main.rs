//! The crate's behaviour through its public API, one file per subject.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod advice;
mod backoff;
mod buffered;
mod builder;
mod by_hand;
mod cancellation;
mod challenge_zoo;
mod clocks;
mod combinators;
mod flight_ends;
mod gated;
mod headers;
mod health;
mod hooked_clock;
mod hooks;
mod injection;
mod keeping_fresh;
mod kit;
mod layer_order;
mod layout;
mod min_lifetime;
mod one_flight;
mod origins;
mod panics;
mod promises;
mod readiness;
mod reentrancy;
mod refresh_token_expiry;
mod rejections;
mod replay;
mod saves;
mod secrets;
mod sign_in;
mod watching;

#[path = "../support/mod.rs"]
mod support;
