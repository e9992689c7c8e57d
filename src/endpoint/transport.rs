//! Sends one token request over any tower service, and reports whether a failed request was sent.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{RequestBody, SentFlag},
    error::EndpointErrorKind,
    raw_response::{RawResponse, SizedBody},
    url::EndpointUrl,
};
use crate::error::BoxError;

/// A type-erased tower service.
#[derive(Clone)]
pub(crate) struct Transport {
    call: Arc<dyn Fn(Request<RequestBody>) -> CallFuture + Send + Sync>,
}

type CallFuture = Pin<Box<dyn Future<Output = Result<Response<SizedBody>, BoxError>> + Send>>;

/// Builds the request for each attempt, so that an assertion or a nonce is never used twice.
pub(crate) type MakeRequest<'a> = dyn Fn(&EndpointUrl) -> Result<Request<Bytes>, BoxError> + Send + Sync + 'a;

// === impl Transport ===

impl Transport {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // The service may not be `Sync`. The lock is held only while it is cloned.
        let service = Mutex::new(service);
        let call = move |request| {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let call = async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(SizedBody::new))
            };
            Box::pin(call) as CallFuture
        };
        Self { call: Arc::new(call) }
    }

    /// Sends a request and reads the response. Follows redirects within the origin (RFC 9110 §15.4.8,
    /// §15.4.9).
    ///
    /// `sent` reports whether the request may have been sent, even if this future is dropped.
    pub(super) async fn send(
        &self,
        url: &EndpointUrl,
        make: &MakeRequest<'_>,
        max_response_size: usize,
        sent: &SentFlag,
    ) -> Result<RawResponse, EndpointErrorKind> {
        let mut url = url.clone();
        let mut redirects = 0;
        let mut is_retry = false;
        loop {
            let (head, bytes) =
                make(&url).map_err(|error| EndpointErrorKind::BuildRequest(error.into()))?.into_parts();
            let (body, handle) = RequestBody::new(bytes);
            sent.follow(handle);
            let response = match (self.call)(Request::from_parts(head, body)).await {
                Ok(response) => response,
                Err(error) if sent.cancel() => return Err(EndpointErrorKind::NoResponse(error.into())),
                // RFC 9110 §9.2.2: nothing was sent, so a retry is safe.
                Err(error) if !is_retry && is_dead_connection(&*error) => {
                    is_retry = true;
                    continue;
                }
                Err(error) => return Err(EndpointErrorKind::NotSent(error.into())),
            };
            let status = response.status();
            if !status.is_redirection() {
                return Ok(RawResponse::read(response, max_response_size).await);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let target = location.map_or(Err(None), |location| url.same_origin(location));
            // The other redirects turn a POST into a GET.
            let is_resent = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            url = match target {
                Ok(target) if is_resent && redirects < MAX_REDIRECTS => target,
                Ok(target) => return Err(EndpointErrorKind::Redirected { status, target: target.origin() }),
                Err(target) => return Err(EndpointErrorKind::Redirected { status, target }),
            };
            redirects += 1;
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Whether a pooled connection turned out to be closed, so that a new one may work.
fn is_dead_connection(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_canceled() || error.is_closed())
        {
            return true;
        }
        let io = error.downcast_ref::<io::Error>();
        let kind = io.map(io::Error::kind);
        if let Some(BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof) = kind {
            return true;
        }
        next = match io {
            // `source` of an `io::Error` skips the error that it wraps.
            Some(io) => io.get_ref().map(|wrapped| wrapped as _),
            None => error.source(),
        };
    }
    false
}

const MAX_REDIRECTS: usize = 3;
