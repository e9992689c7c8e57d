//! The service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    course::{self, Step},
    future::{BoxError, ResponseFuture, Shared},
    session::Session,
    traffic::Traffic,
};

/// A service whose requests carry a valid token. Made by [`AuthLayer`](crate::AuthLayer).
///
/// A request that finds a fresh token is passed on at once. One that has to wait for a token gives up its readiness
/// of the inner service (its permit, its place in a buffer) while it waits, and gets it anew on a clone.
///
/// Its error is tower's `BoxError`: the inner service's, or an [`Error`](crate::Error).
pub struct Auth<S> {
    inner: S,
    shared: Arc<Shared<S>>,
}

// === impl Auth ===

impl<S: Clone> Auth<S> {
    pub(crate) fn new(inner: S, session: Session, traffic: Arc<Traffic>) -> Self {
        let shared = Arc::new(Shared::new(inner.clone(), session, traffic));
        Self { inner, shared }
    }

    /// Gives back the readiness that a request doesn't use: dropping it is the only way that tower has.
    #[cold]
    fn give_back_readiness(&mut self) {
        self.inner = self.shared.spare();
    }
}

impl<S> Auth<S> {
    /// The session whose tokens the requests carry.
    pub fn session(&self) -> &Session {
        self.shared.session()
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, B, ResBody> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S, B> {
        let shared = Arc::clone(&self.shared);
        match course::begin(shared.session(), shared.traffic(), &mut request) {
            Step::Send => ResponseFuture::sending(self.inner.call(request), shared),
            Step::Wait(waiter, limits) => {
                self.give_back_readiness();
                ResponseFuture::waiting(waiter, limits, request, shared)
            }
            Step::Fail(error) => {
                self.give_back_readiness();
                ResponseFuture::failed(error, shared)
            }
        }
    }
}

// By hand: the spare isn't cloned, and the clone isn't ready.
impl<S: Clone> Clone for Auth<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug> fmt::Debug for Auth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("inner", &self.inner).field("session", self.session()).finish()
    }
}
