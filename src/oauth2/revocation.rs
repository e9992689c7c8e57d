//! Token revocation (RFC 7009).

use super::client::Client;
use crate::{
    endpoint::{EndpointError, EndpointUrl, InvalidEndpointUrl, RevokeFuture, RevokeHook},
    refresh::RefreshContext,
    rt::SystemClock,
    token::RevocableTokens,
};

/// Token revocation (RFC 7009). Created by [`Client::revocation`].
///
/// # Examples
///
/// ```
/// # use tower_reauth::{Session, Token, endpoint::{EndpointError, InvalidEndpointUrl, RequestBody}, oauth2};
/// # async fn example(client: oauth2::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let revocation = client.revocation("https://id.example.com/revoke")?;
/// let session = Session::builder(client.refresh_token_grant())
///     // Revokes a token that arrives after sign-out.
///     .revoke_with(revocation.clone().into_hook())
///     .build();
///
/// // Signs out and revokes the session's tokens.
/// revocation.revoke(session.sign_out()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Revocation {
    client: Client,
}

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
        let mut client = self.clone();
        client.exchange.url = revocation_endpoint.try_into().map_err(Into::into)?;
        Ok(Revocation { client })
    }
}

// === impl Revocation ===

impl Revocation {
    /// Revokes the refresh token, then the access token, which some servers keep valid.
    ///
    /// Does nothing if there is neither.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] if a request failed or was refused, except with `unsupported_token_type` for the
    /// access token. An already invalid token is not an error (RFC 7009 §2.2).
    ///
    /// # Cancel safety
    ///
    /// After a drop the tokens may or may not be revoked.
    pub async fn revoke(&self, tokens: impl Into<RevocableTokens>) -> Result<(), EndpointError> {
        let tokens = tokens.into();
        let refresh_token = match tokens.refresh_token() {
            Some(refresh_token) => self.revoke_one(refresh_token, "refresh_token").await,
            None => Ok(()),
        };
        // Even if that failed: the fewer tokens stay valid, the better.
        let Some(access_token) = tokens.access_token() else { return refresh_token };
        match self.revoke_one(access_token, "access_token").await {
            Err(error) if error.code() == Some("unsupported_token_type") => refresh_token,
            access_token => refresh_token.and(access_token),
        }
    }

    /// Converts it into a hook for [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
    pub fn into_hook(self) -> RevokeHook {
        Box::new(move |token| {
            let this = self.clone();
            RevokeFuture::new(async move { this.revoke(token).await })
        })
    }

    async fn revoke_one(&self, token: &str, hint: &str) -> Result<(), EndpointError> {
        let params = [("token", token), ("token_type_hint", hint)];
        // No refresh runs: the closures see an empty context.
        let client = self.client.prepared(&RefreshContext::default()).await;
        let client = client.map_err(EndpointError::unprepared)?;
        client
            .exchange
            .run_for_status(&SystemClock, token, &|url| client.request(url, params.into_iter()))
            .await
    }
}
