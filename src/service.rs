//! [`Auth`], the service that [`AuthLayer`](crate::AuthLayer) creates.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    error::BoxError,
    future::{AuthShared, ResponseFuture},
    request::{
        attempt::Attempt,
        authorizer::{Authorizer, Begin},
        config::Config,
        replay::{CloneBody, Replay},
        source::Source,
    },
    session::Session,
    shard::SpreadArc,
};

/// Attaches a valid token to each request. Created by [`AuthLayer`](crate::AuthLayer).
///
/// With a fresh token a request is forwarded immediately. A request that has to wait releases the inner
/// service's readiness (a permit, a buffer slot) and acquires it again on a clone.
///
/// Its error is tower's `BoxError`: the inner service's, or an [`Error`](crate::Error).
///
/// # Examples
///
/// The type doesn't mention the refresher, so it fits into a struct:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use tower::Layer;
/// use tower_reauth::{Auth, Session};
///
/// #[derive(Clone)]
/// struct App {
///     http: Auth<Client<HttpConnector, Full<Bytes>>>,
/// }
///
/// fn app(session: Session, http: Client<HttpConnector, Full<Bytes>>) -> App {
///     App { http: session.layer().layer(http) }
/// }
/// ```
pub struct Auth<S, P = CloneBody> {
    inner: S,
    shared: SpreadArc<AuthShared<S, P>>,
}

// === impl Auth ===

impl<S: Clone, P> Auth<S, P> {
    pub(crate) fn new(inner: S, source: Source, config: Arc<Config>, replay: Arc<P>) -> Self {
        let authorizer = Authorizer::new(source, config, replay);
        Self { shared: SpreadArc::new(AuthShared::new(inner.clone(), authorizer)), inner }
    }

    /// Releases readiness that isn't used, such as a permit. tower's only way is to drop the ready service.
    #[cold]
    fn release_readiness(&mut self) {
        self.inner = self.shared.handle().clone_inner();
    }
}

impl<S, P> Auth<S, P> {
    /// The session whose tokens the requests carry. `None` if each request has its own.
    pub fn session(&self) -> Option<&Session> {
        self.shared.handle().authorizer.source().one()
    }

    /// The inner service.
    ///
    /// There is no `get_mut`: waiting requests and retries are sent on a clone, which wouldn't change with
    /// it.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, B, ResBody> Service<Request<B>> for Auth<S, P>
where
    P: Replay<B>,
    S: Service<Request<P::Body>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = ResponseFuture<S, P, B, P::Retained, S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let handle = self.shared.handle();
        let mut chosen = None;
        match handle.authorizer.begin(&mut request, &mut chosen) {
            Begin::Send(token) => {
                let mut attempt = Attempt::new(chosen);
                let request = handle.authorizer.split(request, token, &mut attempt);
                let future = self.inner.call(request);
                ResponseFuture::sending(future, attempt, handle.clone())
            }
            Begin::Wait(waiter, deadline) => {
                let attempt = Attempt::pending(chosen, request, deadline);
                let future = ResponseFuture::waiting(waiter, attempt, handle.clone());
                self.release_readiness();
                future
            }
            Begin::Load(loading, deadline) => {
                let attempt = Attempt::pending(chosen, request, deadline);
                let future = ResponseFuture::loading(loading, attempt, handle.clone());
                self.release_readiness();
                future
            }
            Begin::Fail(error) => {
                let future = ResponseFuture::failed(error, handle.clone());
                self.release_readiness();
                future
            }
        }
    }
}

// By hand: a derive would ask for `P: Clone`.
impl<S: Clone, P> Clone for Auth<S, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Auth<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("inner", &self.inner).field("session", &self.session()).finish()
    }
}
