//! The client credentials grant (RFC 6749 §4.4).

use super::client::Client;
use crate::{
    refresh::{RefreshContext, RefreshError, Refresher},
    token::Token,
};

/// Asks for a token for the client itself; made by [`Client::client_credentials_grant`].
///
/// There is no grant that could end: a refusal, `invalid_grant` included, is one of the configuration.
#[derive(Clone, Debug)]
pub struct ClientCredentialsGrant {
    client: Client,
}

// === impl Client ===

impl Client {
    /// Makes a refresher that asks for the client itself (RFC 6749 §4.4).
    pub fn client_credentials_grant(&self) -> ClientCredentialsGrant {
        let mut client = self.clone();
        client.exchange.never_ends = true;
        ClientCredentialsGrant { client }
    }
}

// === impl ClientCredentialsGrant ===

impl Refresher for ClientCredentialsGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let grant = [("grant_type", "client_credentials")];
        self.client.exchange.run(&cx, &|url| self.client.token_request(url, &grant, &cx)).await
    }
}
