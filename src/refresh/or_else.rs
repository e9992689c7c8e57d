//! [`OrElse`].

use super::{RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// Calls another refresher when the grant has ended; see [`RefresherExt`](crate::RefresherExt::or_else).
#[derive(Clone, Debug)]
pub struct OrElse<R, F> {
    inner: R,
    fallback: F,
}

// === impl OrElse ===

impl<R, F> OrElse<R, F> {
    pub(super) fn new(inner: R, fallback: F) -> Self {
        Self { inner, fallback }
    }
}

impl<R: Refresher, F: Refresher> Refresher for OrElse<R, F> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let error = match self.inner.refresh(cx.clone()).await {
            // With a successor, the grant may still be alive.
            Err(error) if error.is_grant_ended() && !error.has_successor() => error,
            result => return result,
        };
        if !cx.is_wanted() {
            return Err(error);
        }
        match self.fallback.refresh(cx.without_refresh_token()).await {
            // The session would repeat it at once: the user would be prompted again.
            Err(error) if error.is_outcome_unknown() => Err(RefreshError::transient(error)),
            // What was refused isn't presented again, even if this token has no refresh token.
            result => result.map(Token::standing_alone),
        }
    }
}
