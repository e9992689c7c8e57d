//! The future of a response.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::BoxError;
use crate::{
    error::Error,
    request::authorizer::{Begin, Course, Guide, Judged, Look, Waiting},
    request::config::Traffic,
    request::replay::Replay,
    session::{Session, WaitLimits, Waiter},
    shard::Sharded,
};

pub use crate::request::report::AuthReport;

/// A way to [`Shared`]: threads take each its own, so that they don't contend for one counter.
#[repr(align(128))]
pub(crate) struct Link<S, P> {
    shared: Arc<Shared<S, P>>,
}

pub(crate) type Links<S, P> = Sharded<Arc<Link<S, P>>>;

/// What all clones of a service and their futures share.
pub(crate) struct Shared<S, P> {
    session: Session,
    traffic: Arc<Traffic>,
    replay: Arc<P>,
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
    // The parameters are what it holds, not projections such as `P::Body`: in a spawned task rustc can't prove
    // `P: Replay<B>` for a body type that contains a `dyn Error` (rust-lang/rust#102211).
    pub struct ResponseFuture<S, P, B, B2, K, F, R> {
        #[pin]
        state: State<S, B, B2, K, F, R>,
        shared: Arc<Link<S, P>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, B2, K, F, R> {
        /// The request is with the inner service.
        Sending { #[pin] future: F, course: Option<Course<K>> },
        /// The request waits for its first token, without readiness.
        Waiting { waiting: Option<Waiting<B>> },
        /// The server refused the token; its answer is held, body unread, until there is a newer one.
        Holding { waiter: Waiter, limits: WaitLimits, course: Option<Course<K>>, response: Option<R> },
        /// The request has its token and waits for readiness.
        Readying { inner: S, request: Option<(Request<B2>, Course<K>)> },
        /// Its token expired while it waited for readiness, which it has given back: it waits for another.
        Overtaken { waiter: Waiter, limits: WaitLimits, request: Option<(Request<B2>, Course<K>)> },
        /// The request isn't sent.
        Failed { error: Option<Error> },
    }
}

// === impl Link ===

impl<S, P> Link<S, P> {
    pub(crate) fn all_to(shared: Shared<S, P>) -> Links<S, P> {
        let shared = Arc::new(shared);
        Sharded::new(|| Arc::new(Self { shared: Arc::clone(&shared) }))
    }
}

impl<S, P> Deref for Link<S, P> {
    type Target = Shared<S, P>;

    #[inline]
    fn deref(&self) -> &Shared<S, P> {
        &self.shared
    }
}

// === impl Shared ===

impl<S, P> Shared<S, P> {
    pub(crate) fn new(spare: S, session: Session, traffic: Arc<Traffic>, replay: Arc<P>) -> Self {
        Self { session, traffic, replay, spare: Mutex::new(spare) }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn guide(&self) -> Guide<'_, P> {
        Guide { session: &self.session, traffic: &self.traffic, replay: &self.replay }
    }

    pub(crate) fn spare(&self) -> S
    where
        S: Clone,
    {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn error(&self, error: Error) -> BoxError {
        #[cfg(feature = "grpc")]
        if self.traffic.grpc {
            return crate::grpc::status::with_status(error).into();
        }
        error.into()
    }
}

// === impl ResponseFuture ===

impl<S, P, B, B2, K, F, R> ResponseFuture<S, P, B, B2, K, F, R> {
    pub(crate) fn sending(future: F, course: Course<K>, shared: Arc<Link<S, P>>) -> Self {
        Self { state: State::Sending { future, course: Some(course) }, shared }
    }

    pub(crate) fn waiting(waiting: Waiting<B>, shared: Arc<Link<S, P>>) -> Self {
        Self { state: State::Waiting { waiting: Some(waiting) }, shared }
    }

    pub(crate) fn failed(error: Error, shared: Arc<Link<S, P>>) -> Self {
        Self { state: State::Failed { error: Some(error) }, shared }
    }
}

impl<S, P, B, ResBody> Future for ResponseFuture<S, P, B, P::Body, P::Retained, S::Future, Response<ResBody>>
where
    P: Replay<B>,
    S: Service<Request<P::Body>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let guide = this.shared.guide();
            let next = match this.state.as_mut().project() {
                // ## Sending => (done | Holding | Readying)
                // The inner service answers.
                StateProj::Sending { future, course } => {
                    let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                    let mut course = course.take().expect("futures aren't polled after their end");
                    match guide.judge::<B, _>(&mut course, &mut response) {
                        Judged::Deliver => return Poll::Ready(Ok(response)),
                        Judged::Hold(waiter, limits) => {
                            let (course, response) = (Some(course), Some(response));
                            State::Holding { waiter, limits, course, response }
                        }
                        Judged::Again(token, again) => {
                            // Before the wait for readiness, which may be for this answer's own connection.
                            drop(response);
                            match guide.send_again::<B>(&mut course, again, &token) {
                                Ok(request) => this.shared.ready_up(request, course),
                                Err(error) => State::Failed { error: Some(error) },
                            }
                        }
                    }
                }

                // ## Waiting => (Readying | Failed)
                // The refresh that runs has ended, or the patience.
                StateProj::Waiting { waiting } => {
                    let token = match waiting {
                        Some(Waiting { waiter, limits, .. }) => ready!(waiter.poll(cx, *limits)),
                        None => unreachable!("a waiting request is there until its wait ends"),
                    };
                    let waiting = waiting.take().expect("as above");
                    match guide.end_wait(waiting, token) {
                        Begin::Send(request, course) => this.shared.ready_up(request, course),
                        Begin::Fail(error) => State::Failed { error: Some(error) },
                        Begin::Wait(..) => unreachable!("its wait has ended"),
                    }
                }

                // ## Holding => (Readying | done | Failed)
                // There is a newer token, or there will be none.
                StateProj::Holding { waiter, limits, course, response } => {
                    let token = ready!(waiter.poll(cx, *limits));
                    let mut course = course.take().expect("a held request is there until its wait ends");
                    let mut response = response.take().expect("its answer, too");
                    match (token, course.take_again()) {
                        (Ok(token), Some(again)) => {
                            // As above.
                            drop(response);
                            match guide.send_again::<B>(&mut course, again, &token) {
                                Ok(request) => this.shared.ready_up(request, course),
                                Err(error) => State::Failed { error: Some(error) },
                            }
                        }
                        (Ok(_), None) => unreachable!("only what can be sent again is held"),
                        (Err(error), _) => match guide.wait_failed(*limits, error) {
                            // The call is over, whatever the server said of its token.
                            error if error.is_deadline_exceeded() => State::Failed { error: Some(error) },
                            error => {
                                course.give_up(error, &mut response);
                                return Poll::Ready(Ok(response));
                            }
                        },
                    }
                }

                // ## Readying => (Sending | Overtaken | Failed)
                // A clone of the inner service is ready.
                StateProj::Readying { inner, request } => {
                    ready!(inner.poll_ready(cx)).map_err(Into::into)?;
                    let (mut request, mut course) = request.take().expect("a request is sent once");
                    match guide.look_again(&mut request, &mut course) {
                        Look::Send => State::Sending { future: inner.call(request), course: Some(course) },
                        Look::Wait(waiter, limits) => {
                            State::Overtaken { waiter, limits, request: Some((request, course)) }
                        }
                        Look::Fail(error) => State::Failed { error: Some(error) },
                    }
                }

                // ## Overtaken => (Readying | Failed)
                // As Waiting.
                StateProj::Overtaken { waiter, limits, request } => {
                    let token = ready!(waiter.poll(cx, *limits));
                    let (mut request, mut course) = request.take().expect("a request is sent once");
                    let taken = token.and_then(|token| guide.take_newer(&mut request, &mut course, &token));
                    match taken {
                        Ok(()) => this.shared.ready_up(request, course),
                        Err(error) => State::Failed { error: Some(guide.wait_failed(*limits, error)) },
                    }
                }

                // ## Failed => (done)
                StateProj::Failed { error } => {
                    let error = error.take().expect("futures aren't polled after their end");
                    return Poll::Ready(Err(this.shared.error(error)));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, P> Shared<S, P> {
    /// A clone of the inner service is to be made ready for a request that has its token.
    fn ready_up<B, B2, K, F, R>(&self, request: Request<B2>, course: Course<K>) -> State<S, B, B2, K, F, R>
    where
        S: Clone,
    {
        State::Readying { inner: self.spare(), request: Some((request, course)) }
    }
}

impl<S, P, B, B2, K, F, R> fmt::Debug for ResponseFuture<S, P, B, B2, K, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
