#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod listen;
mod store;

pub use store::PostgresStore;
