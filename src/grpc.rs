//! gRPC: tonic channels and generated clients. Needs the feature `grpc`, and Rust 1.88 as tonic does.
//!
//! [`AuthLayer::grpc`](crate::AuthLayer::grpc) puts a layer around a tonic `Channel`.
//! [`AuthLayer::for_grpc`](crate::AuthLayer::for_grpc) creates the same layer for a stack, with settings for gRPC. The
//! service has the channel's own request and response types. It
//!
//! - treats `grpc-status: 16` (`UNAUTHENTICATED`) in a response's *headers* as a rejection, which is how a
//!   server rejects a call before its response starts, and HTTP 401, which a proxy may send;
//! - retries such a call if its messages so far fit into a buffer;
//! - marks the token if status 16 comes in the *trailers*, so that the next call gets a new one;
//! - trusts its channel, cleartext included, since the URI of a call usually has no host. With
//!   [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin) or
//!   [`default_origin`](crate::AuthLayer::default_origin) it doesn't: set the channel's origin with the latter;
//! - attaches a [`tonic::Status`] to its errors, which tonic would otherwise report as `UNKNOWN`:
//!   `UNAVAILABLE` if a retry may help, `DEADLINE_EXCEEDED`, or `UNAUTHENTICATED`.
//!
//! If a call's messages exceed the buffer, it isn't retried, and returns the server's status;
//! [`not_replayed`] distinguishes such a status from that of a call that was rejected twice.
//!
//! # Examples
//!
//! ```
//! use tonic::body::Body;
//! use tower::service_fn;
//! use tower_reauth::{AuthLayer, RefreshContext, Token, grpc::GrpcAuth, refresh_fn};
//!
//! # let channel = service_fn(|_: http::Request<Body>| async { Ok::<_, tonic::Status>(http::Response::new(Body::empty())) });
//! let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let service = AuthLayer::new(refresher).grpc(channel);
//! // let client = GreeterClient::new(service);
//!
//! /// Your struct with a client: `Greeter<Channel>`.
//! struct Greeter<S> {
//!     service: GrpcAuth<S>,
//! }
//! # let _ = Greeter { service };
//! ```
//!
//! With a larger buffer, and a channel whose origin is checked:
//!
//! ```
//! use tower::Layer;
//! use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
//!
//! # let channel = ();
//! # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let session = Session::builder(refresher).build();
//! let layer = session.layer().default_origin("https://api.example.com".parse()?);
//! let service = layer.for_grpc().with_buffer_limit(4 << 20).layer(channel);
//! # let _ = service;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Interceptors
//!
//! tonic's interceptors work on both sides: `GreeterClient::with_interceptor(service, interceptor)` runs one per
//! call, before it waits for a token. One around the channel, `layer.grpc(InterceptedService::new(channel,
//! interceptor))`, runs per attempt and sees the token.
//!
//! # Deadlines
//!
//! A call's own deadline (`grpc-timeout`, set by [`tonic::Request::set_timeout`]) bounds the wait for a token, and
//! what is left of it is sent with the retry. A call that waits too long fails with `DEADLINE_EXCEEDED`.
//!
//! The channel's timeout (`Endpoint::timeout`) doesn't bound the wait: the channel is the inner service, so its
//! timeout starts again with each attempt. For calls without a deadline of their own,
//! [`AuthLayer::wait_timeout`](crate::AuthLayer::wait_timeout) bounds the wait.
//!
//! # Rejections in trailers
//!
//! A server may send its headers first, and status 16 in the trailers. A tonic handler does so if the first item of
//! its stream is an error. By then the headers have been returned, so the call can't be retried. With
//! [`GrpcLayer::retry_before_first_message`] they are held back until it is known whether a message comes. After a
//! message a call is never retried.
//!
//! # Versions
//!
//! [`tonic::body::Body`] and [`tonic::Status`] are part of this module's API. The feature follows tonic's versions:
//! it is for tonic 0.14, and a release of this crate that moves to the next is a breaking one.

mod layer;
mod not_replayed;
mod protocol;
mod status;
mod timeout;
mod trailers;

use http::{HeaderMap, HeaderName, StatusCode};
use tonic::body::Body;

use crate::{
    request::{
        rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict},
        replay::MapBody,
    },
    service::Auth,
};

pub use layer::GrpcLayer;
pub use not_replayed::not_replayed;
pub use trailers::{TrailerWatch, TrailerWatchFuture};

/// The service that a gRPC layer creates from `S`.
pub type GrpcAuth<S> = Auth<TrailerWatch<S>, MapBody<Body, Body>>;

/// The rule of a gRPC layer: status 16 in the headers, or HTTP 401, rejects the token, with the exceptions of
/// [`StatusUnauthorized`].
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusUnauthenticated;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

// === impl StatusUnauthenticated ===

impl StatusUnauthenticated {
    /// Judges the headers of a response that are gRPC's, or its trailers.
    fn judge_metadata(metadata: &HeaderMap) -> Verdict {
        match metadata.get(GRPC_STATUS) {
            Some(status) if status == "16" => Verdict::of_challenges(metadata),
            _ => Verdict::Accept,
        }
    }
}

impl RejectionRule for StatusUnauthenticated {
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        match head.status() {
            StatusCode::OK => Self::judge_metadata(head.headers()),
            _ => StatusUnauthorized.judge(head),
        }
    }
}
