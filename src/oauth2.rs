//! OAuth 2.0: refreshers for a token endpoint (RFC 6749), and revocation (RFC 7009). Requires the feature
//! `oauth2`.
//!
//! A [`Client`] is a client registration at a token endpoint. It creates refreshers for grants,
//!
//! - [`Client::refresh_token_grant`]: a user has signed in, and the session has a refresh token (RFC 6749 §6);
//! - [`Client::client_credentials_grant`]: the application acts on its own behalf (RFC 6749 §4.4);
//! - [`Client::jwt_bearer_grant`]: it has a signed assertion (RFC 7523 §2.1);
//! - [`Client::token_exchange_grant`]: it has another token (RFC 8693);
//! - [`Client::custom_grant`]: anything else;
//!
//! and a [`Revocation`](crate::endpoint::Revocation). For parsing and error classification see [`endpoint`](crate::endpoint).
//!
//! # Examples
//!
//! With feature `https` and its built-in HTTPS client:
//!
//! ```no_run
//! # #[cfg(feature = "https")]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpoint> {
//! use tower_reauth::{AuthLayer, Session, oauth2};
//!
//! let client = oauth2::Client::try_new("https://id.example.com/token", "my-client")?
//!     .client_secret_basic("my-secret");
//! let session = Session::builder(client.refresh_token_grant()).refresh_token("stored").build();
//! let layer = AuthLayer::from_session(session);
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! With a custom transport and more options:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::service_fn;
//! use tower_reauth::{
//!     RefreshContext, Refresher,
//!     endpoint::{ErrorClassifier, FailureKind, RequestBody},
//!     oauth2,
//! };
//!
//! // Any tower service, such as a hyper-util client.
//! let transport = service_fn(|request: http::Request<RequestBody>| async move {
//!     assert_eq!(request.uri(), "https://id.example.com/token");
//!     let body = r#"{"access_token":"A1","token_type":"bearer","expires_in":3600}"#;
//!     Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::from(body)))
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
//! # Ok::<(), tower_reauth::endpoint::InvalidEndpoint>(())
//! ```
//!
//! # Signing out
//!
//! [`Revocation::into_hook`](crate::endpoint::Revocation::into_hook) revokes a token that arrives after sign-out;
//! [`Session::sign_out`](crate::Session::sign_out) returns the session's own tokens for revocation.
//!
//! # Limitations
//!
//! No interactive grants (RFC 6749 §4.1). DPoP (RFC 9449) isn't supported yet.

mod claims;
mod client;
mod client_auth;
mod client_credentials;
mod custom_grant;
mod grant;
mod grant_params;
mod jwt_bearer;
mod refresh_token;
mod request;
mod revocation;
mod token_exchange;

pub use client::Client;
pub use client_credentials::ClientCredentialsGrant;
pub use custom_grant::CustomGrant;
pub use grant_params::GrantParams;
pub use jwt_bearer::JwtBearerGrant;
pub use refresh_token::RefreshTokenGrant;
pub use token_exchange::TokenExchangeGrant;
