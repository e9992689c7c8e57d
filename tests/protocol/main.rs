//! The protocol by which processes share a credential, in one process, on a paused clock.

#[cfg(feature = "__mutations")]
mod mutations;
mod orders;
mod server;
mod simulation;
mod world;
