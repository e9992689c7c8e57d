//! The layer on each HTTP client, over real connections.
//!
//! [`Client`](client::Client) is what a behaviour needs of a client. `on_each_client!` makes one test per client of each
//! function, in a module named after the client.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

/// Makes a test of each function for each client.
macro_rules! on_each_client {
    (#[$test_attribute:meta] $($test:ident),+ $(,)?) => {
        tests_on!(hyper_client, crate::hyper::HyperClient, #[$test_attribute] $($test),+);
        #[cfg(feature = "reqwest-middleware")]
        on_each_reqwest_client!(#[$test_attribute] $($test),+);
    };
}

/// Makes a test of each function for each way to use the layer with reqwest.
#[cfg(feature = "reqwest-middleware")]
macro_rules! on_each_reqwest_client {
    (#[$test_attribute:meta] $($test:ident),+ $(,)?) => {
        tests_on!(auth_client, tower_reauth::reqwest::AuthClient, #[$test_attribute] $($test),+);
        tests_on!(middleware, reqwest_middleware::ClientWithMiddleware, #[$test_attribute] $($test),+);
        tests_on!(reqwest_service, crate::reqwest::LayeredService, #[$test_attribute] $($test),+);
    };
}

macro_rules! tests_on {
    ($name:ident, $client:ty, #[$test_attribute:meta] $($test:ident),+) => {
        mod $name {
            $(
                #[$test_attribute]
                async fn $test() {
                    super::$test::<$client>().await;
                }
            )+
        }
    };
}

mod backend;
mod client;
mod early_rejections;
mod errors;
mod expiry;
mod held;
mod hyper;
mod options;
mod rejections;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
mod session;
mod timeouts;
mod uploads;

#[path = "../support/loopback.rs"]
mod loopback;
#[path = "../support/mod.rs"]
mod support;
