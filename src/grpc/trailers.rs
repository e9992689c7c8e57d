//! Rejections in trailers.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::GRPC_STATUS;
use crate::{
    challenge::Challenges,
    request::options::{ReportToken, SentToken},
    session::Session,
};

/// Detects rejections in trailers, after the response has started.
///
/// Such a call can't be retried and returns its status, but the next call gets a new token. Place it outside
/// the gRPC layer, with the same session.
///
/// # Examples
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_reauth::{AuthLayer, RefreshContext, Token, grpc::TrailerRejectionLayer, refresh_fn};
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let auth = AuthLayer::grpc(refresher);
/// let stack = ServiceBuilder::new().layer(TrailerRejectionLayer::new(auth.session().clone())).layer(auth);
/// # let _ = stack;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TrailerRejectionLayer {
    session: Session,
}

/// Detects rejections in trailers. Created by [`TrailerRejectionLayer`].
#[derive(Clone, Debug)]
pub struct TrailerRejection<S> {
    inner: S,
    session: Session,
}

pin_project! {
    /// The response future of [`TrailerRejection`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct TrailerRejectionFuture<F> {
        #[pin]
        future: F,
        session: Session,
    }
}

pin_project! {
    /// The response body of [`TrailerRejection`].
    pub struct TrailerRejectionBody<B> {
        #[pin]
        body: B,
        session: Session,
        sent: Option<SentToken>,
    }
}

// === impl TrailerRejectionLayer ===

impl TrailerRejectionLayer {
    /// Marks the tokens of `session`.
    pub fn new(session: Session) -> Self {
        Self { session }
    }
}

impl<S> Layer<S> for TrailerRejectionLayer {
    type Service = TrailerRejection<S>;

    fn layer(&self, inner: S) -> TrailerRejection<S> {
        TrailerRejection { inner, session: self.session.clone() }
    }
}

// === impl TrailerRejection ===

impl<S, B, ResBody> Service<Request<B>> for TrailerRejection<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Response = Response<TrailerRejectionBody<ResBody>>;
    type Error = S::Error;
    type Future = TrailerRejectionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(ReportToken);
        TrailerRejectionFuture { future: self.inner.call(request), session: self.session.clone() }
    }
}

// === impl TrailerRejectionFuture ===

impl<F, ResBody, E> Future for TrailerRejectionFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<TrailerRejectionBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let sent = response.extensions().get::<SentToken>().copied();
        let session = this.session.clone();
        Poll::Ready(Ok(response.map(|body| TrailerRejectionBody { body, session, sent })))
    }
}

impl<F> fmt::Debug for TrailerRejectionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailerRejectionFuture").finish_non_exhaustive()
    }
}

// === impl TrailerRejectionBody ===

impl<B: Body> Body for TrailerRejectionBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        let trailers = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref());
        let status = trailers.and_then(|trailers| trailers.get(GRPC_STATUS));
        if status.is_some_and(|status| status == "16") {
            if let Some(SentToken(id)) = this.sent.take() {
                this.session.note_rejection(id, Challenges::default());
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for TrailerRejectionBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailerRejectionBody").finish_non_exhaustive()
    }
}
