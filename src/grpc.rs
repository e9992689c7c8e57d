//! gRPC: tonic channels and generated clients. Needs the feature `grpc`, and Rust 1.88 as tonic does.
//!
//! [`AuthLayer::grpc`] creates a layer for a tonic `Channel`, and [`AuthLayer::for_grpc`] turns any layer
//! into one. Such a layer:
//!
//! - treats `grpc-status: 16` (`UNAUTHENTICATED`) in a response's *headers* as a rejection, which is how a
//!   server rejects a call before its first message; and HTTP 401, from a proxy in front;
//! - retries a call if its messages so far fit into a buffer;
//! - trusts its channel, cleartext included, since the URI of a call usually has no host. With
//!   [`restrict_to_origin`](AuthLayer::restrict_to_origin) or [`default_origin`](AuthLayer::default_origin)
//!   it doesn't: set the channel's origin with the latter;
//! - counts waiting against the call's deadline (`grpc-timeout`), and sends what is left with the retry;
//! - attaches a [`tonic::Status`] to its errors, which tonic would otherwise report as `UNKNOWN`:
//!   `UNAVAILABLE` if a retry may help, `DEADLINE_EXCEEDED`, or `UNAUTHENTICATED`.
//!
//! If a call's messages exceed the buffer, it isn't retried, and returns the server's status;
//! [`not_replayed`] distinguishes such a status from that of a call that was rejected twice.
//!
//! A status 16 in *trailers*, after messages, comes too late for a retry. [`TrailerRejectionLayer`], placed
//! *outside* this layer, marks the token then, so that the next call gets a new one.
//!
//! # Examples
//!
//! ```
//! use tonic::body::Body;
//! use tower::{Layer, ServiceBuilder, service_fn};
//! use tower_reauth::{AuthLayer, RefreshContext, Token, grpc::GrpcAuth, refresh_fn};
//!
//! # let channel = service_fn(|_: http::Request<Body>| async { Ok::<_, tonic::Status>(http::Response::new(Body::empty())) });
//! let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let service = ServiceBuilder::new().layer(AuthLayer::grpc(refresher)).service(channel);
//! // let client = GreeterClient::new(service);
//!
//! /// Your struct with a client: `Greeter<Channel>`.
//! struct Greeter<S> {
//!     service: GrpcAuth<S>,
//! }
//! # let _ = Greeter { service };
//! ```

mod not_replayed;
mod protocol;
mod status;
mod timeout;
mod trailers;

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use tonic::body::Body;

use crate::{
    layer::AuthLayer,
    refresh::Refresher,
    request::{
        rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict},
        replay::{Buffered, MapBody},
    },
};

pub use not_replayed::not_replayed;
pub use trailers::{TrailerRejection, TrailerRejectionBody, TrailerRejectionFuture, TrailerRejectionLayer};

/// Replays a call's buffered messages.
pub type GrpcReplay = MapBody<Body, Body>;

/// The service that a gRPC layer creates from `S`.
pub type GrpcAuth<S> = crate::service::Auth<S, GrpcReplay>;

/// The rule of a gRPC layer: status 16 in the headers, or HTTP 401, rejects the token, with the exceptions of
/// [`StatusUnauthorized`].
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusUnauthenticated;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

// === impl AuthLayer ===

impl<R: Refresher> AuthLayer<R, GrpcReplay> {
    /// Creates a layer for a tonic channel, with a session of its own: [`AuthLayer::new`] and
    /// [`for_grpc`](AuthLayer::for_grpc).
    pub fn grpc(refresher: R) -> Self {
        AuthLayer::new(refresher).for_grpc()
    }
}

impl<R, P> AuthLayer<R, P> {
    /// Configures the layer for a tonic channel: rejection rule, replay and trust.
    ///
    /// Up to 64 KiB of a call are buffered; see [`with_buffer_limit`](AuthLayer::with_buffer_limit).
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
    pub fn for_grpc(self) -> AuthLayer<R, GrpcReplay> {
        let layer = self.rejection_rule(StatusUnauthenticated).configure(|config| {
            config.protocol = Some(Arc::new(protocol::Grpc));
            config.destinations.trusts_connection = true;
        });
        layer.with_replay(Buffered::default().map_body(Body::new))
    }
}

impl<R> AuthLayer<R, GrpcReplay> {
    /// Sets how many bytes of a call are buffered for a retry, as in [`Buffered`]. Default: 64 KiB.
    pub fn with_buffer_limit(self, bytes: usize) -> Self {
        self.with_replay(Buffered::new(bytes).map_body(Body::new))
    }
}

// === impl StatusUnauthenticated ===

impl RejectionRule for StatusUnauthenticated {
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        if head.status() != StatusCode::OK {
            return StatusUnauthorized.judge(head);
        }
        let rejects = head.headers().get(GRPC_STATUS).is_some_and(|status| status == "16");
        if rejects { Verdict::of_challenges(head.headers()) } else { Verdict::Accept }
    }
}
