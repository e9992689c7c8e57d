//! [`Refresher`], and refreshers from closures.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::token::Token;

use super::{context::RefreshContext, error::RefreshError};

/// Exchanges what a session has for a new token.
///
/// It is one stateless exchange: it is told the refresh token, it brings the answer. When it is called,
/// by whom it is waited for and what becomes of its answer is the
/// [`Session`](crate::Session)'s affair. Of a closure [`refresh_fn`] makes one; [`RefresherExt`](crate::RefresherExt) has what can be put around it.
///
/// # Implementing
///
/// It is written as an `async fn`. It runs in a task of its own, at most one at a time for a session. It should end by
/// itself well within the session's limit for a flight (60 s unless set), and say what it knows of a failure: see
/// [`RefreshError`]. It must not ask its own session for a token: a request that it sends through the layered client
/// must be marked with [`SkipAuth`](crate::SkipAuth).
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
/// let answer = MyEndpoint.refresh(RefreshContext::default().with_refresh_token("r0")).await?;
/// assert_eq!(answer.refresh_token(), Some("r"));
/// # Ok::<(), RefreshError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no refresher",
    label = "this can't refresh a token",
    note = "implement `Refresher` with `async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError>`",
    note = "of an `oauth2::Client` one is made with `.refresh_token_grant()` or `.client_credentials_grant()`",
    note = "a layer of a `Session` is made with `AuthLayer::from_session`",
    note = "a closure is made one with `refresh_fn(|cx| async move {{ .. }})`"
)]
pub trait Refresher: Send + Sync + 'static {
    /// Brings a new token.
    ///
    /// # Errors
    ///
    /// One of the four ways in which a refresh fails.
    ///
    /// # Cancel safety
    ///
    /// It is dropped when it has not ended within the session's limit for a flight, or with its runtime; the session
    /// then takes the outcome for unknown. No caller's drop cancels it.
    fn refresh(&self, cx: RefreshContext) -> impl Future<Output = Result<Token, RefreshError>> + Send;
}

/// A refresher made of a closure; see [`refresh_fn`].
#[derive(Clone, Copy)]
pub struct RefreshFn<F> {
    refresh: F,
}

/// A refresher whose type is forgotten: that of a layer made from a session, or one that is chosen at run time.
#[derive(Clone)]
pub struct AnyRefresher {
    inner: Arc<dyn ErasedRefresher>,
}

pub(crate) type BoxRefresh = Pin<Box<dyn Future<Output = Result<Token, RefreshError>> + Send>>;

trait ErasedRefresher: Send + Sync {
    fn refresh(self: Arc<Self>, cx: RefreshContext) -> BoxRefresh;
}

/// Makes a refresher of a closure.
///
/// # Examples
///
/// ```
/// use tower_reauth::{RefreshError, Token, refresh_fn};
///
/// let refresher = refresh_fn(|cx| async move {
///     let _present = cx.refresh_token();
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
    /// Forgets a refresher's type: for one that is chosen at run time.
    pub fn new(refresher: impl Refresher) -> Self {
        Self { inner: Arc::new(refresher) }
    }

    pub(crate) fn call(&self, cx: RefreshContext) -> BoxRefresh {
        Arc::clone(&self.inner).refresh(cx)
    }
}

impl<R: Refresher> ErasedRefresher for R {
    fn refresh(self: Arc<Self>, cx: RefreshContext) -> BoxRefresh {
        // Also what `Refresher::refresh` does before its future exists runs in the task, within its panic guard.
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
