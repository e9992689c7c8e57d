//! [`AuthClient`].

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use reqwest::{Client, Request, RequestBuilder, Response, Url};
use tower_layer::Layer;
use tower_service::Service;

use crate::{layer::AuthLayer, service::Auth, session::Session};

use super::{
    BodyReplay, SendError,
    body::OutgoingReplay,
    convert::{Outgoing, detach_head, reattach_head},
};

/// Sends a reqwest client's requests with a valid token. Created by [`AuthLayer::reqwest`].
///
/// Cheap to clone. All clones, and all other clients of its session, share the session's refresh. See the
/// [module docs](super) for an example.
#[derive(Clone, Debug)]
pub struct AuthClient {
    service: Auth<Execute, OutgoingReplay>,
    client: Client,
}

/// Sends each request through the client that it comes with.
#[derive(Clone, Copy, Debug)]
struct Execute;

pin_project! {
    struct ExecuteFuture {
        #[pin]
        future: <Client as Service<Request>>::Future,
        sent_to: Arc<Url>,
    }
}

// === impl AuthClient ===

impl AuthClient {
    pub(super) fn new<R>(layer: &AuthLayer<R, BodyReplay>, client: Client) -> Self {
        Self { service: layer.map_replay(OutgoingReplay).layer(Execute), client }
    }

    /// Sends the request of a builder, through the client that created the builder.
    ///
    /// The builder's own `send` would bypass this client: it attaches no token.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), and the builder's own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request, but not a refresh.
    pub async fn send(&self, builder: RequestBuilder) -> Result<Response, SendError> {
        let (client, request) = builder.build_split();
        self.call(client, request.map_err(SendError::new)?).await
    }

    /// Sends a request.
    ///
    /// Its [timeout](Request::timeout) bounds the whole call: waits for a token, both attempts, and reading the
    /// response. A timeout of the client bounds each attempt.
    ///
    /// # Errors
    ///
    /// [`auth_error`](SendError::auth_error) if no token could be obtained, or if the URL must not get one;
    /// otherwise reqwest's error. A rejection is a response: if there is no newer token, its
    /// [`AuthReport`](crate::future::AuthReport) says why.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn execute(&self, request: Request) -> Result<Response, SendError> {
        self.call(self.client.clone(), request).await
    }

    /// The client, to create requests with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The session whose tokens the requests carry. `None` if each request has its own.
    pub fn session(&self) -> Option<&Session> {
        self.service.session()
    }

    async fn call(&self, client: Client, request: Request) -> Result<Response, SendError> {
        let request = Outgoing::request(client, request).map_err(SendError::new)?;
        // A reqwest client is always ready.
        let response = self.service.clone().call(request).await.map_err(SendError::new)?;
        Ok(reattach_head(response))
    }
}

// === impl Execute ===

impl Service<http::Request<Outgoing<Client>>> for Execute {
    type Response = http::Response<Response>;
    type Error = reqwest::Error;
    type Future = ExecuteFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Outgoing<Client>>) -> ExecuteFuture {
        let (mut client, request, sent_to) = Outgoing::into_attempt(request);
        ExecuteFuture { future: client.call(request), sent_to }
    }
}

// === impl ExecuteFuture ===

impl Future for ExecuteFuture {
    type Output = Result<http::Response<Response>, reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(detach_head(response, this.sent_to)))
    }
}
