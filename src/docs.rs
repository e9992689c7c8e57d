//! Essays: what doesn't belong to one type.

pub mod cancellation;
pub mod layer_order;
pub mod promises;
pub mod security;
