//! A [tower] layer that keeps requests authorized: **one token refresh for any number of callers; no call
//! fails, no user is signed out.**
//!
//! A token expires, three concurrent calls notice, and each refreshes it. The server rotates the refresh
//! token for the first and refuses the other two; a strict server treats that as theft and revokes the first
//! one's tokens as well (RFC 9700 §4.14.2). The user is signed out. [`AuthLayer`] lets all three wait for a
//! single refresh.
//!
//! # Example
//!
//! A [`Refresher`] obtains a new token; the layer does the rest:
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_reauth::{RefreshContext, RefreshError, Refresher, Session, Token};
//!
//! struct MyEndpoint;
//!
//! impl Refresher for MyEndpoint {
//!     async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
//!         // Send cx.refresh_token() to your token endpoint. Its response:
//!         # let _ = cx;
//!         let token = Token::builder("A2").refresh_token("R2").expires_in(Duration::from_secs(3600));
//!         Ok(token.build()?)
//!     }
//! }
//!
//! # tokio_test::block_on(async {
//! # let http_client = service_fn(|request: http::Request<String>| async move {
//! #     Ok::<_, std::convert::Infallible>(http::Response::new(request.headers()["authorization"].clone()))
//! # });
//! // From an earlier sign-in: an access token that has expired, and the refresh token.
//! let stored = Token::builder("A1").refresh_token("R1").expires_in(Duration::ZERO).build()?;
//! let session = Session::builder(MyEndpoint).token(stored).build();
//! let layer = session.layer().restrict_to_origin("https://api.example.com".parse()?);
//! let mut client = ServiceBuilder::new().layer(layer).service(http_client);
//!
//! let request = http::Request::get("https://api.example.com/items").body(String::new())?;
//! let response = client.ready().await?.call(request).await?;
//! # assert_eq!(response.into_body(), "Bearer A2");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! # }).unwrap();
//! ```
//!
//! `http_client` can be any `Clone` service of `http::Request<B>`: a hyper-util client or a stack of layers.
//! Wrap other services in `tower::buffer::Buffer`. For reqwest, see the module `reqwest` (feature `reqwest`).
//!
//! # Terminology
//!
//! - A **session** is the shared state of one credential. All clones share it, as do all clients whose layers
//!   share it. See [`Session`].
//! - Its token is **fresh** (it is used), **stale** (it is used, and refreshed in the background),
//!   **expired** (callers wait for a refresh), or **rejected** by a server that turned down a request with
//!   it.
//! - A **flight** is a refresh in progress; a session has at most one. Callers that need its result **wait**
//!   for it, for at most their **wait timeout**.
//! - With a store, the **record** is what processes share. A **claim** is a process's note in it that it is about
//!   to present the refresh token. A claim **lapses** when others may ignore it. A session **adopts** a token that
//!   another process obtained.
//! - The **generation** is a counter that increases with each new token.
//!
//! # Where tokens come from
//!
//! | source | use |
//! |---|---|
//! | an OAuth 2.0 provider, for a user or for the application itself | the module `oauth2` (feature `oauth2`) |
//! | a JSON backend, such as simplejwt | the module `json` (feature `json`) |
//! | anything else | your own [`Refresher`], or a closure: [`refresh_fn`] |
//!
//! For a typical provider this is one line (features `oauth2` and `https`):
//!
//! ```
//! # #[cfg(all(feature = "oauth2", feature = "https"))]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpoint> {
//! # use tower_reauth::oauth2;
//! let refresher = oauth2::Client::try_new("https://id.example.com/token", "my-client")?.refresh_token_grant();
//! # let _ = tower_reauth::AuthLayer::new(refresher);
//! # Ok(())
//! # }
//! ```
//!
//! [`docs::providers`] lists the settings for about forty providers.
//!
//! [`RefresherExt`] wraps any of them: with retries, a fallback that logs in again, a timeout, or a mapping of
//! tokens or errors.
//!
//! # Rejected tokens
//!
//! An expiry time is only a hint. If a request that carried the token gets a 401, the layer refreshes once
//! for all rejected requests and retries each of them once. [`RejectionRule`](rejection::RejectionRule)
//! changes what counts as a rejection, [`Replay`](replay::Replay) how bodies are replayed. If no newer token
//! can be obtained, the caller gets the original response, with the reason in its extensions:
//! [`AuthReport`](future::AuthReport).
//!
//! # Guarantees
//!
//! [`docs::promises`] lists them. Tests for a guarantee start with its number there
//! (`p01_`).
//!
//! While the token is fresh, a layer with one session neither blocks nor allocates; making a request replayable costs
//! a copy of its head. See [`docs::performance`] for measurements, and [`docs::limitations`] for what
//! the crate doesn't do.
//!
//! # Errors
//!
//! A request that can't be authorized fails with an [`Error`] inside tower's `BoxError`; [`Error::find`]
//! extracts it. It says whether a retry can help, and when.
//!
//! | question | what to do |
//! |---|---|
//! | [`is_grant_ended`](Error::is_grant_ended), [`is_signed_out`](Error::is_signed_out) | ask the user to sign in: [`Session::sign_in`] |
//! | [`is_retryable`](Error::is_retryable) | try again, not before [`retry_at`](Error::retry_at) |
//! | [`is_misconfigured`](Error::is_misconfigured) | fix the client configuration; [`Session::reset_backoff`] afterwards |
//! | [`is_cleartext`](Error::is_cleartext), [`is_missing_host`](Error::is_missing_host) | fix the request URI or the layer's settings |
//! | [`is_missing_session`](Error::is_missing_session) | give the request its session, or its key |
//! | [`is_reentrant`](Error::is_reentrant) | mark requests made by the refresher with [`SkipAuth`] |
//!
//! # Recipes
//!
//! - Another HTTP library, or a WebSocket: [`Session::send`], and [`AuthLayer::allows`] to check the destination.
//! - Store each new token, and erase it after a sign-out: [`SessionBuilder::save_with`].
//! - Many users: a session in each request ([`AuthLayer::per_request`]), or a map of sessions (the module `sessions`,
//!   feature `sessions`).
//! - Share one sign-in among processes: `SessionBuilder::build_shared` (feature `store`).
//! - A token that lasts for a long job, upload or stream: [`MinLifetime`] on its request,
//!   [`Session::token_with`] without the layer.
//! - A connection that stays open, and must be given the next token: [`Session::tokens`]. An idle session never
//!   refreshes, unless [`Session::keep_fresh`] is spawned.
//! - Headers other than `Authorization`, or a token without a scheme: [`SessionBuilder::header`].
//! - Ask the user to sign in again: [`Session::watch`].
//! - Short-lived programs: disable [`refresh_early`](SessionBuilder::refresh_early), or call
//!   [`Session::shutdown`] before exiting.
//! - A public resource through the same client: [`SkipAuth`].
//! - Cancellation, layer order and the security model: [`docs`].
//!
//! # Features
//!
//! None is on by default.
//!
//! - `oauth2`: refreshers for OAuth 2.0 token endpoints, and token revocation. See the module `oauth2`.
//! - `json`: refreshers for JSON endpoints. See the module `json`.
//! - `sessions`: a map with a session for each of many users, loaded when it is needed. See the module `sessions`.
//! - `store`: one credential for many processes and hosts, through a `TokenStore`: your own, or that of the crates
//!   `tower-reauth-redis` and `tower-reauth-postgres`. See the module `store`.
//! - `file-store`: one credential for the processes of a host, in a file. See the module `store`. Needs Rust 1.89.
//! - `https`: a built-in HTTPS client (hyper, rustls, the platform's root certificates, the environment's
//!   proxies), so that `oauth2` and `json` need only a URL, and your API client no TLS setup. It uses the crypto provider
//!   that the program installed as rustls's default. Without this feature, use any tower service. See the
//!   module `https`.
//! - `https-ring`, `https-aws-lc`: the same, with a crypto provider for programs that install none.
//! - `grpc`: [tonic](https://docs.rs/tonic) channels and generated clients. See the module `grpc`.
//! - `reqwest`: [reqwest](https://docs.rs/reqwest) clients. See the module `reqwest`.
//! - `reqwest-middleware`: the same as a middleware of
//!   [reqwest-middleware](https://docs.rs/reqwest-middleware).
//! - `metrics`: counters, durations and gauges for the [`metrics`](https://docs.rs/metrics) crate. See the module
//!   `metrics`.
//! - `tracing`: session events for the [`tracing`](https://docs.rs/tracing) crate, with the target
//!   `tower_reauth`.
//! - `test-util`: a token endpoint, an API and a clock for tests of your code. See the module `testing`.
//! - `full`: all but `test-util`, `https-ring` and `https-aws-lc`.
//!
//! [tower]: https://docs.rs/tower
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod challenge;
pub mod docs;
#[cfg(feature = "__endpoint")]
pub mod endpoint;
mod error;
pub mod event;
pub mod future;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "https")]
pub mod https;
#[cfg(feature = "json")]
pub mod json;
mod layer;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "oauth2")]
pub mod oauth2;
pub mod origin;
mod panics;
pub mod refresh;
mod request;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod rt;
mod send;
mod service;
mod session;
#[cfg(feature = "sessions")]
pub mod sessions;
mod shard;
#[cfg(feature = "store")]
pub mod store;
mod sync;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod token;

pub use error::Error;
pub use layer::AuthLayer;
pub use origin::parse::Origin;
pub use refresh::{
    context::RefreshContext,
    error::RefreshError,
    ext::RefresherExt,
    refresher::{Refresher, refresh_fn},
};
pub use request::{
    options::{MinLifetime, SkipAuth, WaitTimeout},
    rejection, replay,
    source::RequestHead,
};
pub use service::Auth;
pub use session::{Health, RefreshLimit, Session, SessionBuilder, Status, TokenOptions, Watch};
pub use token::{access::AccessToken, builder::TokenBuilder, value::Token};

// The README's examples need these features.
#[cfg(all(
    doctest,
    feature = "file-store",
    feature = "grpc",
    feature = "https",
    feature = "json",
    feature = "oauth2",
    feature = "reqwest",
    feature = "sessions",
    feature = "test-util"
))]
#[doc = include_str!("../README.md")]
struct Readme;
