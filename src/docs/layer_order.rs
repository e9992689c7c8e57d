//! Where to put the layer among others.
//!
//! Written as with `ServiceBuilder`, the first being the outermost:
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, service_fn};
//! use tower_http::follow_redirect::FollowRedirectLayer;
//! use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
//!
//! # async fn send(_: http::Request<http_body_util::Full<bytes::Bytes>>) -> Result<http::Response<()>, tower::BoxError> {
//! #     Ok(http::Response::new(())) }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let client = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(30))           // the whole call, waits and second sending included
//!     // .retry(policy)                           // each try asks for the token again
//!     .layer(FollowRedirectLayer::new())
//!     .layer(AuthLayer::new(refresher).restrict_to_origin("https://api.example.com".parse()?))
//!     .concurrency_limit(64)                      // not held while a request waits for a token
//!     .service(service_fn(send));
//! # let _ = client;
//! # Ok(())
//! # }
//! ```
//!
//! | layer | where | why |
//! |---|---|---|
//! | tower `Timeout` for the whole call | outside | it bounds the wait for a token, both sendings and all |
//! | tower `Timeout` for one sending | inside | a wait for a token isn't the server's slowness |
//! | tower `Retry` | outside | each try asks for the token again. [`Error::is_retryable`](crate::Error::is_retryable) tells the policy whether to; [`AuthReport`](crate::future::AuthReport) how often a request went out already |
//! | tower `ConcurrencyLimit`, `RateLimit`, `LoadShed` | inside | a request that waits for a token gives its permit back; a second sending takes one anew |
//! | tower `Buffer` | inside | the same for its slots. It is also what makes a service clonable that isn't |
//! | tower `Balance` | inside | the second sending may go to another server |
//! | tower-http `FollowRedirect` | outside, *with* [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin) | each hop is judged by its own URI: the token stays where it belongs. Without allowed origins it would go along to wherever a server redirects |
//! | the same, or a client that follows redirects by itself | inside | the redirect layer strips the credential when a redirect leaves the origin. The layer sees only the last answer: a 401 of another host looks like one of ours, so a rule should look at where it came from |
//! | tower-http `Decompression` | either | a held 401 isn't read |
//! | tower-http `Trace` | outside for one span a call, inside for one a sending | the token is marked sensitive in both |
//! | a layer that signs requests, or makes paths | inside | a second sending must be signed anew |
//!
//! # A client that follows redirects by itself
//!
//! tower-http leaves the last hop's URI in the response's extensions. A rule that takes only the API's own refusals:
//!
//! ```
//! use tower_http::follow_redirect::RequestUri;
//! use tower_reauth::rejection::{RejectionRule, StatusUnauthorized, Verdict, rejection_fn};
//!
//! let from_our_api = rejection_fn(|head| match head.extensions().get::<RequestUri>() {
//!     Some(RequestUri(uri)) if uri.host() != Some("api.example.com") => Verdict::Accept,
//!     _ => StatusUnauthorized.judge(head),
//! });
//! # use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
//! # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let layer = AuthLayer::new(refresher).rejection_rule(from_our_api);
//! # let _ = layer;
//! ```
