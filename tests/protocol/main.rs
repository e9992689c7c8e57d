//! The protocol by which processes share a credential, in one process, on a paused clock.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and drive a runtime of their own"
)]

mod leftovers;
#[cfg(feature = "__mutations")]
mod mutations;
mod orders;
mod scripted;
mod simulation;
mod world;
