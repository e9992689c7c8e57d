//! Revocation.

use super::endpoint::JsonEndpoint;
use crate::{
    endpoint::{EndpointError, EndpointUrl, InvalidEndpointUrl, RevokeFuture, RevokeHook},
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
    /// Revokes the refresh token, if there is one.
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
        let Some(refresh_token) = tokens.refresh_token() else { return Ok(()) };
        let make = |url: &_| self.endpoint.request(url, Some(refresh_token));
        self.endpoint.exchange.run_for_status(&SystemClock, refresh_token, &make).await
    }

    /// Converts it into a hook for [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
    pub fn into_hook(self) -> RevokeHook {
        Box::new(move |token| {
            let this = self.clone();
            RevokeFuture::new(async move { this.revoke(token).await })
        })
    }
}
