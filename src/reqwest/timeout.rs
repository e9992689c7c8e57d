//! [`RequestTimeout`].

use std::time::Duration;

use http::{Extensions, HeaderMap};

use crate::{
    error::{BoxError, Error, ErrorKind},
    request::{config::Protocol, replay::NotReplayed},
};

use super::convert::CallDeadline;

/// The timeout of a reqwest request as the deadline of its whole call.
pub(super) struct RequestTimeout;

// === impl RequestTimeout ===

impl Protocol for RequestTimeout {
    fn deadline(&self, _: &HeaderMap, extensions: &Extensions) -> Option<Duration> {
        extensions.get::<CallDeadline>().map(|deadline| deadline.time_left())
    }

    /// The deadline itself stays in the request's extensions.
    fn set_deadline(&self, _: &mut HeaderMap, left: Duration) -> Result<(), Error> {
        if left.is_zero() { Err(Error::new(ErrorKind::Deadline)) } else { Ok(()) }
    }

    /// Callers see the response's extensions.
    fn report_not_replayed(&self, _: &mut HeaderMap, _: NotReplayed) {}

    fn error(&self, error: Error) -> BoxError {
        error.into()
    }
}
