//! Layer order.
//!
//! In the order of a `ServiceBuilder`, outermost first:
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
//!     .timeout(Duration::from_secs(30))   // the whole call, including waits and the retry
//!     .load_shed()                        // inside, it would shed requests after their wait
//!     // .retry(policy)                   // each try asks for the token again
//!     .layer(AuthLayer::new(refresher).restrict_to_origin("https://api.example.com".parse()?))
//!     .timeout(Duration::from_secs(10))   // one attempt
//!     .concurrency_limit(64)              // released while waiting for a token
//!     .layer(FollowRedirectLayer::new())  // strips the token from a redirect to another origin
//!     // a layer that signs requests      // a retry is signed again
//!     .service(service_fn(send));
//! # let _ = client;
//! # Ok(())
//! # }
//! ```
//!
//! | layer | place | reason |
//! |---|---|---|
//! | tower `Timeout` of the whole call | outside | it bounds everything: wait, request and retry |
//! | tower `LoadShed` | outside | inside, it sheds requests that have waited for a token, as all of them are sent at once. [`max_waiters`](crate::SessionBuilder::max_waiters) bounds how many wait |
//! | tower `Retry` | outside | each try asks for the token again. [`Error::is_retryable`](crate::Error::is_retryable) is for its policy, [`AuthReport`](crate::future::AuthReport) has the number of attempts |
//! | tower `Timeout` of one attempt | inside | waiting for a token isn't a slow server |
//! | tower `ConcurrencyLimit`, `RateLimit` | inside | a request that waits for a token releases its permit; a retry acquires one again |
//! | tower `Buffer` | inside | a request that waits releases its slot. `Buffer` also makes a service `Clone` |
//! | tower `Balance` | inside | the retry may go to another server |
//! | tower-http `FollowRedirect` | inside | it strips the token when a redirect leaves the origin; see [below](#redirects) |
//! | tower-http `Decompression` | either | a 401 being held isn't read |
//! | tower-http `Trace` | outside for one span per call, inside for one per attempt | the token is marked sensitive in both |
//! | a layer that signs requests or rewrites URIs | inside | a retry must be signed again |
//!
//! tonic's `Endpoint::timeout` is inside the channel: it bounds each attempt, but not the wait for a token. A
//! deadline on the request (`Request::set_timeout`) bounds both, and
//! [`wait_timeout`](crate::AuthLayer::wait_timeout) bounds the wait alone.
//!
//! # Redirects
//!
//! Place a layer that follows redirects inside, like a client that follows them by itself. It strips
//! `Authorization`, `Cookie` and `Proxy-Authorization` when a redirect leaves the origin. Use tower-http 0.7 or later:
//! version 0.6 sends them again if the other origin redirects to another of its own URLs. The auth layer then
//! sees only the last response, and can't distinguish another host's 401 from the API's. tower-http leaves
//! the URI of the last hop in the response's extensions, so a rule can accept only the API's own rejections:
//!
//! ```
//! use tower_http::follow_redirect::RequestUri;
//! use tower_reauth::rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict, rejection_fn};
//!
//! fn only_from_api(head: &ResponseHead<'_>) -> Verdict {
//!     match head.extensions().get::<RequestUri>() {
//!         Some(RequestUri(uri)) if uri.host() != Some("api.example.com") => Verdict::Accept,
//!         _ => StatusUnauthorized.judge(head),
//!     }
//! }
//! # use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
//! # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let layer = AuthLayer::new(refresher).rejection_rule(rejection_fn(only_from_api));
//! # let _ = layer;
//! ```
//!
//! Outside, each hop is checked by its own URI. Without restricted origins the token follows every redirect,
//! so this order needs [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin). Use it if the token is
//! in another header ([`header`](crate::SessionBuilder::header)), which `FollowRedirect` doesn't strip.
//! Then:
//!
//! - A foreign server can redirect a request to the API, and the layer adds the token. Use another client for
//!   foreign servers.
//! - [`SkipAuth`](crate::SkipAuth) is lost when a redirect leaves the origin, as all extensions are, unless
//!   the redirect policy keeps it:
//!
//! ```
//! use tower_http::follow_redirect::{FollowRedirectLayer, policy::{FilterCredentials, Limited, PolicyExt}};
//! use tower_reauth::SkipAuth;
//!
//! let keep_skip_auth = FilterCredentials::new().allow_extension::<SkipAuth>();
//! let policy = Limited::default().and::<_, (), ()>(keep_skip_auth);
//! let redirects = FollowRedirectLayer::with_policy(policy);
//! # let _ = redirects;
//! ```
