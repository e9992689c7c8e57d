//! hyper-util's client under the layer, with tower's limits.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http::{Request, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    timeout::{Timeout, TimeoutLayer, error::Elapsed},
    util::BoxCloneSyncService,
};
use tower_reauth::{AuthLayer, replay::Buffered};

use crate::{
    client::{self, Client, Response, Settings, Stream},
    support::BoxError,
};

#[derive(Clone)]
pub(crate) struct HyperClient {
    bytes: Layered<Full<Bytes>>,
    streams: Layered<Stream>,
}

pub(crate) type Http = legacy::Client<HttpConnector, Sent>;
pub(crate) type Sent = UnsyncBoxBody<Bytes, BoxError>;
type Layered<B> = BoxCloneSyncService<Request<B>, Response, BoxError>;

pub(crate) fn http(settings: Settings) -> Http {
    legacy::Client::builder(TokioExecutor::new())
        .http2_only(settings.version == Version::HTTP_2)
        .http2_initial_connection_window_size(settings.window)
        .build_http()
}

/// Not a part of `send_within`, where the compiler couldn't tell that the future is `Send`.
fn call<B: Send + 'static>(
    service: &Layered<B>,
    request: Request<B>,
    timeout: Option<Duration>,
) -> BoxFuture<'static, Result<Response, BoxError>> {
    Timeout::new(service.clone(), timeout.unwrap_or(Duration::MAX)).oneshot(request).boxed()
}

// === impl HyperClient ===

impl HyperClient {
    /// With `http` as the innermost service.
    pub(crate) fn over<S, B>(layer: AuthLayer, settings: Settings, http: S) -> Self
    where
        S: Service<Request<Sent>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let http = ServiceBuilder::new()
            .concurrency_limit(settings.concurrency)
            .option_layer(settings.attempt_timeout.map(TimeoutLayer::new))
            .map_response(|response: http::Response<B>| {
                response.map(|body| UnsyncBoxBody::new(body.map_err(Into::into)))
            })
            .map_err(Into::into)
            .service(http);
        let cloned = http.clone().map_request(|request: Request<Full<Bytes>>| {
            request.map(|body| Sent::new(body.map_err(|never| match never {})))
        });
        let buffered = Buffered::new(settings.buffer_limit).map_body::<Stream, _>(Sent::new);
        Self {
            bytes: BoxCloneSyncService::new(layer.clone().layer(cloned)),
            streams: BoxCloneSyncService::new(layer.with_replay(buffered).layer(http)),
        }
    }
}

impl Client for HyperClient {
    const CALLERS_OVER_HTTP_1: usize = 10_000;

    fn new(layer: AuthLayer, settings: impl Into<Settings>) -> Self {
        let settings = settings.into();
        Self::over(layer, settings, http(settings))
    }

    async fn send_within(
        &self,
        request: Request<client::Body>,
        timeout: Option<Duration>,
    ) -> Result<Response, BoxError> {
        let (head, body) = request.into_parts();
        match body {
            client::Body::Bytes(bytes) => {
                call(&self.bytes, Request::from_parts(head, Full::new(bytes)), timeout).await
            }
            client::Body::Stream(stream) => {
                call(&self.streams, Request::from_parts(head, stream), timeout).await
            }
        }
    }

    fn is_connect(error: &BoxError) -> bool {
        error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
    }

    fn is_call_timeout(error: &BoxError) -> bool {
        error.is::<Elapsed>()
    }

    fn is_attempt_timeout(error: &BoxError) -> bool {
        error.is::<Elapsed>()
    }
}
