//! [`KeepExtras`].

use std::sync::Arc;

use super::{RefreshContext, RefreshError, Refresher};
use crate::token::Token;

/// Keeps fields of the current token that a response lacks; see
/// [`RefresherExt`](crate::RefresherExt::keep_extras).
#[derive(Clone, Debug)]
pub struct KeepExtras<R> {
    inner: R,
    names: Arc<[String]>,
}

// === impl KeepExtras ===

impl<R> KeepExtras<R> {
    pub(super) fn new(inner: R, names: Arc<[String]>) -> Self {
        Self { inner, names }
    }
}

impl<R: Refresher> Refresher for KeepExtras<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let current = cx.token().cloned();
        let mut token = self.inner.refresh(cx).await?;
        if let Some(current) = current {
            for name in &*self.names {
                token.inherit_extra(name, &current);
            }
        }
        Ok(token)
    }
}
