//! [`Refresher`], and refreshers from closures.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::token::Token;

use super::{context::RefreshContext, error::RefreshError};

/// Obtains a new token.
///
/// A refresher is one stateless exchange: it gets the refresh token and returns the response. When it runs,
/// who waits for it and what happens with the result is up to the [`Session`](crate::Session). Use
/// [`refresh_fn`] for a closure, and [`RefresherExt`](crate::RefresherExt) for combinators.
///
/// # Implementing
///
/// Implement it as an `async fn`. It runs in its own task, one at a time per session. It should finish well
/// within the session's refresh timeout (60 s by default), and classify its errors: see [`RefreshError`]. It
/// must not ask its own session for a token: mark a request that it sends through the layered client with
/// [`SkipAuth`](crate::SkipAuth).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::{RefreshContext, RefreshError, Refresher, Token};
///
/// struct MyEndpoint;
///
/// impl Refresher for MyEndpoint {
///     async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
///         let Some(refresh_token) = cx.refresh_token() else {
///             return Err(RefreshError::grant_ended("there is no refresh token"));
///         };
///         let (access, next) = exchange(refresh_token).await.map_err(RefreshError::transient)?;
///         let token = Token::builder(access).refresh_token(next).expires_in(Duration::from_secs(300)).build()?;
///         Ok(token)
///     }
/// }
/// # async fn exchange(_: &str) -> Result<(String, String), std::io::Error> { Ok(("a".into(), "r".into())) }
/// # tokio_test::block_on(async {
/// let token = MyEndpoint.refresh(RefreshContext::builder().refresh_token("r0").build()).await?;
/// assert_eq!(token.refresh_token(), Some("r"));
/// # Ok::<(), RefreshError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Refresher`",
    label = "can't refresh a token",
    note = "implement `Refresher` with `async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError>`",
    note = "call `.refresh_token_grant()` or `.client_credentials_grant()` on an `oauth2::Client`",
    note = "use `AuthLayer::from_session` for a `Session`",
    note = "wrap a closure in `refresh_fn(|cx| async move {{ .. }})`"
)]
pub trait Refresher: Send + Sync + 'static {
    /// Obtains a new token.
    ///
    /// # Errors
    ///
    /// See [`RefreshError`] for the four kinds of failure.
    ///
    /// # Cancel safety
    ///
    /// Dropped on the session's refresh timeout or with its runtime; the outcome then counts as unknown.
    /// Dropping callers doesn't cancel it.
    fn refresh(&self, cx: RefreshContext) -> impl Future<Output = Result<Token, RefreshError>> + Send;
}

/// A refresher from a closure; see [`refresh_fn`].
#[derive(Clone, Copy)]
pub struct RefreshFn<F> {
    refresh: F,
}

/// A type-erased refresher, for layers created from a session or for choosing one at run time.
#[derive(Clone)]
pub struct AnyRefresher {
    inner: Arc<dyn ErasedRefresher>,
}

pub(crate) type BoxRefresh = Pin<Box<dyn Future<Output = Result<Token, RefreshError>> + Send>>;

trait ErasedRefresher: Send + Sync {
    fn refresh(self: Arc<Self>, cx: RefreshContext) -> BoxRefresh;
}

/// Creates a refresher from a closure.
///
/// # Examples
///
/// ```
/// use tower_reauth::{RefreshError, Token, refresh_fn};
///
/// let refresher = refresh_fn(|cx| async move {
///     let _refresh_token = cx.refresh_token();
///     Ok(Token::try_new("2YotnFZFEjr1zCsicMWpAA")?)
/// });
/// # let _ = tower_reauth::AuthLayer::new(refresher);
/// ```
pub fn refresh_fn<F, Fut>(refresh: F) -> RefreshFn<F>
where
    F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, RefreshError>> + Send,
{
    RefreshFn { refresh }
}

// === impl RefreshFn ===

impl<F, Fut> Refresher for RefreshFn<F>
where
    F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, RefreshError>> + Send,
{
    fn refresh(&self, cx: RefreshContext) -> impl Future<Output = Result<Token, RefreshError>> + Send {
        (self.refresh)(cx)
    }
}

impl<F> fmt::Debug for RefreshFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshFn").finish_non_exhaustive()
    }
}

// === impl AnyRefresher ===

impl AnyRefresher {
    /// Erases the refresher's type.
    pub fn new(refresher: impl Refresher) -> Self {
        Self { inner: Arc::new(refresher) }
    }

    pub(crate) fn call(&self, cx: RefreshContext) -> BoxRefresh {
        Arc::clone(&self.inner).refresh(cx)
    }
}

impl<R: Refresher> ErasedRefresher for R {
    fn refresh(self: Arc<Self>, cx: RefreshContext) -> BoxRefresh {
        // `refresh` is called inside the task, so that a panic before it returns its future is caught, too.
        Box::pin(async move { Refresher::refresh(&*self, cx).await })
    }
}

impl Refresher for AnyRefresher {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        self.call(cx).await
    }
}

impl fmt::Debug for AnyRefresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyRefresher").finish_non_exhaustive()
    }
}
