//! A refresher whose refreshes take no longer than a limit.

use std::{error::Error as StdError, fmt, time::Duration};

use futures_util::future::{Either, select};

use super::{RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// A refresher whose refreshes take no longer than a limit; see [`RefresherExt`](crate::RefresherExt::timeout).
#[derive(Clone, Debug)]
pub struct Timeout<R> {
    inner: R,
    limit: Duration,
}

/// A refresh took longer than its limit.
#[derive(Clone, Copy, Debug)]
struct TimeoutElapsed(Duration);

// === impl Timeout ===

impl<R> Timeout<R> {
    pub(super) fn new(inner: R, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<R: Refresher> Refresher for Timeout<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let limit = cx.clock().sleep(self.limit).map_err(RefreshError::misconfigured)?;
        match select(Box::pin(self.inner.refresh(cx)), limit).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(RefreshError::outcome_unknown(TimeoutElapsed(self.limit))),
        }
    }
}

// === impl TimeoutElapsed ===

impl fmt::Display for TimeoutElapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the refresh took longer than {:?}", self.0)
    }
}

impl StdError for TimeoutElapsed {}
