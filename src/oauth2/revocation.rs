//! Token revocation (RFC 7009).

use super::client::Client;
use crate::{
    endpoint::{EndpointUrl, InvalidEndpoint, PreparedRevocation, Revocation, TokenHint},
    refresh::RefreshContext,
};

// === impl Client ===

impl Client {
    /// Creates a revocation for this client (RFC 7009), with the same settings.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback.
    pub fn revocation<U>(&self, revocation_endpoint: U) -> Result<Revocation, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
    {
        let client = self.clone();
        let hints = &[TokenHint::RefreshToken, TokenHint::AccessToken];
        Revocation::try_new(revocation_endpoint, hints, move || {
            let client = client.clone();
            async move {
                // No refresh runs: the closures see an empty context.
                let client = client.prepared(&RefreshContext::default()).await?;
                Ok(PreparedRevocation::new(client.endpoint.clone(), move |url, tokens, hint| {
                    let token = hint.of(tokens).unwrap_or_default();
                    // RFC 7009 §2.1
                    let hint = match hint {
                        TokenHint::RefreshToken => "refresh_token",
                        TokenHint::AccessToken => "access_token",
                    };
                    let params = [("token", token), ("token_type_hint", hint)];
                    client.request(url, params.into_iter(), |_| false)
                }))
            }
        })
    }
}
