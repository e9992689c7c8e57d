//! Allocations, peak memory, and wiped secrets, as a global allocator sees them.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod allocations;
mod inspecting;
mod reader;
mod sessions;
mod zeroize;

#[path = "../../benches/support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: inspecting::Inspecting = inspecting::Inspecting;
