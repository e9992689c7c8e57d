//! [`ReqwestService`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use reqwest::{Body, Client, Request, Url};
use tower_service::Service;

use super::convert::to_http;

/// A reqwest client as a service of the http crate's requests. Created by [`reqwest_service`].
#[derive(Clone, Debug)]
pub struct ReqwestService {
    client: Client,
}

pin_project! {
    /// The response future of [`ReqwestService`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ReqwestFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        Sending { #[pin] future: <Client as Service<Request>>::Future, url: Url },
        Failed { error: Option<reqwest::Error> },
    }
}

/// Wraps a reqwest client for tower's layers.
///
/// With an [`AuthLayer`](crate::AuthLayer) on it, that needs [`for_reqwest`](crate::AuthLayer::for_reqwest). See the
/// [module docs](super).
pub fn reqwest_service(client: Client) -> ReqwestService {
    ReqwestService { client }
}

// === impl ReqwestService ===

impl Service<http::Request<Body>> for ReqwestService {
    type Response = http::Response<Body>;
    type Error = reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> ReqwestFuture {
        let state = match Request::try_from(request) {
            Ok(request) => {
                let url = request.url().clone();
                State::Sending { future: self.client.call(request), url }
            }
            Err(error) => State::Failed { error: Some(error) },
        };
        ReqwestFuture { state }
    }
}

// === impl ReqwestFuture ===

impl Future for ReqwestFuture {
    type Output = Result<http::Response<Body>, reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProj::Sending { future, url } => {
                ready!(future.poll(cx)).map(|response| to_http(response, url))
            }
            StateProj::Failed { error } => Err(error.take().expect("futures aren't polled after completion")),
        })
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}
