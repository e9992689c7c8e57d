//! Many users: `Sessions`, `AuthLayer::keyed`, `AuthLayer::per_request` and `RefreshLimit`, one file per subject.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod closing;
mod evicting;
mod keyed;
mod limits;
mod loading;
mod model;
mod removing;
mod shared;
mod tenants;

#[path = "../support/mod.rs"]
mod support;
mod world;
