//! What the tests need of a client: [`Client`].

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::sync::mpsc;
use tower_reauth::AuthLayer;

use crate::{session, support::BoxError};

/// An HTTP client that sends its requests through the layer.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// How many callers a test may start over HTTP/1. A client that can't bound its connections may open one for each.
    const CALLERS_OVER_HTTP_1: usize;

    fn new(layer: AuthLayer, settings: impl Into<Settings>) -> Self;

    /// Sends a request. `timeout` bounds the whole call.
    fn send_within(
        &self,
        request: Request<Body>,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Response, BoxError>> + Send;

    fn send(&self, request: Request<Body>) -> impl Future<Output = Result<Response, BoxError>> + Send {
        self.send_within(request, None)
    }

    /// Whether the client failed to connect.
    fn is_connect(error: &BoxError) -> bool;

    /// Whether the timeout of a call elapsed while it waited for a token.
    fn is_call_timeout(error: &BoxError) -> bool;

    /// Whether the timeout of an attempt elapsed.
    fn is_attempt_timeout(error: &BoxError) -> bool;

    /// For requests that are marked with `SkipAuth`: its session has no token.
    fn without_token(version: Version) -> Self {
        Self::new(session::without_token().layer(), version)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// HTTP/2 is with prior knowledge.
    pub(crate) version: Version,
    /// How many requests are sent at a time, if the client can bound it.
    pub(crate) concurrency: usize,
    /// How much of a stream is buffered for a retry.
    pub(crate) buffer_limit: usize,
    /// The timeout of each attempt.
    pub(crate) attempt_timeout: Option<Duration>,
    /// The window of an HTTP/2 connection.
    pub(crate) window: Option<u32>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Bytes(Bytes),
    Stream(Stream),
}

/// A body whose chunks the test sends.
#[derive(Debug)]
pub(crate) struct Stream {
    chunks: mpsc::UnboundedReceiver<Bytes>,
    trailers: Option<HeaderMap>,
}

pub(crate) type Response = http::Response<UnsyncBoxBody<Bytes, BoxError>>;

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Only ends a test that would hang.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn get(url: impl AsRef<str>) -> Request<Body> {
    Request::get(url.as_ref()).body(Bytes::new().into()).unwrap()
}

pub(crate) fn post(url: impl AsRef<str>, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(Method::POST).uri(url.as_ref()).body(body.into()).unwrap()
}

/// A stream that begins with `chunks`, and ends when the sender is dropped.
pub(crate) fn stream(chunks: impl IntoIterator<Item = Bytes>) -> (Stream, mpsc::UnboundedSender<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    for chunk in chunks {
        sender.send(chunk).unwrap();
    }
    (Stream { chunks: receiver, trailers: None }, sender)
}

/// An option of the layer is an extension of the request.
pub(crate) fn with_option<T: Clone + Send + Sync + 'static>(
    mut request: Request<Body>,
    option: T,
) -> Request<Body> {
    request.extensions_mut().insert(option);
    request
}

pub(crate) async fn bytes(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

// === impl Settings ===

impl From<Version> for Settings {
    fn from(version: Version) -> Self {
        Self { version, concurrency: 128, buffer_limit: 64 << 10, attempt_timeout: None, window: None }
    }
}

// === impl Body ===

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Stream> for Body {
    fn from(stream: Stream) -> Self {
        Self::Stream(stream)
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..self }
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(cx).map(|chunk| match chunk {
            Some(chunk) => Some(Ok(Frame::data(chunk))),
            None => self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }
}
