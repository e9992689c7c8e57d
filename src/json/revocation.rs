//! Revocation.

use super::endpoint::JsonEndpoint;
use crate::{
    endpoint::{EndpointError, EndpointUrl, InvalidEndpointUrl, RevokeFuture, RevokeHook},
    refresh::RefreshContext,
    rt::SystemClock,
    token::RevocableTokens,
};

/// Revokes refresh tokens, for example at simplejwt's `…/token/blacklist/`. Created by
/// [`JsonEndpoint::revocation`].
///
/// # Examples
///
/// ```
/// # use tower_reauth::{Session, json::JsonEndpoint};
/// # fn example(endpoint: JsonEndpoint) -> Result<Session, tower_reauth::endpoint::InvalidEndpointUrl> {
/// let revocation = endpoint.revocation("https://api.example.com/auth/token/blacklist/")?;
/// let session = Session::builder(endpoint).revoke_with(revocation.into_hook()).build();
/// # Ok(session)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Revocation {
    endpoint: JsonEndpoint,
}

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Creates a revoker for another URL, with the same fields and headers.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is invalid or insecure.
    pub fn revocation<U>(&self, url: U) -> Result<Revocation, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        let mut endpoint = self.clone();
        endpoint.exchange.url = url.try_into().map_err(Into::into)?;
        Ok(Revocation { endpoint })
    }
}

// === impl Revocation ===

impl Revocation {
    /// Revokes the refresh token, if there is one, or the access token, if the endpoint takes only that.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] if the request failed or was refused. An already invalid token, as the endpoint's
    /// [`ErrorClassifier`](crate::endpoint::ErrorClassifier) defines it, is not an error.
    ///
    /// # Cancel safety
    ///
    /// After a drop the token may or may not be revoked.
    pub async fn revoke(&self, tokens: impl Into<RevocableTokens>) -> Result<(), EndpointError> {
        let tokens = tokens.into();
        let (refresh_token, access_token) = (tokens.refresh_token(), tokens.access_token());
        let revoked = match (&self.endpoint.refresh_token, &self.endpoint.access_token) {
            (Some(_), _) => refresh_token,
            (None, Some(_)) => access_token,
            (None, None) => None,
        };
        let Some(revoked) = revoked else { return Ok(()) };
        // No refresh runs: the closures see an empty context.
        let endpoint = self.endpoint.prepared(&RefreshContext::default()).await;
        let endpoint = endpoint.map_err(EndpointError::unprepared)?;
        let make = |url: &_| endpoint.request(url, refresh_token, access_token);
        endpoint.exchange.run_for_status(&SystemClock, revoked, &make).await
    }

    /// Converts it into a hook for [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
    pub fn into_hook(self) -> RevokeHook {
        Box::new(move |token| {
            let this = self.clone();
            RevokeFuture::new(async move { this.revoke(token).await })
        })
    }
}
