//! Our errors as tonic's `Status`.

use std::sync::Arc;

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// Puts a status into the error's chain of sources, made anew for each caller.
pub(crate) fn with_status(error: Error) -> Error {
    let code = match error.kind() {
        ErrorKind::Deadline => Code::DeadlineExceeded,
        _ if error.is_retryable() => Code::Unavailable,
        _ => Code::Unauthenticated,
    };
    let mut status = Status::new(code, error.to_string());
    if let Some(source) = error.shared_source() {
        status.set_source(source);
    }
    error.over(Arc::new(status))
}
