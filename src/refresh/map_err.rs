//! [`MapErr`].

use std::fmt;

use super::{RefreshContext, RefreshError, Refresher};
use crate::{panics::catch_panic, token::Token};

/// Maps a refresher's errors; see [`RefresherExt`](crate::RefresherExt::map_err).
#[derive(Clone)]
pub struct MapErr<R, F> {
    inner: R,
    map: F,
}

// === impl MapErr ===

impl<R, F> MapErr<R, F> {
    pub(super) fn new(inner: R, map: F) -> Self {
        Self { inner, map }
    }
}

impl<R, F> Refresher for MapErr<R, F>
where
    R: Refresher,
    F: Fn(RefreshError) -> RefreshError + Send + Sync + 'static,
{
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        self.inner.refresh(cx).await.map_err(|error| {
            let mapped = catch_panic(|| (self.map)(error.clone())).unwrap_or_else(|| error.clone());
            // The refresh token that was presented may be used up, whatever this failure is called.
            if mapped.has_successor() { mapped } else { mapped.with_successor(error.successor().cloned()) }
        })
    }
}

impl<R: fmt::Debug, F> fmt::Debug for MapErr<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapErr").field("inner", &self.inner).finish_non_exhaustive()
    }
}
