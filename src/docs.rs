//! Essays: what doesn't belong to one type.

pub mod cancellation;
pub mod order_of_layers;
pub mod security;
