//! Processes that share a session of tower-reauth, and the servers of its stores, for tests and the example `fleet`.

pub mod etcd;
pub mod postgres;
pub mod redis;
mod server;
