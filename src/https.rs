//! The built-in HTTPS client: hyper and rustls, with the platform's root certificates and the environment's
//! proxies. Requires feature `https`.
//!
//! The `try_new` functions of the modules `oauth2` and `json` send token requests with it. [`HttpsConnector`]
//! is public, as your API client needs TLS, too.
//!
//! # Examples
//!
//! ```
//! # #[cfg(feature = "https-ring")]
//! # fn example(session: tower_reauth::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::ServiceBuilder;
//! use tower_reauth::https::HttpsConnector;
//!
//! let client = ServiceBuilder::new()
//!     .layer(session.layer().restrict_to_origin("https://api.example.com".parse()?))
//!     .service(HttpsConnector::try_new()?.into_client::<Full<Bytes>>());
//! # let _ = client;
//! # Ok(())
//! # }
//! ```
//!
//! With settings of its own, for token requests:
//!
//! ```
//! # #[cfg(all(feature = "https-ring", feature = "oauth2"))]
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tower_reauth::{https::HttpsConnector, oauth2};
//!
//! let connector =
//!     HttpsConnector::try_new()?.proxy_from_env(false).connect_timeout(Duration::from_secs(2));
//! let client = oauth2::Client::try_with_transport(
//!     "https://id.example.com/token",
//!     "my-client",
//!     connector.into_client(),
//! )?;
//! # let _ = client;
//! # Ok(())
//! # }
//! ```
//!
//! # Crypto providers
//!
//! rustls takes its cryptography from a provider. If a program has two, and has installed neither as the
//! default, everything in it that lets rustls choose panics, such as `rustls::ClientConfig::builder()`.
//! So feature `https` includes no provider and uses the one that the program installed:
//!
//! ```
//! # #[cfg(feature = "https-ring")] {
//! use rustls::crypto::{CryptoProvider, ring};
//!
//! // At the beginning of `main`; it fails if another one is installed.
//! ring::default_provider().install_default().expect("no other provider");
//! assert!(CryptoProvider::get_default().is_some());
//! # }
//! ```
//!
//! Feature `https-ring` includes ring, and `https-aws-lc` includes AWS-LC. An installed provider takes
//! precedence over both, and ring over AWS-LC. The client itself never installs one.
//!
//! A library should enable `https` alone, so that its users choose the provider.
//!
//! # Proxies
//!
//! Requests to `https` URLs go through the HTTP proxy named by `HTTPS_PROXY` or `ALL_PROXY`, in upper or
//! lower case, unless `NO_PROXY` lists the host. The proxy gets a `CONNECT` request, with its own credentials
//! if its URL has some. It learns the host and port, but can't read the requests. SOCKS proxies aren't
//! supported: connecting fails.
//!
//! Requests to `http` URLs never go through a proxy, because it would see their tokens.

mod connector;
mod error;
mod stream;
mod tls;

pub use connector::{Connecting, HttpsConnector};
pub use error::{ConnectError, TlsError};
pub use stream::HttpsStream;
