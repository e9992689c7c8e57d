//! gRPC: tonic channels and generated clients. Needs the feature `grpc`, and Rust 1.88 as tonic does.
//!
//! [`AuthLayer::grpc`] makes a layer for a tonic `Channel`, and [`AuthLayer::for_grpc`] any layer into one. Such a layer
//!
//! - takes `grpc-status: 16` (`UNAUTHENTICATED`) in a response's *headers* for a refused token: what a server sends
//!   that refuses a call before its first message; and HTTP 401, from a proxy in front;
//! - sends a call again if its messages so far, up to a limit, can be had again;
//! - trusts the channel's origin, as a call's URI doesn't always name it;
//! - counts its waits against the call's own deadline (`grpc-timeout`), and lets the second sending carry what is left;
//! - gives its errors a [`tonic::Status`], without which tonic shows each as `UNKNOWN`: `UNAVAILABLE` where trying
//!   again helps, `DEADLINE_EXCEEDED`, else `UNAUTHENTICATED`.
//!
//! A status 16 that comes in *trailers*, after messages, can't be undone: [`TrailerRejectionLayer`], put *above* this
//! one, marks the token then, so that the next call has a new one.
//!
//! # Examples
//!
//! ```
//! use tonic::body::Body;
//! use tower::{Layer, ServiceBuilder, service_fn};
//! use tower_reauth::{AuthLayer, RefreshContext, Token, grpc, refresh_fn};
//!
//! # let channel = service_fn(|_: http::Request<Body>| async { Ok::<_, tonic::Status>(http::Response::new(Body::empty())) });
//! let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! let service = ServiceBuilder::new().layer(AuthLayer::grpc(refresher)).service(channel);
//! // let client = GreeterClient::new(service);
//!
//! /// A client in a struct of the user's: `Greeter<Channel>`.
//! struct Greeter<S> {
//!     service: grpc::Auth<S>,
//! }
//! # let _ = Greeter { service };
//! ```

pub(crate) mod status;
mod trailers;

use http::{HeaderName, StatusCode};
use tonic::body::Body;

use crate::{
    challenge::Challenges,
    layer::AuthLayer,
    refresh::Refresher,
    request::rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict},
    request::replay::{Buffered, MapBody},
};

pub use trailers::{TrailerRejection, TrailerRejectionBody, TrailerRejectionLayer};

/// How a call is sent again: what went out of it, up to a limit, as tonic's own body.
pub type Replay = MapBody<Body, Body>;

/// The service that a layer for gRPC makes of `S`.
pub type Auth<S> = crate::service::Auth<S, Replay>;

/// Status 16 in the headers, or HTTP 401, refuses the token.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusUnauthenticated;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

// === impl AuthLayer ===

impl<R: Refresher> AuthLayer<R, Replay> {
    /// Makes a layer for a tonic channel, with a session of its own: [`AuthLayer::new`] and
    /// [`for_grpc`](AuthLayer::for_grpc).
    pub fn grpc(refresher: R) -> Self {
        AuthLayer::new(refresher).for_grpc()
    }
}

impl<R, P> AuthLayer<R, P> {
    /// Sets the layer up for a tonic channel: what counts as a rejection, how a call is sent again, whom it trusts.
    ///
    /// What went out of a call is kept up to 64 KiB; for another limit see [`replay`].
    pub fn for_grpc(self) -> AuthLayer<R, Replay> {
        self.rejection_rule(StatusUnauthenticated).over_a_channel().with_replay(replay(Buffered::default()))
    }
}

/// Keeps what goes out of a call, within a limit, for
/// [`with_replay`](AuthLayer::with_replay) after [`for_grpc`](AuthLayer::for_grpc).
pub fn replay(buffered: Buffered) -> Replay {
    buffered.map_body(Body::new)
}

// === impl StatusUnauthenticated ===

impl RejectionRule for StatusUnauthenticated {
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        if head.status() != StatusCode::OK {
            return StatusUnauthorized.judge(head);
        }
        let refused = head.headers().get(GRPC_STATUS).is_some_and(|status| status == "16");
        if refused { Verdict::Reject(Challenges::from_headers(head.headers())) } else { Verdict::Accept }
    }
}
