//! The client credentials grant (RFC 6749 §4.4).

use super::client::Client;
use crate::{
    refresh::{RefreshContext, RefreshError, Refresher},
    token::Token,
};

/// The client credentials grant (RFC 6749 §4.4). Created by [`Client::client_credentials_grant`].
///
/// It has no grant that could end: errors, even `invalid_grant`, count as misconfiguration.
#[derive(Clone, Debug)]
pub struct ClientCredentialsGrant {
    client: Client,
}

// === impl Client ===

impl Client {
    /// Creates a refresher for an application that acts on its own behalf (RFC 6749 §4.4).
    pub fn client_credentials_grant(&self) -> ClientCredentialsGrant {
        let mut client = self.clone();
        client.endpoint.has_no_grant = true;
        ClientCredentialsGrant { client }
    }
}

// === impl ClientCredentialsGrant ===

impl Refresher for ClientCredentialsGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let grant = [("grant_type", "client_credentials")];
        self.client.run(&cx, &grant).await
    }
}
