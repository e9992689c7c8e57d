//! Takes tokens back (RFC 7009).

use std::{future::Future, pin::Pin};

use super::client::Client;
use crate::{
    endpoint::{EndpointError, EndpointUrl, InvalidEndpointUrl},
    rt::SystemClock,
    token::{RevocableTokens, Token},
};

/// Revokes tokens at a revocation endpoint (RFC 7009); made by [`Client::revocation`].
///
/// # Examples
///
/// ```
/// # use tower_reauth::{Session, Token, endpoint::{EndpointError, InvalidEndpointUrl, RequestBody}, oauth2};
/// # async fn example(client: oauth2::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let revocation = client.revocation("https://id.example.com/revoke")?;
/// let session = Session::builder(client.refresh_token_grant())
///     // What a refresh brings after the user signed out.
///     .revoke_with(revocation.clone().into_hook())
///     .build();
///
/// // Signing out, and taking back what the session had.
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
    /// Makes what revokes this client's tokens at a revocation endpoint (RFC 7009).
    ///
    /// # Errors
    ///
    /// As the constructors'.
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
    /// Revokes a credential: its refresh token first, then its access token, which not each server takes back with it.
    /// An empty one is left as it is.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] where the endpoint couldn't be asked or refused; not where it can't revoke access tokens
    /// (`unsupported_token_type`). A token that is dead already is no error (RFC 7009 §2.2).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped may have revoked or not.
    pub async fn revoke(&self, credential: impl Into<RevocableTokens>) -> Result<(), EndpointError> {
        let credential = credential.into();
        let refresh_token = match credential.refresh_token() {
            Some(refresh_token) => self.revoke_one(refresh_token, "refresh_token").await,
            None => Ok(()),
        };
        // Also where that failed: the less is left alive, the better.
        let Some(access_token) = credential.access_token() else { return refresh_token };
        match self.revoke_one(access_token, "access_token").await {
            Err(error) if error.code() == Some("unsupported_token_type") => refresh_token,
            access_token => refresh_token.and(access_token),
        }
    }

    /// For [`SessionBuilder::revoke_with`](crate::SessionBuilder::revoke_with).
    pub fn into_hook(self) -> impl Fn(Token) -> RevokeFuture + Send + Sync + 'static {
        move |token| {
            let this = self.clone();
            Box::pin(async move { this.revoke(token).await })
        }
    }

    async fn revoke_one(&self, token: &str, hint: &str) -> Result<(), EndpointError> {
        let params = [("token", token), ("token_type_hint", hint)];
        let client = &self.client;
        client
            .exchange
            .run_for_status(&SystemClock, token, &|url| client.request(url, params.into_iter()))
            .await
    }
}

type RevokeFuture = Pin<Box<dyn Future<Output = Result<(), EndpointError>> + Send>>;
