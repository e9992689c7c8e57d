//! [`ResponseFuture`], and [`AuthReport`]: how a response was obtained.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    error::{BoxError, Error},
    request::{
        attempt::Attempt,
        authorizer::{AfterResponse, Authorizer, Recheck},
        replay::Replay,
        source::Loading,
    },
    session::{Demanded, Waiter},
    shard::Handle,
    sync,
    token::AccessToken,
};

pub use crate::request::report::AuthReport;

/// What all clones of a service and their futures share.
pub(crate) struct AuthShared<S, P> {
    pub(crate) authorizer: Authorizer<P>,
    /// A clone of the inner service that is never made ready. In a mutex, as not every service is `Sync`.
    inner: Mutex<S>,
}

pin_project! {
    /// The response future of [`Auth`](crate::Auth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels the request, but not a refresh.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    // The parameters are what it holds, not projections such as `P::Body`: in a spawned task rustc can't
    // prove `P: Replay<B>` for a body type that contains a `dyn Error` (rust-lang/rust#102211).
    pub struct ResponseFuture<S, P, B, K, F, R> {
        #[pin]
        state: State<S, F, R>,
        attempt: Attempt<B, K>,
        shared: Handle<AuthShared<S, P>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, R> {
        /// The request is with the inner service.
        Sending { #[pin] future: F },
        /// Boxed by the slow path, so that a request with a fresh token doesn't carry the room for it.
        Slow { slow: Box<Slow<S, R>> },
    }
}

enum Slow<S, R> {
    /// Waits for its session, holding no readiness.
    Loading {
        loading: Loading,
    },
    /// Waits for a token, holding no readiness. A rejected response is kept, its body unread.
    Waiting {
        waiter: Waiter,
        rejected: Option<R>,
    },
    /// Has a token and waits for the inner service.
    /// Without a token, the request is sent as it is.
    Readying {
        inner: S,
        token: Option<AccessToken>,
    },
    Failed {
        error: Option<Error>,
    },
}

// === impl AuthShared ===

impl<S, P> AuthShared<S, P> {
    pub(crate) fn new(inner: S, authorizer: Authorizer<P>) -> Self {
        Self { authorizer, inner: Mutex::new(inner) }
    }

    pub(crate) fn clone_inner(&self) -> S
    where
        S: Clone,
    {
        sync::lock(&self.inner).clone()
    }

    fn make_ready<R>(&self, token: Option<AccessToken>) -> Slow<S, R>
    where
        S: Clone,
    {
        Slow::Readying { inner: self.clone_inner(), token }
    }
}

// === impl ResponseFuture ===

impl<S, P, B, K, F, R> ResponseFuture<S, P, B, K, F, R> {
    #[inline]
    pub(crate) fn sending(future: F, attempt: Attempt<B, K>, shared: Handle<AuthShared<S, P>>) -> Self {
        Self { state: State::Sending { future }, attempt, shared }
    }

    pub(crate) fn waiting(waiter: Waiter, attempt: Attempt<B, K>, shared: Handle<AuthShared<S, P>>) -> Self {
        Self::slow(Slow::Waiting { waiter, rejected: None }, attempt, shared)
    }

    pub(crate) fn loading(
        loading: Loading,
        attempt: Attempt<B, K>,
        shared: Handle<AuthShared<S, P>>,
    ) -> Self {
        Self::slow(Slow::Loading { loading }, attempt, shared)
    }

    pub(crate) fn failed(error: Error, shared: Handle<AuthShared<S, P>>) -> Self {
        Self::slow(Slow::Failed { error: Some(error) }, Attempt::new(None), shared)
    }

    fn slow(slow: Slow<S, R>, attempt: Attempt<B, K>, shared: Handle<AuthShared<S, P>>) -> Self {
        Self { state: State::Slow { slow: Box::new(slow) }, attempt, shared }
    }
}

impl<S, P, B, ResBody> Future for ResponseFuture<S, P, B, P::Retained, S::Future, Response<ResBody>>
where
    P: Replay<B>,
    S: Service<Request<P::Body>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let authorizer = &this.shared.authorizer;
            let next = match this.state.as_mut().project() {
                // ## Sending => (done | Waiting | Readying)
                // Sends the request and checks the response. A rejection leads to a wait for a newer token,
                // or to a retry with one that is already there.
                StateProj::Sending { future } => {
                    let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                    let slow = match authorizer.judge(this.attempt, &mut response) {
                        AfterResponse::Deliver => return Poll::Ready(Ok(response)),
                        AfterResponse::WaitForToken(waiter) => {
                            Slow::Waiting { waiter, rejected: Some(response) }
                        }
                        AfterResponse::Retry(token) => {
                            // Before the wait for readiness, which may be for this response's own connection.
                            drop(response);
                            this.shared.make_ready(Some(token))
                        }
                    };
                    State::Slow { slow: Box::new(slow) }
                }
                StateProj::Slow { slow } => match &mut **slow {
                    // ## Loading => (Readying | Waiting | Failed)
                    // Polls the load of the session, then demands a token of it.
                    Slow::Loading { loading } => {
                        let session = ready!(loading.future.as_mut().poll(cx));
                        this.attempt.waited();
                        let clock = &*loading.clock;
                        let demanded =
                            session.and_then(|session| authorizer.begin_loaded(this.attempt, session, clock));
                        **slow = match demanded {
                            Ok(Some(Demanded::Use(token))) => this.shared.make_ready(Some(token)),
                            Ok(Some(Demanded::Wait(waiter))) => Slow::Waiting { waiter, rejected: None },
                            Ok(None) => this.shared.make_ready(None),
                            Err(error) => Slow::Failed { error: Some(error) },
                        };
                        continue;
                    }

                    // ## Waiting => (Readying | done | Failed)
                    // Polls the waiter. With a token the request goes on to acquire readiness; without one it
                    // fails, or the rejected response is delivered.
                    Slow::Waiting { waiter, rejected } => {
                        let token = ready!(waiter.poll(cx));
                        let rejected = rejected.take();
                        this.attempt.waited();
                        **slow = match (token, rejected) {
                            (Ok(token), rejected) => {
                                // As above.
                                drop(rejected);
                                this.shared.make_ready(Some(token))
                            }
                            (Err(error), Some(mut response)) if !error.is_deadline_exceeded() => {
                                this.attempt.report(&mut response, Some(error));
                                // This future may be kept; its waiter isn't to be counted any more.
                                **slow = Slow::Failed { error: None };
                                return Poll::Ready(Ok(response));
                            }
                            // Once the call's deadline has passed, it is over whatever the server responded.
                            (Err(error), _) => Slow::Failed { error: Some(error) },
                        };
                        continue;
                    }

                    // ## Readying => (Sending | Waiting | Failed)
                    // Polls a clone of the inner service until it is ready, then sends the request with the
                    // token that is current by then.
                    Slow::Readying { inner, token } => {
                        ready!(inner.poll_ready(cx)).map_err(Into::into)?;
                        let request = match token {
                            Some(token) => match authorizer.recheck(this.attempt, token) {
                                Ok(Recheck::Send(token)) => authorizer.send_with(this.attempt, &token),
                                Ok(Recheck::Wait(waiter)) => {
                                    **slow = Slow::Waiting { waiter, rejected: None };
                                    continue;
                                }
                                Err(error) => Err(error),
                            },
                            None => authorizer.send_as_is(this.attempt),
                        };
                        match request {
                            Ok(request) => State::Sending { future: inner.call(request) },
                            Err(error) => {
                                **slow = Slow::Failed { error: Some(error) };
                                continue;
                            }
                        }
                    }

                    // ## Failed => (done)
                    // Returns the error once.
                    Slow::Failed { error } => {
                        let error = error.take().expect("futures aren't polled after completion");
                        return Poll::Ready(Err(authorizer.config().error(error)));
                    }
                },
            };
            this.state.set(next);
        }
    }
}

impl<S, P, B, K, F, R> fmt::Debug for ResponseFuture<S, P, B, K, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
