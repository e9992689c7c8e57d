//! Token revocation (RFC 7009).

use super::client::Client;
use crate::endpoint::{EndpointUrl, InvalidEndpointUrl, Revocation, TokenHint};

// === impl Client ===

impl Client {
    /// Creates a revoker for this client's tokens (RFC 7009).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is invalid or insecure.
    pub fn revocation<U>(&self, revocation_endpoint: U) -> Result<Revocation, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        let client = self.clone();
        let hints = &[TokenHint::RefreshToken, TokenHint::AccessToken];
        Revocation::try_new(self.endpoint.clone(), revocation_endpoint, hints, move |url, token, hint| {
            let hint = match hint {
                TokenHint::RefreshToken => "refresh_token",
                TokenHint::AccessToken => "access_token",
            };
            let params = [("token", token), ("token_type_hint", hint)];
            client.request(url, params.into_iter(), |_| false)
        })
    }
}
