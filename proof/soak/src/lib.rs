//! The sources of the session on real runtimes, with slow locks: see the README beside this package.
#![allow(
    dead_code,
    missing_docs,
    unexpected_cfgs,
    unreachable_pub,
    unused_imports,
    reason = "only a part of the crate is here, without its features"
)]

#[path = "../../../src"]
mod src {
    pub mod challenge;
    pub mod error;
    pub mod event;
    pub mod panics;
    pub mod refresh;
    pub mod rt;
    pub mod session;
    pub mod shard;
    pub mod token;
}
mod credential;
mod operations;
mod soak;
mod sync;

pub use soak::soak;
use src::{challenge, error, event, panics, refresh, rt, session, shard, token};
pub use src::{
    error::Error,
    refresh::{
        context::RefreshContext,
        error::RefreshError,
        refresher::{Refresher, refresh_fn},
    },
    session::{Session, SessionBuilder, Status, Watch},
    token::{access::AccessToken, builder::TokenBuilder, value::Token},
};
