//! A [tower] layer that keeps an expiring token valid: **one refresh for any number of callers, nobody fails, nobody
//! is signed out.**
//!
//! A token expires, three calls notice at once, each refreshes. The server rotates its refresh token on the first
//! and refuses the other two; a strict one takes that for theft and revokes what the first one got (RFC 9700
//! §4.14.2). The user is signed out. [`AuthLayer`] makes the three wait for one refresh, and then go on.
//!
//! # A first look
//!
//! A [`Refresher`] says how a new token is got; the layer does the rest:
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_reauth::{AuthLayer, RefreshContext, RefreshError, Refresher, Session, Token};
//!
//! struct MyEndpoint;
//!
//! impl Refresher for MyEndpoint {
//!     async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
//!         // Present cx.refresh_token() to your token endpoint; its answer:
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
//! // Signed in earlier: an access token that has expired, and the refresh token.
//! let stored = Token::builder("A1").refresh_token("R1").expires_in(Duration::ZERO).build()?;
//! let session = Session::builder(MyEndpoint).token(stored).build();
//! let layer = AuthLayer::from_session(session.clone()).restrict_to_origin("https://api.example.com".parse()?);
//! let mut client = ServiceBuilder::new().layer(layer).service(http_client);
//!
//! let request = http::Request::get("https://api.example.com/items").body(String::new())?;
//! let response = client.ready().await?.call(request).await?;
//! # assert_eq!(response.into_body(), "Bearer A2");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! # }).unwrap();
//! ```
//!
//! `http_client` is any clonable `tower::Service<http::Request<B>>`: a hyper-util client, a stack of other layers. A
//! service that can't be cloned goes behind a `tower::buffer::Buffer`.
//!
//! # Where tokens come from
//!
//! | source | with |
//! |---|---|
//! | an OAuth 2.0 provider, for a user or for the program itself | the module `oauth2` (feature `oauth2`) |
//! | a backend that takes and gives JSON, such as simplejwt | the module `json` (feature `json`) |
//! | anything else | a [`Refresher`] of your own, or a closure: [`refresh_fn`] |
//!
//! With an ordinary provider that is one line (features `oauth2` and `client`):
//!
//! ```
//! # #[cfg(all(feature = "oauth2", feature = "https-ring"))]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpointUrl> {
//! # use tower_reauth::oauth2;
//! let refresher = oauth2::Client::try_new("https://id.example.com/token", "my-client")?.refresh_token_grant();
//! # let _ = tower_reauth::AuthLayer::new(refresher);
//! # Ok(())
//! # }
//! ```
//!
//! [`RefresherExt`] has what can be put around any of them: a time limit, another meaning of an error.
//!
//! # When a server refuses a token
//!
//! An expiry is only a hint. A 401 to a request that carried the token makes the layer refresh, once for all who were
//! refused, and send each request again, once. Another [`RejectionRule`](rejection::RejectionRule) can be set, and how a body is had a second
//! time: see [`Replay`](replay::Replay). Where no newer token can be had, the caller gets the server's own answer, whole, with the
//! reason in its extensions: [`AuthReport`](future::AuthReport).
//!
//! # Words
//!
//! - A **session** is the shared state of one credential. All its clones are one, as are all clients whose layers
//!   share it. See [`Session`].
//! - Its token is **fresh** (used), **stale** (used, and refreshed in the background), **expired** (callers wait for a
//!   refresh), or **refused** by a server.
//! - A **flight** is one refresh that runs. A session has at most one. Who needs its outcome **waits**, for as long as
//!   its **patience**.
//! - A **generation** is a number that goes up with each new token.
//!
//! # What it promises
//!
//! - **One flight.** However many tasks, threads, clones and clients need a token at once, the refresher is called
//!   once, and all get what it brought.
//! - **A refresh token is presented once at a time, and never again once its successor arrived.** An answer without
//!   one keeps the old one.
//! - **Late rejections are harmless.** A 401 for an older token starts no refresh; the request is sent again, once, with
//!   the current token.
//! - **No loops, no storms.** Refreshes that bring nothing usable are paced by a growing delay, successes included.
//! - **Dropping callers cancels no refresh.** It runs in a task of its own to its end, and its token is kept and saved.
//! - **A stale token makes nobody wait**, and a failed early refresh takes nothing away.
//! - **A failed refresh is shared**: its waiters don't try one after another. Until a growing delay is over, callers
//!   without a usable token fail at once. An idle session never refreshes.
//! - **A grant that has ended ends the session once**: what token is left is used until it expires, then callers get
//!   a typed error; the endpoint is asked no more. A wrong configuration signs nobody out.
//! - **A lost answer is neither failure nor success**: the refresher is called once more, at once, as servers that
//!   rotate tolerate that for seconds.
//! - **Signing in or out wins over a refresh that runs.**
//! - **No readiness is held while waiting**, so a refresher may use the same limited client, if its requests are
//!   marked with [`SkipAuth`]. One that asks its own session for a token gets an error, not a hang.
//! - **A machine that slept knows that its token has expired.**
//! - **A token goes only where it belongs**: to `https` or this machine, and to the origins that you allow.
//! - **Secrets stay secret**: no `Debug`, error or log line shows one; memory that held one is wiped.
//!
//! While a token is fresh the layer waits for no other thread and allocates nothing; a request that can be sent again
//! costs the copy of its head besides. The README has figures.
//!
//! # How it fails
//!
//! A request that can't be given a token fails with an [`Error`], inside tower's `BoxError`; [`Error::find`] digs it
//! out. It says whether trying again helps, and when.
//!
//! | question | what to do |
//! |---|---|
//! | [`is_grant_ended`](Error::is_grant_ended), [`is_signed_out`](Error::is_signed_out) | the user signs in: [`Session::sign_in`] |
//! | [`is_retryable`](Error::is_retryable) | try again, not before [`retry_at`](Error::retry_at) |
//! | [`is_misconfigured`](Error::is_misconfigured) | mend the client's set-up; [`Session::reset_backoff`] when it is done |
//! | [`is_cleartext`](Error::is_cleartext), [`is_missing_host`](Error::is_missing_host) | mend the request's URI, or the layer's settings |
//! | [`is_reentrant`](Error::is_reentrant) | mark the refresher's own requests with [`SkipAuth`] |
//!
//! # More uses
//!
//! - Another HTTP library, a websocket: [`Session::token`], and [`Session::token_after_rejection`] on a 401.
//! - Store each rotated token: [`SessionBuilder::save_with`].
//! - Tell the user that they must sign in: [`Session::watch`].
//! - A program that ends soon: [`SessionBuilder::refresh_early`] off, or [`Session::shutdown`] at its end.
//! - A public resource through the same client: [`SkipAuth`].
//! - What ends when something is dropped, where to put the layer among others, what is protected from whom: [`docs`].
//!
//! # Features
//!
//! None is on by default.
//!
//! - `oauth2`: refreshers for OAuth 2.0 token endpoints, and revocation, see the module `oauth2`.
//! - `json`: a refresher for endpoints that take and give JSON, see the module `json`.
//! - `client`: a ready HTTPS client for these two (hyper, rustls, the platform's root certificates), so that their
//!   constructors need nothing but a URL. Without it they go over any tower service of yours.
//! - `grpc`: [tonic](https://docs.rs/tonic) channels and generated clients, see the module `grpc`.
//! - `tracing`: what happens to a session, as events of the [`tracing`](https://docs.rs/tracing) crate with the target
//!   `tower_reauth`.
//! - `test-util`: `TestClock`, for tests with tokio's paused time.
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
mod grpc_timeout;
#[cfg(feature = "json")]
pub mod json;
mod layer;
#[cfg(feature = "oauth2")]
pub mod oauth2;
pub mod origin;
pub mod refresh;
mod request;
pub mod rt;
mod service;
mod session;
mod shard;
mod sync;
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
    config::{SkipAuth, WaitTimeout},
    rejection, replay,
};
pub use service::Auth;
pub use session::{Session, SessionBuilder, Status, Watch};
pub use token::{access::AccessToken, builder::TokenBuilder, value::Token};

// Its parts need these features.
#[cfg(all(doctest, feature = "https-ring", feature = "grpc", feature = "json", feature = "oauth2"))]
#[doc = include_str!("../README.md")]
struct Readme;
