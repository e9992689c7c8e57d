//! The stores, and the checks for stores.
#![cfg(unix)]

mod check;
mod child;
mod faulty;
mod file;
mod mounts;
#[path = "../support/mod.rs"]
mod support;
