//! Values that a user's closure makes anew for each call.

use std::{fmt, pin::Pin, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::refresh::{RefreshContext, RefreshError};

/// Makes a value for each call.
pub(crate) struct PerCall<T> {
    make: Arc<dyn Fn(RefreshContext) -> MakeFuture<T> + Send + Sync>,
}

/// Headers whose values are made for each call.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadersPerCall {
    makers: Vec<(HeaderName, PerCall<HeaderValue>)>,
}

type MakeFuture<T> = Pin<Box<dyn Future<Output = Result<T, RefreshError>> + Send>>;

// === impl PerCall ===

impl<T: 'static> PerCall<T> {
    /// `convert` wraps what `make` returns, in a [`Secret`](crate::token::Secret) for example.
    pub(crate) fn new<F, Fut, U>(make: F, convert: fn(U) -> T) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<U, RefreshError>> + Send + 'static,
        U: 'static,
    {
        let make = move |cx| {
            let made = make(cx);
            Box::pin(async move { made.await.map(convert) }) as MakeFuture<T>
        };
        Self { make: Arc::new(make) }
    }

    /// Makes the value, unless the session has lost its interest meanwhile: then nothing may be sent.
    pub(crate) async fn make(&self, cx: &RefreshContext) -> Result<T, RefreshError> {
        let made = (self.make)(cx.clone()).await?;
        match cx.is_wanted() {
            true => Ok(made),
            // The session drops it. If the same refresh token were set once more, it would be right, too.
            false => Err(RefreshError::outcome_unknown("the token is no longer wanted")),
        }
    }
}

impl<T> Clone for PerCall<T> {
    fn clone(&self) -> Self {
        Self { make: Arc::clone(&self.make) }
    }
}

impl<T> fmt::Debug for PerCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCall").finish_non_exhaustive()
    }
}

// === impl HeadersPerCall ===

impl HeadersPerCall {
    pub(crate) fn add<F, Fut>(&mut self, name: HeaderName, make: F)
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderValue, RefreshError>> + Send + 'static,
    {
        self.makers.push((name, PerCall::new(make, sensitive)));
    }

    /// Adds the headers of a call to `headers`.
    pub(crate) async fn make(
        &self,
        cx: &RefreshContext,
        headers: &mut HeaderMap,
    ) -> Result<(), RefreshError> {
        for (name, maker) in &self.makers {
            headers.append(name, maker.make(cx).await?);
        }
        Ok(())
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}
