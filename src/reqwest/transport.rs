//! [`TokenTransport`].

use std::task::{Context, Poll};

use reqwest::{Body, ClientBuilder, redirect::Policy};
use tower_service::Service;

use crate::endpoint::RequestBody;

use super::service::{ReqwestFuture, ReqwestService, reqwest_service};

/// Sends the token requests of `oauth2` and `json` through a reqwest client. Created by [`token_transport`].
#[derive(Clone, Debug)]
pub struct TokenTransport {
    inner: ReqwestService,
}

/// Builds a client for token requests, to be passed to `try_with_transport`.
///
/// It follows no redirects: the endpoint follows those within its origin.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "oauth2")]
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_reauth::{oauth2, reqwest::token_transport};
///
/// let transport = token_transport(reqwest::Client::builder())?;
/// let client = oauth2::Client::try_with_transport("https://id.example.com/token", "my-client", transport)?;
/// # let _ = client;
/// # Ok(())
/// # }
/// # #[cfg(feature = "oauth2")]
/// # example().unwrap();
/// ```
///
/// # Errors
///
/// The builder's.
pub fn token_transport(builder: ClientBuilder) -> Result<TokenTransport, reqwest::Error> {
    let client = builder.redirect(Policy::none()).build()?;
    Ok(TokenTransport { inner: reqwest_service(client) })
}

// === impl TokenTransport ===

impl Service<http::Request<RequestBody>> for TokenTransport {
    type Response = http::Response<Body>;
    type Error = reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> ReqwestFuture {
        // As a stream, so that the request counts as sent when reqwest reads it.
        self.inner.call(request.map(Body::wrap))
    }
}
