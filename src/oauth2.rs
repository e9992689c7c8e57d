//! OAuth 2.0: refreshers for a token endpoint (RFC 6749), and revocation (RFC 7009). Needs the feature `oauth2`.
//!
//! A [`Client`] says who asks, where, and for what. It makes a refresher of a grant:
//!
//! - [`Client::refresh_token_grant`]: the user has signed in, the session has a refresh token (RFC 6749 §6);
//! - [`Client::client_credentials_grant`]: the program acts for itself (RFC 6749 §4.4);
//!
//! and a [`Revocation`], which takes tokens back. How answers are read and what a failure means: see
//! [`endpoint`](crate::endpoint).
//!
//! # Examples
//!
//! With the feature `client`, whose HTTPS client is used then:
//!
//! ```no_run
//! # #[cfg(feature = "https-ring")]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpointUrl> {
//! use tower_reauth::{AuthLayer, Session, oauth2};
//!
//! let client = oauth2::Client::try_new("https://id.example.com/token", "my-client")?.client_secret_basic("my-secret");
//! let session = Session::builder(client.refresh_token_grant()).refresh_token("stored").build();
//! let layer = AuthLayer::from_session(session);
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! Over a transport of one's own, with all that a provider may want:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::service_fn;
//! use tower_reauth::{RefreshContext, Refresher, RefresherExt, endpoint::{RequestBody, ErrorClassifier, FailureKind}, oauth2};
//!
//! // Any tower service, such as a hyper-util client.
//! let transport = service_fn(|request: http::Request<RequestBody>| async move {
//!     assert_eq!(request.uri(), "https://id.example.com/token");
//!     let answer = r#"{"access_token":"A1","token_type":"bearer","expires_in":3600}"#;
//!     Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::from(answer)))
//! });
//!
//! let client = oauth2::Client::try_with_transport("https://id.example.com/token", "service", transport)?
//!     .client_secret_post("my-secret")
//!     .scopes(["orders.read", "orders.write"])
//!     .resource("https://orders.example.com")
//!     .error_classifier(ErrorClassifier::new().code("client_disabled", FailureKind::Misconfigured))
//!     .timeout(Duration::from_secs(5));
//! let refresher = client.client_credentials_grant();
//!
//! # tokio_test::block_on(async {
//! let token = refresher.refresh(RefreshContext::default()).await?;
//! assert_eq!(token.access_token(), "A1");
//! # Ok::<(), tower_reauth::RefreshError>(())
//! # }).unwrap();
//! # Ok::<(), tower_reauth::endpoint::InvalidEndpointUrl>(())
//! ```
//!
//! # Signing out
//!
//! [`Revocation::into_hook`] revokes what a refresh brings after the user signed out; what the session held,
//! [`Session::sign_out`](crate::Session::sign_out) gives back to be revoked.
//!
//! # Limits
//!
//! No grant that needs a browser (RFC 6749 §4.1), no DPoP (RFC 9449), no assertion grants (RFC 7523, RFC 8693) yet.

mod claims;
mod client;
mod client_auth;
mod client_credentials;
mod form;
mod refresh_token;
mod revocation;

pub use client::Client;
pub use client_credentials::ClientCredentialsGrant;
pub use refresh_token::RefreshTokenGrant;
pub use revocation::Revocation;
