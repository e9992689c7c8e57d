//! The stores, and the checks for stores.
#![cfg(unix)]

mod child;
mod file;
mod mounts;
#[path = "../support/mod.rs"]
mod support;
