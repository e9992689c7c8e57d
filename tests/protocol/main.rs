//! The protocol by which processes share a credential, in one process, on a paused clock.

mod server;
mod simulation;
mod world;
