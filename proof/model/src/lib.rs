//! The sources of the session on a model checker: see the README beside this package.
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
mod execution;
mod run;
mod scenario;
mod sync;
mod world;

pub use run::{Mode, run};
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
