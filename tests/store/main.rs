//! The stores, and the checks for stores.
#![cfg(unix)]
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panics, use the system's clock, and report to a parent process"
)]

mod cache;
mod changes;
mod check;
mod claims;
// For `File::lock`.
#[clippy::msrv = "1.89"]
mod child;
mod exchanges;
mod faulty;
mod file;
mod following;
mod holders;
mod late_write;
mod mounts;
mod records;
mod scripted;
mod sealed;
mod shared;
#[path = "../support/mod.rs"]
mod support;
