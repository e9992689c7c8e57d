//! The JWT bearer grant (RFC 7523 §2.1).

use super::{client::Client, grant::Grant, grant_params::GrantParams};
use crate::{
    endpoint::PerCall,
    refresh::{RefreshContext, RefreshError, Refresher},
    token::Token,
};

/// The JWT bearer grant (RFC 7523 §2.1). Created by [`Client::jwt_bearer_grant`].
#[derive(Clone, Debug)]
pub struct JwtBearerGrant {
    grant: Grant,
    params: PerCall<GrantParams>,
}

// === impl Client ===

impl Client {
    /// Creates a refresher that exchanges a signed assertion (RFC 7523 §2.1), as service accounts do. A closure
    /// makes the assertion for each call. The [retries](crate::endpoint#retries) of a call send the same one, as
    /// the endpoint hasn't processed it; a repeat after a lost response is a call of its own.
    ///
    /// If the closure fails, no request is sent, and its error is that of the refresh. To *authenticate the
    /// client* by an assertion, use [`client_assertion`](Self::client_assertion). A client whose ID is empty
    /// sends none, as providers of service accounts expect.
    ///
    /// # What is sent
    ///
    /// `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer` and `assertion`. If a response has a refresh
    /// token, the next refresh sends that instead; without one, or if the endpoint refuses it with
    /// `invalid_grant`, a new assertion. All requests carry the client's scopes, resources and extra parameters.
    ///
    /// An `invalid_grant` in response to an assertion counts as misconfiguration: it ends no session, as the next
    /// assertion may be accepted (its issuer's clock was wrong).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefreshError, Refresher, oauth2::Client};
    ///
    /// fn sign_claims() -> std::io::Result<String> {
    ///     Ok("header.claims.signature".to_owned())
    /// }
    ///
    /// fn refresher(client: &Client) -> impl Refresher {
    ///     client.jwt_bearer_grant(|_: RefreshContext| async {
    ///         sign_claims().map_err(RefreshError::misconfigured)
    ///     })
    /// }
    /// ```
    pub fn jwt_bearer_grant<F, Fut>(&self, assertion: F) -> JwtBearerGrant
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        let params = |assertion: String| GrantParams::new(GRANT_TYPE).param("assertion", assertion);
        JwtBearerGrant { grant: Grant::new(self, false), params: PerCall::new(assertion, params) }
    }
}

// === impl JwtBearerGrant ===

impl Refresher for JwtBearerGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        self.grant.run_with(cx, &self.params).await
    }
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
