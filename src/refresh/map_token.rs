//! [`MapToken`].

use std::fmt;

use super::{RefreshContext, RefreshError, Refresher};
use crate::{panics::catch_panic, token::Token};

/// Maps a refresher's tokens; see [`RefresherExt`](crate::RefresherExt::map_token).
#[derive(Clone)]
pub struct MapToken<R, F> {
    inner: R,
    map: F,
}

// === impl MapToken ===

impl<R, F> MapToken<R, F> {
    pub(super) fn new(inner: R, map: F) -> Self {
        Self { inner, map }
    }
}

impl<R, F> Refresher for MapToken<R, F>
where
    R: Refresher,
    F: Fn(Token) -> Result<Token, RefreshError> + Send + Sync + 'static,
{
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let token = self.inner.refresh(cx).await?;
        // The refresh token that was presented may be used up, whatever becomes of this one's token.
        let successor = token.refresh_secret().cloned();
        let stands_alone = token.stands_alone();
        let panicked = || Err(RefreshError::unexplained(PANICKED).with_log_message(PANICKED));
        match catch_panic(|| (self.map)(token)).unwrap_or_else(panicked) {
            Ok(mut token) => {
                token.inherit_refresh_token(successor.as_ref());
                Ok(if stands_alone { token.standing_alone() } else { token })
            }
            Err(error) if error.has_successor() => Err(error),
            Err(error) => Err(error.with_successor(successor)),
        }
    }
}

impl<R: fmt::Debug, F> fmt::Debug for MapToken<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapToken").field("inner", &self.inner).finish_non_exhaustive()
    }
}

const PANICKED: &str = "the closure of `map_token` panicked";
