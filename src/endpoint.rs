//! Token endpoints: what the refreshers of `oauth2` and of `json` have in common. Needs one of these features.
//!
//! A refresher here sends one request, and makes of whatever comes back a token or a verdict.
//!
//! # How an answer is read
//!
//! By its text, whatever its content type says: a JSON object, also behind a byte-order mark, or a form. Numbers may be
//! texts. An error beside a token is an error, also with status 200. What is read of a refusal is its error code, and
//! nothing of the text reaches an error or a log but that code, cleaned and cut.
//!
//! # What a failure means
//!
//! The code decides, then the status:
//!
//! | what came | verdict | what follows |
//! |---|---|---|
//! | `invalid_grant`, `bad_refresh_token`, `refresh_token_reused`, `interaction_required`, `login_required`, `consent_required` | ended | the user signs in |
//! | `invalid_client`, `incorrect_client_credentials`, `unauthorized_client`, `unsupported_grant_type`, `invalid_scope`, `invalid_target`, a DPoP code; status 411, 413, 415, 422 | configuration | paced; nobody is signed out |
//! | `temporarily_unavailable`, `slow_down`; status 408, 425, 429, any with a `Retry-After`, 501 to 503 and the like | transient | later |
//! | status 499, 500, 504, 524 | unknown | repeated once at once: the request may have been carried out |
//! | any other 4xx, or another code with a success | transient | three tries at the backoff's pace, then one in ten minutes, and when the token expires |
//! | a redirect, but for a 307 or 308 within the origin | transient | the error names where to |
//! | a token of another type, a token that no header can carry, an answer over its limit | configuration | |
//! | success without a token, or what can't be read | transient | |
//! | an answer that ends in the middle; none at all though the request was sent | unknown | |
//! | the request had not been sent | transient | once more at once if a kept connection had died |
//!
//! What a provider means by its own codes and statuses can be set, and goes first. A refresh token that came beside an
//! access token that can't be used replaces the session's.
//!
//! A request that was sent and not answered within the time limit (10 s unless set) is unknown. That one was sent is known
//! for any transport, as it takes the request's body to send it: see [`RequestBody`]. One that was told as not sent never
//! is: its body can't be taken any more.
//!
//! # Transports
//!
//! Any tower service of `http` requests with a [`RequestBody`], such as a hyper-util client, with its limits, proxies,
//! TLS and tracing. A hyper-util client is one of the type `Client<_, RequestBody>`:
//!
//! ```
//! use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
//! use tower_reauth::endpoint::RequestBody;
//!
//! let transport: Client<HttpConnector, RequestBody> = Client::builder(TokioExecutor::new()).build_http();
//! # #[cfg(feature = "oauth2")]
//! let client = tower_reauth::oauth2::Client::try_with_transport("http://localhost/token", "web", transport);
//! ```
//!
//! It must not be the client that the layer is on: a refresh would need itself.
//! A layer that makes an answer of its own where none came (of 408, as tower-http's `TimeoutLayer` does) hides that it is
//! unknown: leave the limit to the client, or have it answer 504.
//! A transport that follows redirects by itself may take the refresh token elsewhere. The feature `client` brings a
//! ready one.

mod body;
mod classifier;
mod error;
mod exchange;
mod fields;
#[cfg(feature = "https-ring")]
mod https;
mod jwt;
mod lifetime;
mod response;
mod retry_after;
mod transport;
mod url;

pub use crate::refresh::error::FailureKind;
pub use body::RequestBody;
pub use classifier::ErrorClassifier;
pub use error::EndpointError;
pub use lifetime::Lifetime;
pub use url::{EndpointUrl, InvalidEndpointUrl};

pub(crate) use exchange::Exchange;
pub(crate) use response::Shape;
pub(crate) use transport::Transport;
