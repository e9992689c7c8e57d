//! The route by which a backend takes a refresh token back.

use std::{future::Future, pin::Pin};

use super::endpoint::JsonEndpoint;
use crate::{
    endpoint::{EndpointError, EndpointUrl, InvalidEndpointUrl},
    rt::SystemClock,
    token::{RevocableTokens, Token},
};

/// Posts a refresh token to the route that takes it back, as simplejwt's `…/token/blacklist/` does; made by
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
    /// Makes what takes refresh tokens back by another route, which is sent the same members and headers.
    ///
    /// # Errors
    ///
    /// As the constructors'.
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
    /// Takes the refresh token back. A credential without one is left as it is. That the backend knows it no more
    /// (by the verdicts of its endpoint) is no error.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] where the endpoint couldn't be asked, or refused.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped may have revoked or not.
    pub async fn revoke(&self, credential: impl Into<RevocableTokens>) -> Result<(), EndpointError> {
        let credential = credential.into();
        let Some(refresh_token) = credential.refresh_token() else { return Ok(()) };
        let make = |url: &_| self.endpoint.request(url, Some(refresh_token));
        self.endpoint.exchange.run_for_status(&SystemClock, refresh_token, &make).await
    }

    /// For [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
    pub fn into_hook(self) -> impl Fn(Token) -> RevokeFuture + Send + Sync + 'static {
        move |token| {
            let this = self.clone();
            Box::pin(async move { this.revoke(token).await })
        }
    }
}

type RevokeFuture = Pin<Box<dyn Future<Output = Result<(), EndpointError>> + Send>>;
