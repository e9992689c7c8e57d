//! Guides.

pub mod cancellation;
pub mod clients;
pub mod hand_written_lock;
pub mod layer_order;
pub mod limitations;
#[cfg(feature = "store")]
pub mod many_processes;
#[cfg(feature = "sessions")]
pub mod many_users;
pub mod performance;
pub mod promises;
pub mod providers;
pub mod recipes;
pub mod rejections;
pub mod security;
#[cfg(feature = "store")]
pub mod stores;
pub mod token_sources;
