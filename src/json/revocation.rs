//! Revocation.

use super::endpoint::JsonEndpoint;
use crate::{
    endpoint::{EndpointUrl, InvalidEndpoint, PreparedRevocation, Revocation, TokenHint},
    refresh::RefreshContext,
};

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Creates a revocation for simplejwt's `…/token/blacklist/` or a similar endpoint, with the same settings.
    ///
    /// It revokes the refresh token, or the access token if the endpoint takes only that.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback.
    pub fn revocation<U>(&self, url: U) -> Result<Revocation, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
    {
        let hints: &[_] = match (&self.refresh_token, &self.access_token) {
            (Some(_), _) => &[TokenHint::RefreshToken],
            (None, Some(_)) => &[TokenHint::AccessToken],
            (None, None) => &[],
        };
        let endpoint = self.clone();
        Revocation::try_new(url, hints, move || {
            let endpoint = endpoint.clone();
            async move {
                // No refresh runs: the closures see an empty context.
                let this = endpoint.prepared(&RefreshContext::default()).await?;
                Ok(PreparedRevocation::new(this.endpoint.clone(), move |url, tokens, _| {
                    this.request(url, tokens.refresh_token(), tokens.access_token())
                }))
            }
        })
    }
}
