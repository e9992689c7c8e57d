//! The refresh token grant (RFC 6749 §6).

use super::client::Client;
use crate::{
    endpoint::EndpointError,
    refresh::{RefreshContext, RefreshError, Refresher},
    token::Token,
};

/// Exchanges the session's refresh token; made by [`Client::refresh_token_grant`].
///
/// Without one it fails as *ended*, and nothing is sent.
#[derive(Clone, Debug)]
pub struct RefreshTokenGrant {
    client: Client,
}

// === impl Client ===

impl Client {
    /// Makes a refresher that exchanges the session's refresh token (RFC 6749 §6).
    pub fn refresh_token_grant(&self) -> RefreshTokenGrant {
        RefreshTokenGrant { client: self.clone() }
    }
}

// === impl RefreshTokenGrant ===

impl Refresher for RefreshTokenGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let Some(refresh_token) = cx.presentable() else {
            return Err(RefreshError::grant_ended(EndpointError::no_refresh_token()));
        };
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.client.exchange.run(&cx, &|url| self.client.token_request(url, &grant, &cx)).await
    }
}
