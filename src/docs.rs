//! Guides.

pub mod cancellation;
pub mod layer_order;
pub mod limitations;
#[cfg(feature = "store")]
pub mod many_processes;
pub mod performance;
pub mod promises;
pub mod providers;
pub mod security;
