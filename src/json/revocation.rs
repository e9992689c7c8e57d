//! Revocation.

use super::endpoint::JsonEndpoint;
use crate::endpoint::{EndpointUrl, InvalidEndpointUrl, Revocation, TokenHint};

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Creates a revoker of refresh tokens for another URL, such as simplejwt's `…/token/blacklist/`, with the
    /// same fields and headers.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is invalid or insecure.
    pub fn revocation<U>(&self, url: U) -> Result<Revocation, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        let endpoint = self.clone();
        Revocation::try_new(self.endpoint.clone(), url, &[TokenHint::RefreshToken], move |url, token, _| {
            endpoint.request(url, Some(token))
        })
    }
}
