//! Token endpoints: what the refreshers in `oauth2` and `json` share. Requires one of these features.
//!
//! A refresher sends one request and turns any response into a token or a classified error.
//!
//! # Parsing responses
//!
//! The body is parsed as JSON (with or without a byte order mark) or as a form, whatever its content type.
//! Numbers may be strings. An `error` next to a token is an error, even with status 200; a refresh token next to
//! it is the next one, as with an unusable access token. An empty code, 0, `ok`, `success`, the response's own 2xx
//! status and a [`success_code`](ErrorClassifier::success_code) aren't errors. `null`, `undefined`, `none` and
//! `N/A` stand for no token. Scopes may be a list, or separated by commas.
//!
//! Only the error code is ever shown in an error or log, and only if it has nothing in common with a secret: see
//! [`EndpointError`]. Reading a response takes at most twice its size limit in memory. The tokens that are kept
//! are wiped when they are dropped; transient buffers are wiped on a best-effort basis.
//!
//! # Classifying failures
//!
//! First by error code, then by status:
//!
//! | response | classification | consequence |
//! |---|---|---|
//! | `invalid_grant`, `invalid_token` (Cloud Foundry UAA, SAP XSUAA), `invalid_refresh_token` (Slack, Databricks), `token_expired` and `token_revoked` (Slack), `bad_refresh_token` (GitHub), `refresh_token_reused` (OpenAI), `interaction_required`, `login_required`, `consent_required` | grant ended | user must sign in |
//! | `invalid_client`, `incorrect_client_credentials`, `unauthorized_client`, `unsupported_grant_type`, `invalid_scope`, `invalid_target`, a DPoP code; status 411, 413, 415, 422 | misconfigured | backoff; nobody is signed out |
//! | `server_error`, `temporarily_unavailable`, `slow_down`, `too_many_requests`, `AADSTS50196` (Entra's loop throttling, an `invalid_grant`); status 408, 425, 429, 501 to 503 and similar, or any with a `Retry-After` | transient | retried at once, then later |
//! | status 499, 500, 504, 524 | outcome unknown | repeated once immediately, as it may have been processed |
//! | any other 4xx, or another code with a success | unexplained | retried with a backoff that grows to ten minutes, and when the token expires |
//! | a redirect, except a 307 or 308 within the origin | unexplained | the error names the target |
//! | a token of another type, one with spaces or that isn't a valid header value, response too large | misconfigured | |
//! | success without a token, or unparsable | unexplained | |
//! | truncated response; request sent but no response | outcome unknown | |
//! | request not sent | transient | retried at once, then later |
//!
//! A code may be the first word of a message (EVE Online's `invalid_grant: Token is expired`). It is read from
//! `error`, `code` and `/errors/0/errorType` (Fitbit), whatever the status. Provider-specific codes, sub-codes and
//! statuses can be configured and take precedence, see [`ErrorClassifier`].
//!
//! # Retries
//!
//! A request that certainly wasn't sent, or got a transient response, is retried after about 0.2 and 0.6 s, within
//! the timeout, so that one 503 fails no caller. A `Retry-After` of more than a second ends these retries; then, as
//! after the last one, the session's backoff decides. A request whose outcome is unknown isn't retried here: the
//! session repeats it once. If a pooled connection was dead, another is tried at once.
//!
//! If a request was sent, but there is no response within the timeout (10 s by default), the outcome is
//! unknown. With any transport it is known whether the request was sent, because sending consumes its body,
//! see [`RequestBody`]; a request reported as unsent can no longer be sent.
//!
//! # Transports
//!
//! Any tower service that takes `http` requests with a [`RequestBody`], such as a hyper-util client with its
//! own limits, proxies, TLS and tracing:
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
//! Don't use the client that carries the layer: the refresh would wait for itself.
//!
//! A layer that synthesises a response on timeout (408, as tower-http's `TimeoutLayer` does) hides that the
//! outcome is unknown: use the refresher's own timeout instead, or let the layer return 504.
//!
//! A transport that follows redirects may send the refresh token elsewhere.
//!
//! Feature `https` provides a built-in transport, which uses the environment's proxies. Its connector is
//! public and has a connect timeout (3 s by default), see the module `https`. A request that fails because of
//! that timeout wasn't sent, so its outcome is known.

mod body;
mod classifier;
mod error;
mod error_codes;
mod exchange;
mod fields;
#[cfg(feature = "https")]
mod https;
mod jwt;
mod lifetime;
mod per_call;
mod raw_response;
mod response;
mod retry_after;
mod revoke;
mod scopes;
mod settings;
mod shown;
mod transport;
mod url;

pub use crate::refresh::error::FailureKind;
pub use body::RequestBody;
pub use classifier::ErrorClassifier;
pub use error::EndpointError;
pub use lifetime::Lifetime;
pub use revoke::{Revocation, RevokeFuture, RevokeHook};
pub use settings::Endpoint;
pub use url::{EndpointUrl, InvalidEndpoint};

pub(crate) use per_call::{HeadersPerCall, PerCall};
pub(crate) use revoke::{PreparedRevocation, TokenHint};
pub(crate) use settings::endpoint_settings;
