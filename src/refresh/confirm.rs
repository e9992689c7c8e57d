//! A refresher that asks twice before a grant is given up.

use std::time::Duration;

use super::{RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// A refresher that asks twice before a grant is given up; see
/// [`RefresherExt`](crate::RefresherExt::confirm_grant_ended).
#[derive(Clone, Debug)]
pub struct ConfirmGrantEnded<R> {
    inner: R,
    pause: Duration,
}

// === impl ConfirmGrantEnded ===

impl<R> ConfirmGrantEnded<R> {
    pub(super) fn new(inner: R, pause: Duration) -> Self {
        Self { inner, pause: pause.min(LONGEST_PAUSE) }
    }
}

impl<R: Refresher> Refresher for ConfirmGrantEnded<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        match self.inner.refresh(cx.clone()).await {
            Err(error) if error.is_grant_ended() => {}
            result => return result,
        }
        cx.clock().sleep(self.pause).map_err(RefreshError::misconfigured)?.await;
        self.inner.refresh(cx).await
    }
}

/// Both exchanges are to fit into a flight and into the patience of those who wait: a flight that its limit cuts off says
/// nothing of the grant, and would never end it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
