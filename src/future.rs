//! The future of a response.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    course::{self, Step},
    error::Error,
    session::{Session, WaitLimits, Waiter},
    traffic::Traffic,
};

/// tower's error type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// What all clones of a service and their futures share.
pub(crate) struct Shared<S> {
    session: Session,
    traffic: Arc<Traffic>,
    /// A clone of the inner service that is never made ready. In a mutex, as not every service is `Sync`.
    spare: Mutex<S>,
}

pin_project! {
    /// The future of a response through the layer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends this request, and no refresh.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
        shared: Arc<Shared<S>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        /// The request is with the inner service.
        Sending { #[pin] future: F },
        /// The request waits for a token, without readiness.
        Waiting { waiter: Waiter, limits: WaitLimits, request: Option<Request<B>> },
        /// The request has its token and waits for readiness.
        Readying { inner: S, request: Option<Request<B>> },
        /// The request isn't sent.
        Failed { error: Option<Error> },
    }
}

// === impl Shared ===

impl<S> Shared<S> {
    pub(crate) fn new(spare: S, session: Session, traffic: Arc<Traffic>) -> Self {
        Self { session, traffic, spare: Mutex::new(spare) }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(crate) fn spare(&self) -> S
    where
        S: Clone,
    {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl ResponseFuture ===

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn sending(future: S::Future, shared: Arc<Shared<S>>) -> Self {
        Self { state: State::Sending { future }, shared }
    }

    pub(crate) fn waiting(
        waiter: Waiter,
        limits: WaitLimits,
        request: Request<B>,
        shared: Arc<Shared<S>>,
    ) -> Self {
        Self { state: State::Waiting { waiter, limits, request: Some(request) }, shared }
    }

    pub(crate) fn failed(error: Error, shared: Arc<Shared<S>>) -> Self {
        Self { state: State::Failed { error: Some(error) }, shared }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                // ## Sending => (done)
                // The inner service answers.
                StateProj::Sending { future } => return future.poll(cx).map_err(Into::into),

                // ## Waiting => (Readying | Failed)
                // The refresh that runs has ended, or the patience.
                StateProj::Waiting { waiter, limits, request } => {
                    let token = ready!(waiter.poll(cx, *limits))?;
                    let mut request = request.take().expect("a waiting request is there until its wait ends");
                    match course::go_on(&this.shared.traffic, &mut request, &token) {
                        Step::Send => State::Readying { inner: this.shared.spare(), request: Some(request) },
                        Step::Fail(error) => State::Failed { error: Some(error) },
                        Step::Wait(..) => unreachable!("there is a token"),
                    }
                }

                // ## Readying => Sending
                // A clone of the inner service is ready.
                StateProj::Readying { inner, request } => {
                    ready!(inner.poll_ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect("a request is sent once");
                    State::Sending { future: inner.call(request) }
                }

                // ## Failed => (done)
                StateProj::Failed { error } => {
                    let error = error.take().expect("futures aren't polled after their end");
                    return Poll::Ready(Err(error.into()));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
