//! [`SendError`].

use std::{error::Error as StdError, fmt};

use crate::error::{BoxError, Error};

/// A request couldn't be authorized, or reqwest failed to send it.
///
/// Either error is the [`source`](StdError::source), so [`Error::find`] finds ours.
#[derive(Debug)]
pub struct SendError {
    inner: BoxError,
}

// === impl SendError ===

impl SendError {
    pub(super) fn new(inner: impl Into<BoxError>) -> Self {
        Self { inner: inner.into() }
    }

    /// Why the request couldn't be authorized.
    pub fn auth_error(&self) -> Option<&Error> {
        self.inner.downcast_ref()
    }

    /// Why reqwest failed.
    pub fn reqwest_error(&self) -> Option<&reqwest::Error> {
        self.inner.downcast_ref()
    }

    /// Whether a timeout elapsed: of the request, of the client, or of the wait for a token.
    pub fn is_timeout(&self) -> bool {
        self.auth_error().is_some_and(|error| error.is_timeout() || error.is_deadline_exceeded())
            || self.reqwest_error().is_some_and(reqwest::Error::is_timeout)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.auth_error() {
            Some(_) => "failed to authorize the request",
            None => "failed to send the request",
        })
    }
}

impl StdError for SendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.inner)
    }
}
