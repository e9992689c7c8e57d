//! The service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    error::BoxError,
    future::{Link, Links, ResponseFuture, Shared},
    request::authorizer::Begin,
    request::config::Traffic,
    request::replay::{CloneBody, Replay},
    session::Session,
};

/// A service whose requests carry a valid token. Made by [`AuthLayer`](crate::AuthLayer).
///
/// A request that finds a fresh token is passed on at once. One that has to wait for a token gives up its readiness
/// of the inner service (its permit, its place in a buffer) while it waits, and gets it anew on a clone.
///
/// Its error is tower's `BoxError`: the inner service's, or an [`Error`](crate::Error).
///
/// # Examples
///
/// Its type doesn't name the refresher, so it goes into a struct:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use tower::Layer;
/// use tower_reauth::{Auth, AuthLayer, Session};
///
/// #[derive(Clone)]
/// struct App {
///     http: Auth<Client<HttpConnector, Full<Bytes>>>,
/// }
///
/// fn app(session: Session, http: Client<HttpConnector, Full<Bytes>>) -> App {
///     App { http: AuthLayer::from_session(session).layer(http) }
/// }
/// ```
pub struct Auth<S, P = CloneBody> {
    inner: S,
    links: Arc<Links<S, P>>,
}

// === impl Auth ===

impl<S: Clone, P> Auth<S, P> {
    pub(crate) fn new(inner: S, session: Session, traffic: Arc<Traffic>, replay: Arc<P>) -> Self {
        let shared = Shared::new(inner.clone(), session, traffic, replay);
        Self { inner, links: Arc::new(Link::all_to(shared)) }
    }

    /// Gives back the readiness that a request doesn't use: dropping it is the only way that tower has.
    #[cold]
    fn give_back_readiness(&mut self) {
        self.inner = self.links.mine().spare();
    }
}

impl<S, P> Auth<S, P> {
    /// The session whose tokens the requests carry.
    pub fn session(&self) -> &Session {
        self.links.mine().session()
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
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
    type Future = ResponseFuture<S, P, B, P::Body, P::Retained, S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(self.links.mine());
        match shared.guide().begin(request) {
            Begin::Send(request, course) => ResponseFuture::sending(self.inner.call(request), course, shared),
            Begin::Wait(waiting) => {
                self.give_back_readiness();
                ResponseFuture::waiting(waiting, shared)
            }
            Begin::Fail(error) => {
                self.give_back_readiness();
                ResponseFuture::failed(error, shared)
            }
        }
    }
}

// By hand: the spare isn't cloned, and the clone isn't ready.
impl<S: Clone, P> Clone for Auth<S, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), links: Arc::clone(&self.links) }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Auth<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("inner", &self.inner).field("session", self.session()).finish()
    }
}
