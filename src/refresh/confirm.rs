//! [`ConfirmGrantEnded`].

use std::time::Duration;

use super::{RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// Confirms the end of a grant with a second exchange; see
/// [`RefresherExt`](crate::RefresherExt::confirm_grant_ended).
#[derive(Clone, Debug)]
pub struct ConfirmGrantEnded<R> {
    inner: R,
    pause: Duration,
}

// === impl ConfirmGrantEnded ===

impl<R> ConfirmGrantEnded<R> {
    pub(super) fn new(inner: R, pause: Duration) -> Self {
        Self { inner, pause: pause.min(MAX_PAUSE) }
    }
}

impl<R: Refresher> Refresher for ConfirmGrantEnded<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let error = match self.inner.refresh(cx.clone()).await {
            // With a successor, the refresh token must not be presented again.
            Err(error) if error.is_grant_ended() && !error.has_successor() => error,
            result => return result,
        };
        cx.clock().sleep(self.pause).map_err(RefreshError::misconfigured)?.await;
        if !cx.is_wanted() {
            return Err(error);
        }
        self.inner.refresh(cx).await
    }
}

/// Both exchanges have to fit into the refresh timeout: a refresh that times out is an unknown outcome, and
/// the grant would never end.
const MAX_PAUSE: Duration = Duration::from_secs(30);
