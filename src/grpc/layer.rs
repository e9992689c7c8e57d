//! [`GrpcLayer`].

use std::sync::Arc;

use tonic::body::Body;
use tower_layer::Layer;

use super::{GrpcAuth, StatusUnauthenticated, TrailerWatch, protocol::Grpc};
use crate::{
    layer::AuthLayer,
    refresh::AnyRefresher,
    request::replay::{Buffered, MapBody},
    session::Session,
};

/// A layer for tonic channels. Created by [`AuthLayer::for_grpc`].
///
/// See the [module docs](crate::grpc).
#[derive(Debug)]
#[must_use]
pub struct GrpcLayer<R = AnyRefresher> {
    auth: AuthLayer<R, MapBody<Body, Body>>,
    retry_before_first_message: bool,
}

// === impl AuthLayer ===

impl<R, P> AuthLayer<R, P> {
    /// Puts the layer around a tonic channel: [`for_grpc`](Self::for_grpc) with its defaults.
    ///
    /// See the [module docs](crate::grpc) for an example.
    pub fn grpc<S: Clone>(self, channel: S) -> GrpcAuth<S> {
        self.for_grpc().layer(channel)
    }

    /// Creates a layer for tonic channels from this layer's session and settings.
    ///
    /// Status 16 counts as a rejection, unless [`rejection_rule`](Self::rejection_rule) was called. Up to 64 KiB of
    /// a call are buffered for a retry, whatever replay was set; see [`GrpcLayer::with_buffer_limit`].
    ///
    /// Without it, rustc reports for the methods of a generated client:
    ///
    /// ```text
    /// the method `greet` exists for struct `GreeterClient<Auth<Channel>>`, but its trait bounds were not satisfied
    /// note: the following trait bounds were not satisfied: `tonic::body::Body: Clone`
    /// ```
    ///
    /// or, for the client itself, "`CloneBody` can't replay request bodies of type `tonic::body::Body`". With
    /// it, the service has the type [`GrpcAuth`].
    pub fn for_grpc(self) -> GrpcLayer<R> {
        let auth = self.configure(|config| {
            config.rule.get_or_insert_with(|| Arc::new(StatusUnauthenticated));
            config.protocol = Some(Arc::new(Grpc));
            config.destinations.trusts_connection = true;
        });
        let auth = auth.with_replay(Buffered::default().map_body(Body::new));
        GrpcLayer { auth, retry_before_first_message: false }
    }
}

// === impl GrpcLayer ===

impl<R> GrpcLayer<R> {
    /// The session that the layer's services share. `None` if each request has its own.
    pub fn session(&self) -> Option<&Session> {
        self.auth.session()
    }

    /// Sets how many bytes of a call are buffered for a retry, as in [`Buffered`]. Default: 64 KiB.
    pub fn with_buffer_limit(self, bytes: usize) -> Self {
        Self { auth: self.auth.with_replay(Buffered::new(bytes).map_body(Body::new)), ..self }
    }

    /// Sets whether a call is also retried if the server rejects its token in the trailers before any message
    /// (`true`). If not (`false`, the default), such a call returns its status, and the next call gets a new token.
    ///
    /// It uses the call's single retry, and works for all four kinds of call if the messages so far fit into the buffer. If
    /// there is no retry, the status and the other trailers are returned as response headers, so the call itself fails
    /// rather than its stream.
    ///
    /// # Cost
    ///
    /// **The head of each response is held back until its first message or its end.** The caller doesn't see the
    /// server's metadata before, and the buffered messages are kept until then. Don't set this for
    ///
    /// - a stream whose first message may come late, such as a subscription: the call returns only with that message;
    /// - a bidirectional call whose client waits for the response before it sends the message that the server waits for: it
    ///   deadlocks.
    ///
    /// Such calls can have a second layer of the same session, without this setting.
    pub fn retry_before_first_message(mut self, retry: bool) -> Self {
        self.retry_before_first_message = retry;
        self
    }
}

impl<R, S: Clone> Layer<S> for GrpcLayer<R> {
    type Service = GrpcAuth<S>;

    fn layer(&self, inner: S) -> GrpcAuth<S> {
        self.auth.layer(TrailerWatch::new(inner, self.retry_before_first_message))
    }
}

// By hand: a derive would ask for `R: Clone`.
impl<R> Clone for GrpcLayer<R> {
    fn clone(&self) -> Self {
        Self { auth: self.auth.clone(), ..*self }
    }
}
