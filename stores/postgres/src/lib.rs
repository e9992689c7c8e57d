#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod listen;
mod store;

pub use store::PostgresStore;
