//! [`Revocation`], and hooks that revoke tokens.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;

use super::{
    error::EndpointError,
    settings::Endpoint,
    url::{EndpointUrl, InvalidEndpoint},
};
use crate::{
    error::BoxError,
    refresh::RefreshError,
    rt::SystemClock,
    token::{RevocableTokens, Token},
};

/// Token revocation (RFC 7009, or a JSON backend's own). Created by `oauth2::Client::revocation` and
/// `json::JsonEndpoint::revocation`.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "oauth2")]
/// # async fn example(client: tower_reauth::oauth2::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use tower_reauth::Session;
///
/// let revocation = client.revocation("https://id.example.com/revoke")?;
/// let session = Session::builder(client.refresh_token_grant())
///     // Revokes a token that arrives after sign-out.
///     .revoke_with(revocation.clone().into_hook())
///     .build();
///
/// // Signs out and revokes the session's tokens.
/// revocation.revoke(session.sign_out()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Revocation {
    url: EndpointUrl,
    /// Which tokens it revokes.
    hints: &'static [TokenHint],
    prepare: Arc<Prepare>,
}

/// The settings and the requests of one revocation, with what is made for each call.
pub(crate) struct PreparedRevocation {
    endpoint: Endpoint,
    make: Box<MakeRevocation>,
}

type Prepare = dyn Fn() -> PrepareFuture + Send + Sync;
type PrepareFuture = Pin<Box<dyn Future<Output = Result<PreparedRevocation, RefreshError>> + Send>>;

/// Builds a request that revokes a token.
type MakeRevocation =
    dyn Fn(&EndpointUrl, &RevocableTokens, TokenHint) -> Result<Request<Bytes>, BoxError> + Send + Sync;

/// The type of a token that is revoked (RFC 7009 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenHint {
    RefreshToken,
    AccessToken,
}

/// A hook for [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
pub type RevokeHook = Box<dyn Fn(Token) -> RevokeFuture + Send + Sync>;

/// The future of a [`RevokeHook`].
#[must_use = "futures do nothing unless you .await or poll them"]
pub struct RevokeFuture {
    inner: Pin<Box<dyn Future<Output = Result<(), EndpointError>> + Send>>,
}

// === impl Revocation ===

impl Revocation {
    pub(crate) fn try_new<U, Fut>(
        url: U,
        hints: &'static [TokenHint],
        prepare: impl Fn() -> Fut + Send + Sync + 'static,
    ) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
        Fut: Future<Output = Result<PreparedRevocation, RefreshError>> + Send + 'static,
    {
        let url = url.try_into().map_err(Into::into)?;
        Ok(Self { url, hints, prepare: Arc::new(move || Box::pin(prepare())) })
    }

    /// Revokes the refresh token, then the access token, which some servers keep valid. Does nothing if there
    /// is neither.
    ///
    /// A JSON endpoint revokes the refresh token, or the access token if it takes only that.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] if a request failed or was refused, except with `unsupported_token_type` for the
    /// access token. An already invalid token is not an error (RFC 7009 §2.2): a refusal counts as one if it
    /// would end the grant, see [`ErrorClassifier`](super::ErrorClassifier).
    ///
    /// # Cancel safety
    ///
    /// After a drop the tokens may or may not be revoked.
    pub async fn revoke(&self, tokens: impl Into<RevocableTokens>) -> Result<(), EndpointError> {
        let tokens = tokens.into();
        let refresh_token = self.revoke_one(&tokens, TokenHint::RefreshToken).await;
        // Even if that failed: the fewer tokens stay valid, the better.
        match self.revoke_one(&tokens, TokenHint::AccessToken).await {
            Err(error) if error.code() == Some("unsupported_token_type") => refresh_token,
            access_token => refresh_token.and(access_token),
        }
    }

    /// Converts it into a hook for [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
    pub fn into_hook(self) -> RevokeHook {
        Box::new(move |token| {
            let this = self.clone();
            RevokeFuture::new(async move { this.revoke(token).await })
        })
    }

    async fn revoke_one(&self, tokens: &RevocableTokens, hint: TokenHint) -> Result<(), EndpointError> {
        let Some(token) = hint.of(tokens).filter(|_| self.hints.contains(&hint)) else { return Ok(()) };
        let prepared = (self.prepare)().await.map_err(EndpointError::unprepared)?;
        let PreparedRevocation { mut endpoint, make } = prepared;
        endpoint.url = self.url.clone();
        endpoint.run_for_status(&SystemClock, token, &|url| make(url, tokens, hint)).await
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("url", &self.url).finish_non_exhaustive()
    }
}

// === impl PreparedRevocation ===

impl PreparedRevocation {
    pub(crate) fn new<F>(endpoint: Endpoint, make: F) -> Self
    where
        F: Fn(&EndpointUrl, &RevocableTokens, TokenHint) -> Result<Request<Bytes>, BoxError>
            + Send
            + Sync
            + 'static,
    {
        Self { endpoint, make: Box::new(make) }
    }
}

// === impl TokenHint ===

impl TokenHint {
    pub(crate) fn of(self, tokens: &RevocableTokens) -> Option<&str> {
        match self {
            Self::RefreshToken => tokens.refresh_token(),
            Self::AccessToken => tokens.access_token(),
        }
    }
}

// === impl RevokeFuture ===

impl RevokeFuture {
    fn new(future: impl Future<Output = Result<(), EndpointError>> + Send + 'static) -> Self {
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
