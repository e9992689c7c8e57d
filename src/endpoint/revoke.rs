//! Hooks that revoke tokens.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use super::error::EndpointError;
use crate::token::Token;

/// A hook for [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
pub type RevokeHook = Box<dyn Fn(Token) -> RevokeFuture + Send + Sync>;

/// The future of a [`RevokeHook`].
#[must_use = "futures do nothing unless you .await or poll them"]
pub struct RevokeFuture {
    inner: Pin<Box<dyn Future<Output = Result<(), EndpointError>> + Send>>,
}

// === impl RevokeFuture ===

impl RevokeFuture {
    pub(crate) fn new(future: impl Future<Output = Result<(), EndpointError>> + Send + 'static) -> Self {
        Self { inner: Box::pin(future) }
    }
}

impl Future for RevokeFuture {
    type Output = Result<(), EndpointError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl fmt::Debug for RevokeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokeFuture").finish_non_exhaustive()
    }
}
