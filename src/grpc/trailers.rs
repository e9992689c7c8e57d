//! [`TrailerWatch`]: rejections in trailers.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Status, body::Body};
use tower_service::Service;

use super::StatusUnauthenticated;
use crate::{
    challenge::Challenges, error::BoxError, request::rejection::Verdict, session::Session, token::TokenId,
};

/// The inner service of [`GrpcAuth`](super::GrpcAuth): watches the trailers of responses for rejections.
///
/// It passes on what it finds: to the session, or, before the first message, to the outer service as headers.
#[derive(Clone, Debug)]
pub struct TrailerWatch<S> {
    inner: S,
    holds_head: bool,
}

pin_project! {
    /// The response future of [`TrailerWatch`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct TrailerWatchFuture<F> {
        #[pin]
        future: F,
        // A head that is held back until the first frame of its body.
        held: Option<Response<Body>>,
        // `None`: the request carries no token of ours.
        sent: Option<SentToken>,
        holds_head: bool,
    }
}

/// The body of the response to a request with a token.
struct WatchedBody {
    /// A frame that was read while the head was held back.
    first: NextFrame,
    body: Body,
    sent: SentToken,
}

type NextFrame = Option<Result<Frame<Bytes>, Status>>;

/// Request extension: the token that the request carries, and its session.
#[derive(Clone)]
pub(super) struct SentToken {
    pub(super) session: Session,
    pub(super) id: TokenId,
}

// === impl TrailerWatch ===

impl<S> TrailerWatch<S> {
    pub(super) fn new(inner: S, holds_head: bool) -> Self {
        Self { inner, holds_head }
    }

    /// The inner service, such as the channel.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ResBody> Service<Request<Body>> for TrailerWatch<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = TrailerWatchFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let sent: Option<SentToken> = request.extensions_mut().remove();
        TrailerWatchFuture {
            future: self.inner.call(request),
            held: None,
            holds_head: self.holds_head && sent.is_some(),
            sent,
        }
    }
}

// === impl TrailerWatchFuture ===

impl<F, ResBody, E> Future for TrailerWatchFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let held = match this.held {
            Some(held) => held,
            None => {
                let response = ready!(this.future.poll(cx))?.map(Body::new);
                if !*this.holds_head {
                    return Poll::Ready(Ok(response.map(|body| watched(body, None, this.sent.take()))));
                }
                this.held.insert(response)
            }
        };
        let first = loop {
            match ready!(Pin::new(held.body_mut()).poll_frame(cx)) {
                // No part of a message.
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                first => break first,
            }
        };
        let mut response = mem::take(held);
        if first.is_none() {
            // A body that has ended must not be polled again.
            *response.body_mut() = Body::empty();
        }
        if let Some((trailers, _)) = rejection(&first) {
            return Poll::Ready(Ok(trailers_only(&response, trailers)));
        }
        Poll::Ready(Ok(response.map(|body| watched(body, first, this.sent.take()))))
    }
}

impl<F> fmt::Debug for TrailerWatchFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailerWatchFuture").finish_non_exhaustive()
    }
}

// === impl WatchedBody ===

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let frame = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        if let Some((_, challenges)) = rejection(&frame) {
            self.sent.session.note_rejection(self.sent.id, challenges);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.first {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

fn watched(body: Body, first: NextFrame, sent: Option<SentToken>) -> Body {
    match sent {
        Some(sent) => Body::new(WatchedBody { first, body, sent }),
        None => body,
    }
}

/// The trailers of a frame, if they reject the token.
fn rejection(frame: &NextFrame) -> Option<(&HeaderMap, Challenges)> {
    let trailers = frame.as_ref()?.as_ref().ok()?.trailers_ref()?;
    match StatusUnauthenticated::judge_metadata(trailers) {
        Verdict::Reject(challenges) => Some((trailers, challenges)),
        Verdict::Accept => None,
    }
}

/// What the server would have sent without a head of its own: a response that consists of trailers only.
fn trailers_only(response: &Response<Body>, trailers: &HeaderMap) -> Response<Body> {
    let mut only = Response::default();
    *only.version_mut() = response.version();
    *only.extensions_mut() = response.extensions().clone();
    let headers = only.headers_mut();
    // First, as the first value of a name counts.
    headers.clone_from(trailers);
    for (name, value) in response.headers() {
        // Fails if there are tens of thousands; those are left out.
        let _ = headers.try_append(name, value.clone());
    }
    only
}
