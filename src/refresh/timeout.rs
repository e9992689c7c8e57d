//! [`Timeout`].

use std::{error::Error as StdError, fmt, time::Duration};

use futures_util::future::{Either, select};

use super::{RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// Adds a timeout to a refresher; see [`RefresherExt`](crate::RefresherExt::timeout).
#[derive(Clone, Debug)]
pub struct Timeout<R> {
    inner: R,
    timeout: Duration,
}

/// A refresh timed out.
#[derive(Clone, Copy, Debug)]
struct TimeoutElapsed(Duration);

// === impl Timeout ===

impl<R> Timeout<R> {
    pub(super) fn new(inner: R, timeout: Duration) -> Self {
        Self { inner, timeout }
    }
}

impl<R: Refresher> Refresher for Timeout<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let sleep = cx.clock().sleep(self.timeout).map_err(RefreshError::misconfigured)?;
        match select(Box::pin(self.inner.refresh(cx)), sleep).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(RefreshError::outcome_unknown(TimeoutElapsed(self.timeout))),
        }
    }
}

// === impl TimeoutElapsed ===

impl fmt::Display for TimeoutElapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the refresh timed out after {:?}", self.0)
    }
}

impl StdError for TimeoutElapsed {}
