//! Guides.

pub mod cancellation;
pub mod layer_order;
pub mod limitations;
pub mod performance;
pub mod promises;
pub mod providers;
pub mod security;
