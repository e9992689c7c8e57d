//! [`Grpc`].

use std::time::Duration;

use http::{Extensions, HeaderMap};

use crate::{
    error::{BoxError, Error},
    request::{config::Protocol, replay::NotReplayed},
    session::Session,
    token::TokenId,
};

use super::{not_replayed, status, timeout, trailers::SentToken};

/// gRPC as a [`Protocol`]: deadlines, and errors and reports as statuses.
pub(super) struct Grpc;

// === impl Grpc ===

impl Protocol for Grpc {
    fn deadline(&self, headers: &HeaderMap, _: &Extensions) -> Option<Duration> {
        timeout::get(headers)
    }

    fn set_deadline(&self, headers: &mut HeaderMap, left: Duration) -> Result<(), Error> {
        timeout::set(headers, left)
    }

    fn set_token(&self, extensions: &mut Extensions, session: &Session, id: TokenId) {
        extensions.insert(SentToken { session: session.clone(), id });
    }

    fn report_not_replayed(&self, headers: &mut HeaderMap, reason: NotReplayed) {
        not_replayed::report(headers, reason);
    }

    fn error(&self, error: Error) -> BoxError {
        status::with_status(error).into()
    }
}
