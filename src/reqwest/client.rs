//! [`AuthClient`].

use reqwest::{Body, Client, Request, RequestBuilder, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::{layer::AuthLayer, session::Session};

use super::{BodyReplay, SendError, convert::to_http, reqwest_service};

/// Sends a reqwest client's requests with a valid token. Created by [`AuthLayer::reqwest`].
///
/// Cheap to clone. All clones, and all other clients of its session, share the session's refresh. See the
/// [module docs](super) for an example.
#[derive(Clone, Debug)]
pub struct AuthClient {
    layer: AuthLayer<crate::refresh::AnyRefresher, BodyReplay>,
    client: Client,
}

// === impl AuthClient ===

impl AuthClient {
    pub(super) fn new<R>(layer: AuthLayer<R, BodyReplay>, client: Client) -> Self {
        Self { layer: layer.erase_refresher(), client }
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
    /// [`auth_error`](SendError::auth_error) if no token could be obtained, or if it must not be sent there;
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

    /// The session whose tokens the requests carry.
    pub fn session(&self) -> &Session {
        self.layer.session()
    }

    async fn call(&self, client: Client, request: Request) -> Result<Response, SendError> {
        let request: http::Request<Body> = to_http(request).map_err(SendError::new)?;
        // A reqwest client is always ready.
        let mut service = self.layer.layer(reqwest_service(client));
        Ok(service.call(request).await.map_err(SendError::new)?.into())
    }
}
