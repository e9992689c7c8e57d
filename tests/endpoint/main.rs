//! The crate's own refreshers against hyper servers that follow a script.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod canned;
mod claims;
mod classifier;
mod client_auth;
mod client_credentials;
mod codes;
mod content_types;
mod field_reports;
mod grant_ended;
mod grants;
mod json;
mod lifetimes;
mod limits;
mod pacing;
mod providers;
mod redirects;
mod refresher_contract;
mod request_params;
mod request_parts;
mod retries;
mod retry_after;
mod revocation;
mod schemes;
mod secrets;
mod sent_or_not;
mod settings;
mod successors;
mod without_refresh_token;
mod zoo;
mod zoo_cost;

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/token_endpoint.rs"]
mod token_endpoint;
