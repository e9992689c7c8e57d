//! [`Retry`].

use std::{sync::Arc, time::Duration};

use super::{FailureKind, RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// Repeats a refresh after transient failures; see [`RefresherExt`](crate::RefresherExt::retry).
#[derive(Clone, Debug)]
pub struct Retry<R> {
    inner: R,
    delays: Arc<[Duration]>,
}

// === impl Retry ===

impl<R> Retry<R> {
    pub(super) fn new(inner: R, delays: Arc<[Duration]>) -> Self {
        Self { inner, delays }
    }
}

impl<R: Refresher> Refresher for Retry<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let mut delays = self.delays.iter().copied();
        loop {
            let error = match self.inner.refresh(cx.clone()).await {
                Err(error) if is_safe_to_repeat(&error) => error,
                result => return result,
            };
            let fits = |delay: &Duration| {
                error.retry_after().is_none_or(|wait| wait <= *delay)
                    && cx.time_left().is_none_or(|left| *delay < left)
            };
            let Some(delay) = delays.next().filter(fits) else { return Err(error) };
            let Ok(sleep) = cx.clock().sleep(delay) else { return Err(error) };
            sleep.await;
            if !cx.is_wanted() {
                return Err(error);
            }
        }
    }
}

/// Nothing reached the server, or it asked to try again. With a successor, the refresh token must not be
/// presented again.
fn is_safe_to_repeat(error: &RefreshError) -> bool {
    error.kind() == FailureKind::Transient && !error.has_successor()
}
