//! Errors as tonic's `Status`.

use std::{error::Error as StdError, sync::Arc};

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// Adds a status to the error's chain of sources, a new one for each caller.
pub(super) fn with_status(error: Error) -> Error {
    let code = match error.inner.kind {
        ErrorKind::Deadline => Code::DeadlineExceeded,
        _ if error.is_retryable() => Code::Unavailable,
        _ => Code::Unauthenticated,
    };
    let mut status = Status::new(code, error.to_string());
    if let Some(source) = &error.inner.source {
        status.set_source(Arc::clone(source));
    }
    error.with_source(Arc::new(status))
}

// === impl Error ===

impl Error {
    /// The same error with another source.
    fn with_source(&self, source: Arc<dyn StdError + Send + Sync>) -> Self {
        Self::with_details(self.inner.kind, self.inner.retry_at, Some(source))
    }
}
