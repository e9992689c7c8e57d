//! Token exchange (RFC 8693).

use std::borrow::Cow;

use super::{client::Client, grant::Grant, grant_params::GrantParams};
use crate::{
    endpoint::PerCall,
    refresh::{RefreshContext, RefreshError, Refresher},
    token::{Secret, Token},
};

/// Token exchange (RFC 8693). Created by [`Client::token_exchange_grant`].
#[derive(Clone, Debug)]
#[must_use]
pub struct TokenExchangeGrant {
    grant: Grant,
    subject_token: PerCall<Secret>,
    subject_token_type: Cow<'static, str>,
    actor_token: Option<(PerCall<Secret>, Cow<'static, str>)>,
    requested_token_type: Option<Cow<'static, str>>,
}

// === impl Client ===

impl Client {
    /// Creates a refresher that exchanges another token, the subject token (RFC 8693), as workload identities and
    /// services that act for a user do. A closure obtains it for each call;
    /// surrounding whitespace is trimmed.
    ///
    /// If the closure fails, no request is sent, and its error is that of the refresh: if the user has to sign in
    /// for a new subject token, return [`grant_ended`](RefreshError::grant_ended).
    ///
    /// # What is sent
    ///
    /// `grant_type=urn:ietf:params:oauth:grant-type:token-exchange`, `subject_token`, `subject_token_type` and
    /// what the setters add. If a response has a refresh token, the next refresh sends
    /// `grant_type=refresh_token` with that instead; without one, or if the endpoint refuses it with
    /// `invalid_grant`, a new exchange. All requests carry the client's scopes, `resource`, `audience` and extra
    /// parameters.
    ///
    /// An endpoint that refuses the subject token ends no session, as it may accept the next one: `invalid_request`
    /// (RFC 8693 §2.2.2) is unexplained, and `invalid_grant` counts as misconfiguration. A response with the token
    /// type `N_A` (RFC 8693 §2.2.1) needs the client's [`scheme`](Self::scheme).
    ///
    /// # Examples
    ///
    /// A workload's own token, which its platform writes to a file:
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefreshError, Refresher, oauth2::Client};
    ///
    /// fn refresher(client: &Client) -> impl Refresher {
    ///     client
    ///         .clone()
    ///         .audience("https://api.example.com")
    ///         .token_exchange_grant(|_: RefreshContext| async {
    ///             std::fs::read_to_string("/var/run/secrets/token").map_err(RefreshError::transient)
    ///         })
    ///         .subject_token_type("urn:ietf:params:oauth:token-type:jwt")
    /// }
    /// ```
    pub fn token_exchange_grant<F, Fut>(&self, subject_token: F) -> TokenExchangeGrant
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        TokenExchangeGrant {
            grant: Grant::new(self, false),
            subject_token: PerCall::new(subject_token, Secret::trimmed),
            subject_token_type: ACCESS_TOKEN.into(),
            actor_token: None,
            requested_token_type: None,
        }
    }
}

// === impl TokenExchangeGrant ===

impl TokenExchangeGrant {
    /// Sets the type of the subject token.
    ///
    /// Default: `urn:ietf:params:oauth:token-type:access_token`. RFC 8693 §3 lists the others.
    pub fn subject_token_type(mut self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.subject_token_type = uri.into();
        self
    }

    /// Adds the token of the party that acts for the subject, obtained for each call, and its type.
    pub fn actor_token<F, Fut>(mut self, uri: impl Into<Cow<'static, str>>, actor_token: F) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        self.actor_token = Some((PerCall::new(actor_token, Secret::trimmed), uri.into()));
        self
    }

    /// Sets the type of token to request.
    ///
    /// Default: the endpoint decides. The one issued is the token's extra `issued_token_type`.
    pub fn requested_token_type(mut self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.requested_token_type = Some(uri.into());
        self
    }
}

impl Refresher for TokenExchangeGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        if let Some(result) = self.grant.refresh(&cx).await {
            return result;
        }
        let cx = cx.without_refresh_token();
        let subject_token = self.subject_token.make(&cx).await?;
        let mut params = GrantParams::new(GRANT_TYPE)
            .secret("subject_token", subject_token)
            .param("subject_token_type", &*self.subject_token_type);
        if let Some((actor_token, uri)) = &self.actor_token {
            let actor_token = actor_token.make(&cx).await?;
            params = params.secret("actor_token", actor_token).param("actor_token_type", &**uri);
        }
        if let Some(uri) = &self.requested_token_type {
            params = params.param("requested_token_type", &**uri);
        }
        self.grant.run(&cx, params).await
    }
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
