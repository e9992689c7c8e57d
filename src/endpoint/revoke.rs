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
    url::{EndpointUrl, InvalidEndpointUrl},
};
use crate::{
    error::BoxError,
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
    endpoint: Endpoint,
    /// Which tokens it revokes.
    hints: &'static [TokenHint],
    make: Arc<MakeRevocation>,
}

/// Builds a request that revokes a token.
type MakeRevocation = dyn Fn(&EndpointUrl, &str, TokenHint) -> Result<Request<Bytes>, BoxError> + Send + Sync;

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
    pub(crate) fn try_new<U>(
        mut endpoint: Endpoint,
        url: U,
        hints: &'static [TokenHint],
        make: impl Fn(&EndpointUrl, &str, TokenHint) -> Result<Request<Bytes>, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        endpoint.url = url.try_into().map_err(Into::into)?;
        Ok(Self { endpoint, hints, make: Arc::new(make) })
    }

    /// Revokes the refresh token, then the access token, which some servers keep valid. Does nothing if there
    /// is neither.
    ///
    /// A JSON endpoint revokes only the refresh token.
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
        let refresh_token = self.revoke_one(tokens.refresh_token(), TokenHint::RefreshToken).await;
        // Even if that failed: the fewer tokens stay valid, the better.
        match self.revoke_one(tokens.access_token(), TokenHint::AccessToken).await {
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

    async fn revoke_one(&self, token: Option<&str>, hint: TokenHint) -> Result<(), EndpointError> {
        let Some(token) = token.filter(|_| self.hints.contains(&hint)) else { return Ok(()) };
        self.endpoint.run_for_status(&SystemClock, token, &|url| (self.make)(url, token, hint)).await
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("endpoint", &self.endpoint).finish_non_exhaustive()
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
