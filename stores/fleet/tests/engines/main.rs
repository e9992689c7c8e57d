//! The stores in Redis and PostgreSQL, on real servers.
#![cfg(unix)]
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's time"
)]

mod cuts;
mod etcd;
mod notifications;
mod outages;
mod postgres;
mod redis;
mod sessions;
