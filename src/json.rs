//! JSON endpoints: a refresher for JSON backends other than OAuth. Requires the feature `json`.
//!
//! A [`JsonEndpoint`] posts the refresh token in a field of a JSON object and reads the new token from the
//! response's fields. It can also send the refresh token or the access token elsewhere, see [`TokenPlace`], by
//! [`GET`](JsonEndpoint::get), and with fields and headers that are made for each call. For parsing and error
//! classification see [`endpoint`](crate::endpoint).
//!
//! # Examples
//!
//! Django REST framework's simplejwt, with feature `https`:
//!
//! ```no_run
//! # #[cfg(feature = "https")]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpoint> {
//! use tower_reauth::{Session, json::JsonEndpoint};
//!
//! let endpoint = JsonEndpoint::try_new("https://api.example.com/auth/token/refresh/")?.for_simplejwt();
//! let session = Session::builder(endpoint).refresh_token("stored").build();
//! # let _ = session;
//! # Ok(())
//! # }
//! ```
//!
//! Custom field names and transport:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::service_fn;
//! use tower_reauth::{
//!     RefreshContext, Refresher,
//!     endpoint::{ErrorClassifier, FailureKind, Lifetime, RequestBody},
//!     json::JsonEndpoint,
//! };
//!
//! let transport = service_fn(|request: http::Request<RequestBody>| async move {
//!     assert_eq!(request.into_body().into_bytes(), r#"{"token":"R1","device":"d7"}"#);
//!     let body = r#"{"data":{"jwt":"A2","next":"R2","ttl_ms":60000}}"#;
//!     Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::from(body)))
//! });
//!
//! let endpoint = JsonEndpoint::try_with_transport("https://api.example.com/session", transport)?
//!     .refresh_token_field("token")
//!     .extra_field("device", "d7")
//!     .header(http::HeaderName::from_static("x-api-key"), http::HeaderValue::from_static("k"))
//!     .access_token_path("/data/jwt")
//!     .new_refresh_token_path("/data/next")
//!     .lifetime(Lifetime::milliseconds("/data/ttl_ms"))
//!     .error_classifier(ErrorClassifier::new().code("session_expired", FailureKind::GrantEnded));
//!
//! # tokio_test::block_on(async {
//! let token = endpoint.refresh(RefreshContext::builder().refresh_token("R1").build()).await?;
//! assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
//! # Ok::<(), tower_reauth::RefreshError>(())
//! # }).unwrap();
//! # Ok::<(), tower_reauth::endpoint::InvalidEndpoint>(())
//! ```
//!
//! The error code is the first known one in `error` and `code`, see [`JsonEndpoint::error_code_path`].

mod endpoint;
mod request;
mod revocation;

pub use endpoint::JsonEndpoint;
pub use request::TokenPlace;
