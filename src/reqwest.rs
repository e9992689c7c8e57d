//! reqwest clients. Needs the feature `reqwest`, for reqwest 0.13.
//!
//! [`AuthLayer::reqwest`] creates an [`AuthClient`], which sends the requests of a reqwest client with a valid
//! token. With tower's layers, [`reqwest_service`] is the innermost service. With the crate reqwest-middleware
//! (feature `reqwest-middleware`), the layer is a middleware.
//!
//! This feature enables none of reqwest's own features. Your own dependency on reqwest does: with its default features TLS is
//! on, and `json` isn't.
//!
//! # Examples
//!
//! ```no_run
//! # use tower_reauth::Session;
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! use tower_reauth::reqwest::redirect_policy;
//!
//! let client = reqwest::Client::builder().redirect(redirect_policy()).build()?;
//! let auth = session.layer().restrict_to_origin("https://api.example.com".parse()?).reqwest(client.clone());
//!
//! let request = client.post("https://api.example.com/items").json(&["a", "b"]);
//! let response = auth.send(request).await?.error_for_status()?;
//! println!("{}", response.text().await?);
//! # Ok(())
//! # }
//! ```
//!
//! In a stack of tower's layers:
//!
//! ```no_run
//! # use tower_reauth::Session;
//! # async fn example(session: Session, client: reqwest::Client) -> Result<(), tower::BoxError> {
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::reqwest::reqwest_service;
//!
//! let service = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(30))
//!     .layer(session.layer().for_reqwest())
//!     .service(reqwest_service(client.clone()));
//!
//! let request = client.get("https://api.example.com/items").build()?;
//! let response = service.oneshot(http::Request::try_from(request)?).await?;
//! let response = reqwest::Response::from(response);
//! println!("{}: {}", response.url(), response.status());
//! # Ok(())
//! # }
//! ```
//!
//! # Bodies
//!
//! A body of bytes, such as JSON or a form, is replayed whatever its size. A stream is buffered while it is sent,
//! up to [64 KiB](AuthLayer::with_buffer_limit); so is a multipart form, as reqwest makes a stream of it. A larger
//! one isn't retried: the caller gets the 401, with the reason in its
//! [`AuthReport`](crate::future::AuthReport::not_replayed).
//!
//! # Timeouts
//!
//! The timeout of a request (`RequestBuilder::timeout`) bounds the whole call of an [`AuthClient`] or a middleware:
//! the waits for a token, and both attempts with their responses. If it elapses during a wait, the error is
//! [`is_deadline_exceeded`](crate::Error::is_deadline_exceeded). With tower's layers it bounds each attempt, as the
//! client's timeouts do everywhere: put tower's `Timeout` outside for the whole call.
//!
//! # Redirects
//!
//! reqwest follows redirects inside the layer. A 401 of another origin isn't a rejection, and causes no refresh.
//! [`FinalUrl`] is in the extensions of a response after redirects, for a
//! [`RejectionRule`](crate::rejection::RejectionRule) that recognises a redirect to a login page.
//!
//! reqwest strips the token on the first redirect to another origin, but attaches it again if that origin redirects to
//! one of its own URLs. **Set [`redirect_policy`]**, or a policy that stays within the origin.
//!
//! # Options
//!
//! [`SkipAuth`](crate::SkipAuth), [`MinLifetime`](crate::MinLifetime) and [`WaitTimeout`](crate::WaitTimeout) are
//! extensions, which reqwest's requests don't expose. Build such a request with the http crate, and convert it:
//!
//! ```
//! # fn example() -> Result<reqwest::Request, Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tower_reauth::MinLifetime;
//!
//! let request = http::Request::put("https://api.example.com/items")
//!     .extension(MinLifetime::new(Duration::from_secs(20 * 60)))
//!     .body("a long upload")?;
//! let request = reqwest::Request::try_from(request)?;
//! # Ok(request)
//! # }
//! # example().unwrap();
//! ```
//!
//! # reqwest-middleware
//!
//! The layer is a middleware of the crate reqwest-middleware 0.5. [`Error::find`](crate::Error::find) finds our
//! error in reqwest-middleware's. Options are extensions of its requests: `with_extension(SkipAuth)`. A middleware
//! that is added before the layer sees each call once; one that is added after it sees each attempt.
//!
//! reqwest-retry treats a middleware's error as fatal, unless a strategy says otherwise:
//!
//! ```
//! # #[cfg(feature = "reqwest-middleware")]
//! # mod example {
//! use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
//! use reqwest_retry::{
//!     DefaultRetryableStrategy, RetryTransientMiddleware, Retryable, RetryableStrategy, policies::ExponentialBackoff,
//! };
//! use tower_reauth::{Error, Session};
//!
//! struct Strategy;
//!
//! impl RetryableStrategy for Strategy {
//!     fn handle(&self, result: &reqwest_middleware::Result<reqwest::Response>) -> Option<Retryable> {
//!         match result.as_ref().err().and_then(|error| Error::find(error)) {
//!             Some(error) if error.is_retryable() => Some(Retryable::Transient),
//!             Some(_) => Some(Retryable::Fatal),
//!             None => DefaultRetryableStrategy.handle(result),
//!         }
//!     }
//! }
//!
//! fn client(session: &Session, client: reqwest::Client) -> ClientWithMiddleware {
//!     let policy = ExponentialBackoff::builder().build_with_max_retries(3);
//!     ClientBuilder::new(client)
//!         .with(RetryTransientMiddleware::new_with_policy_and_strategy(policy, Strategy))
//!         .with(session.layer().for_reqwest())
//!         .build()
//! }
//! # }
//! ```
//!
//! # Token requests
//!
//! `token_transport` creates a client for the token requests of `oauth2` and `json`, so that they need neither the
//! feature `https` nor its TLS.

mod body;
mod client;
mod convert;
mod error;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod redirects;
mod service;
mod timeout;
#[cfg(feature = "__endpoint")]
mod transport;

use std::sync::Arc;

use reqwest::Client;

use crate::layer::AuthLayer;

pub use body::{BodyReplay, RetainedBody};
pub use client::AuthClient;
pub use convert::FinalUrl;
pub use error::SendError;
pub use redirects::redirect_policy;
pub use service::{ReqwestFuture, ReqwestService, reqwest_service};
#[cfg(feature = "__endpoint")]
pub use transport::{TokenTransport, token_transport};

// === impl AuthLayer ===

impl<R> AuthLayer<R> {
    /// Creates a client that sends reqwest's requests with a valid token: [`for_reqwest`](Self::for_reqwest), for
    /// those who don't use tower.
    ///
    /// A layer made by [`per_request`](AuthLayer::per_request) can't be used here, as reqwest doesn't expose a request's
    /// extensions: requests fail with [`is_missing_session`](crate::Error::is_missing_session). Use reqwest-middleware,
    /// or make a client for the user: `session.layer().reqwest(client.clone())`. With `keyed`, the key can come from the
    /// URL, or from a header that your own code set.
    ///
    /// See the [module docs](crate::reqwest) for an example.
    pub fn reqwest(self, client: Client) -> AuthClient {
        self.for_reqwest().reqwest(client)
    }
}

impl<R, P> AuthLayer<R, P> {
    /// Configures the layer for [`reqwest_service`]: replay, and the timeouts of requests.
    ///
    /// Up to 64 KiB of a streamed body are buffered; see [`with_buffer_limit`](AuthLayer::with_buffer_limit).
    pub fn for_reqwest(self) -> AuthLayer<R, BodyReplay> {
        self.configure(|config| config.protocol = Some(Arc::new(timeout::RequestTimeout)))
            .with_replay(BodyReplay::default())
    }
}

impl<R> AuthLayer<R, BodyReplay> {
    /// Creates a client, like [`AuthLayer::reqwest`], from a layer with settings for reqwest.
    pub fn reqwest(self, client: Client) -> AuthClient {
        AuthClient::new(&self, client)
    }

    /// Sets how many bytes of a streamed body are buffered for a retry, as in
    /// [`Buffered`](crate::replay::Buffered). Default: 64 KiB.
    pub fn with_buffer_limit(self, bytes: usize) -> Self {
        self.with_replay(BodyReplay::new(bytes))
    }
}
