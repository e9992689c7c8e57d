//! JSON endpoints: a refresher for the many backends that aren't OAuth. Needs the feature `json`.
//!
//! A [`JsonEndpoint`] posts the refresh token as a member of a JSON object, and reads the new token from the members of
//! another. How answers are read and what a failure means: see [`endpoint`](crate::endpoint).
//!
//! # Examples
//!
//! Django REST framework's simplejwt, with the feature `client`:
//!
//! ```no_run
//! # #[cfg(feature = "client")]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpoint> {
//! use tower_reauth::{Session, json::JsonEndpoint};
//!
//! let endpoint = JsonEndpoint::simplejwt("https://api.example.com/auth/token/refresh/")?;
//! let session = Session::builder(endpoint).refresh_token("stored").build();
//! # let _ = session;
//! # Ok(())
//! # }
//! ```
//!
//! A backend with names of its own, over a transport of one's own:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::service_fn;
//! use tower_reauth::{
//!     RefreshContext, Refresher,
//!     endpoint::{Lifetime, RequestBody, Verdicts},
//!     json::JsonEndpoint,
//! };
//!
//! let transport = service_fn(|request: http::Request<RequestBody>| async move {
//!     assert_eq!(request.into_body().into_bytes(), r#"{"token":"R1","device":"d7"}"#);
//!     let answer = r#"{"data":{"jwt":"A2","next":"R2","ttl_ms":60000}}"#;
//!     Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::from(answer)))
//! });
//!
//! let endpoint = JsonEndpoint::try_with_transport("https://api.example.com/session", transport)?
//!     .refresh_token_as("token")
//!     .field("device", "d7")
//!     .header(http::HeaderName::from_static("x-api-key"), http::HeaderValue::from_static("k"))
//!     .access_token_from("/data/jwt")
//!     .refresh_token_from("/data/next")
//!     .lifetime(Lifetime::milliseconds("/data/ttl_ms"))
//!     .verdicts(Verdicts::new().ended("session_expired"));
//!
//! # tokio_test::block_on(async {
//! let token = endpoint.refresh(RefreshContext::default().with_refresh_token("R1")).await?;
//! assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
//! # Ok::<(), tower_reauth::RefreshError>(())
//! # }).unwrap();
//! # Ok::<(), tower_reauth::endpoint::InvalidEndpoint>(())
//! ```
//!
//! A refusal's code is looked for in `error` and in `code`, and is the first that is known; see [`JsonEndpoint::code_from`].

mod endpoint;
mod object;
mod revocation;

pub use endpoint::JsonEndpoint;
pub use revocation::Revocation;
