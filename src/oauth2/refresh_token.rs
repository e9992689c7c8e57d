//! The refresh token grant (RFC 6749 §6).

use super::client::Client;
use crate::{
    endpoint::EndpointError,
    refresh::{RefreshContext, RefreshError, Refresher},
    token::Token,
};

/// The refresh token grant (RFC 6749 §6). Created by [`Client::refresh_token_grant`].
///
/// Without a refresh token it fails as *grant ended*, without a request.
#[derive(Clone, Debug)]
pub struct RefreshTokenGrant {
    client: Client,
}

// === impl Client ===

impl Client {
    /// Creates a refresher that exchanges the session's refresh token (RFC 6749 §6).
    pub fn refresh_token_grant(&self) -> RefreshTokenGrant {
        RefreshTokenGrant { client: self.clone() }
    }
}

// === impl RefreshTokenGrant ===

impl Refresher for RefreshTokenGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let Some(refresh_token) = cx.presentable() else {
            return Err(RefreshError::grant_ended(EndpointError::missing_refresh_token()));
        };
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.client.endpoint.run(&cx, &|url| self.client.token_request(url, &grant, &cx)).await
    }
}
