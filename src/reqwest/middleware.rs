//! The layer as a middleware of reqwest-middleware.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};
use tokio::sync::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::BoxError,
    layer::AuthLayer,
    request::options::{MinLifetime, SkipAuth, WaitTimeout},
};

use super::{
    BodyReplay, SendError,
    body::OutgoingReplay,
    convert::{Outgoing, detach_head, reattach_head},
};

/// The rest of a chain as a service, for one call.
#[derive(Clone)]
struct Rest<'a> {
    next: Next<'a>,
    /// Locked for each attempt; there is one at a time.
    extensions: Arc<Mutex<&'a mut Extensions>>,
}

// === impl AuthLayer ===

/// Needs the feature `reqwest-middleware`.
#[async_trait::async_trait]
impl<R: 'static> Middleware for AuthLayer<R, BodyReplay> {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let mut request = Outgoing::request((), request)?;
        // A user of the middleware can't reach the request's own extensions.
        match self.session() {
            Some(_) => {
                copy::<SkipAuth>(extensions, request.extensions_mut());
                copy::<MinLifetime>(extensions, request.extensions_mut());
                copy::<WaitTimeout>(extensions, request.extensions_mut());
            }
            // The session is among them, or what its key is made from.
            None => request.extensions_mut().extend(extensions.clone()),
        }
        let rest = Rest { next, extensions: Arc::new(Mutex::new(extensions)) };
        // A reqwest client is always ready.
        let mut service = self.map_replay(OutgoingReplay).layer(rest);
        let response = service.call(request).await.map_err(into_middleware_error)?;
        Ok(reattach_head(response))
    }
}

fn copy<T: Clone + Send + Sync + 'static>(from: &Extensions, to: &mut Extensions) {
    if let Some(extension) = from.get::<T>() {
        to.insert(extension.clone());
    }
}

fn into_middleware_error(error: BoxError) -> reqwest_middleware::Error {
    match error.downcast::<reqwest_middleware::Error>() {
        Ok(error) => *error,
        // `reqwest_middleware::Error` leaves out the error that it wraps: it returns that one's source as its
        // own. With a `SendError` between them, `Error::find` still finds ours.
        Err(error) => reqwest_middleware::Error::middleware(SendError::new(error)),
    }
}

// === impl Rest ===

impl<'a> Service<http::Request<Outgoing<()>>> for Rest<'a> {
    type Response = http::Response<Response>;
    type Error = reqwest_middleware::Error;
    type Future =
        Pin<Box<dyn Future<Output = reqwest_middleware::Result<http::Response<Response>>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<reqwest_middleware::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Outgoing<()>>) -> Self::Future {
        let Self { next, extensions } = self.clone();
        Box::pin(async move {
            let ((), request, sent_to) = Outgoing::into_attempt(request);
            let mut extensions = extensions.lock().await;
            let response = next.run(request, &mut extensions).await?;
            Ok(detach_head(response, &sent_to))
        })
    }
}
