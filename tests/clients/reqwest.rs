//! The ways to use the layer with a reqwest client.

mod auth_client;
mod cookies;
mod middleware;
mod multipart;
mod redirects;
mod service;
mod token_requests;

use std::{future::Future, time::Duration};

use http::{Request, Version};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use reqwest::RequestBuilder;
use reqwest_middleware::ClientWithMiddleware;
use tower::{
    Layer, ServiceBuilder, ServiceExt,
    limit::ConcurrencyLimit,
    timeout::{Timeout, error::Elapsed},
};
use tower_reauth::{
    Auth, AuthLayer, Error,
    refresh::AnyRefresher,
    reqwest::{AuthClient, BodyReplay, ReqwestService, reqwest_service},
};

use crate::{
    client::{Body, Client, Response, Settings},
    support::{BoxError, sources},
};

type Layered = AuthLayer<AnyRefresher, BodyReplay>;

/// A reqwest client under the layer.
pub(crate) trait ReqwestClient: Clone + Send + Sync + 'static {
    const CALLERS_OVER_HTTP_1: usize;

    fn over(layer: Layered, client: &reqwest::Client, concurrency: usize) -> Self;

    /// The timeout of the request bounds the whole call.
    fn execute_request(
        &self,
        request: reqwest::Request,
    ) -> impl Future<Output = Result<reqwest::Response, BoxError>> + Send;

    /// With the settings of `client`, and the default ones of the layer.
    fn of(layer: AuthLayer, client: &reqwest::Client) -> Self {
        Self::over(layer.for_reqwest(), client, Settings::from(Version::HTTP_11).concurrency)
    }

    /// Whether the timeout of a request elapsed while its call waited for a token.
    fn is_deadline_exceeded(error: &BoxError) -> bool {
        Error::find(&**error).is_some_and(Error::is_deadline_exceeded)
    }

    fn send_builder(
        &self,
        builder: RequestBuilder,
    ) -> impl Future<Output = Result<reqwest::Response, BoxError>> + Send {
        self.execute_request(builder.build().unwrap())
    }
}

/// `reqwest_service` in a stack of tower's layers.
#[derive(Clone)]
pub(crate) struct LayeredService(Auth<ConcurrencyLimit<ReqwestService>, BodyReplay>);

/// Without the environment's proxies.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

/// With the default settings.
fn client() -> reqwest::Client {
    builder().build().unwrap()
}

fn client_for(version: Version) -> reqwest::Client {
    client_with(version.into())
}

fn client_with(settings: Settings) -> reqwest::Client {
    let mut builder = builder().http2_initial_connection_window_size(settings.window);
    if settings.version == Version::HTTP_2 {
        builder = builder.http2_prior_knowledge();
    }
    if let Some(timeout) = settings.attempt_timeout {
        builder = builder.timeout(timeout);
    }
    builder.build().unwrap()
}

/// The reqwest error in a chain of sources. reqwest-middleware's error holds it, but isn't its source.
fn reqwest_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a reqwest::Error> {
    sources(error).find_map(|error| match error.downcast_ref() {
        Some(reqwest_middleware::Error::Reqwest(error)) => Some(error),
        _ => error.downcast_ref(),
    })
}

// === impl Client ===

impl<C: ReqwestClient> Client for C {
    const CALLERS_OVER_HTTP_1: usize = C::CALLERS_OVER_HTTP_1;

    fn new(layer: AuthLayer, settings: impl Into<Settings>) -> Self {
        let settings = settings.into();
        let layer = layer.for_reqwest().with_buffer_limit(settings.buffer_limit);
        Self::over(layer, &client_with(settings), settings.concurrency)
    }

    async fn send_within(
        &self,
        request: Request<Body>,
        timeout: Option<Duration>,
    ) -> Result<Response, BoxError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = timeout;
        let response = http::Response::<reqwest::Body>::from(self.execute_request(request).await?);
        Ok(response.map(|body| UnsyncBoxBody::new(body.map_err(BoxError::from))))
    }

    fn is_connect(error: &BoxError) -> bool {
        reqwest_error(&**error).is_some_and(reqwest::Error::is_connect)
    }

    fn is_call_timeout(error: &BoxError) -> bool {
        C::is_deadline_exceeded(error)
    }

    fn is_attempt_timeout(error: &BoxError) -> bool {
        reqwest_error(&**error).is_some_and(reqwest::Error::is_timeout)
    }
}

// === impl ReqwestClient ===

impl ReqwestClient for AuthClient {
    const CALLERS_OVER_HTTP_1: usize = 100;

    fn over(layer: Layered, client: &reqwest::Client, _concurrency: usize) -> Self {
        layer.reqwest(client.clone())
    }

    async fn execute_request(&self, request: reqwest::Request) -> Result<reqwest::Response, BoxError> {
        Ok(self.send(RequestBuilder::from_parts(self.client().clone(), request)).await?)
    }
}

impl ReqwestClient for ClientWithMiddleware {
    const CALLERS_OVER_HTTP_1: usize = 100;

    fn over(layer: Layered, client: &reqwest::Client, _concurrency: usize) -> Self {
        reqwest_middleware::ClientBuilder::new(client.clone()).with(layer).build()
    }

    async fn execute_request(&self, request: reqwest::Request) -> Result<reqwest::Response, BoxError> {
        Ok(self.execute(request).await?)
    }
}

impl ReqwestClient for LayeredService {
    const CALLERS_OVER_HTTP_1: usize = 10_000;

    fn over(layer: Layered, client: &reqwest::Client, concurrency: usize) -> Self {
        let inner =
            ServiceBuilder::new().concurrency_limit(concurrency).service(reqwest_service(client.clone()));
        Self(layer.layer(inner))
    }

    /// tower's `Timeout` bounds the whole call; reqwest's own would bound each attempt.
    async fn execute_request(&self, mut request: reqwest::Request) -> Result<reqwest::Response, BoxError> {
        let timeout = request.timeout_mut().take().unwrap_or(Duration::MAX);
        let service = Timeout::new(self.0.clone(), timeout);
        Ok(service.oneshot(Request::try_from(request)?).await?.into())
    }

    fn is_deadline_exceeded(error: &BoxError) -> bool {
        error.is::<Elapsed>()
    }
}

// === impl Body ===

impl From<Body> for reqwest::Body {
    fn from(body: Body) -> Self {
        match body {
            Body::Bytes(bytes) => bytes.into(),
            Body::Stream(stream) => Self::wrap(stream),
        }
    }
}
