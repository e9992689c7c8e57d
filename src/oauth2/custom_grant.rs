//! Any other grant.

use super::{client::Client, grant::Grant, grant_params::GrantParams};
use crate::{
    endpoint::PerCall,
    refresh::{RefreshContext, RefreshError, Refresher},
    token::Token,
};

/// A grant with parameters of the user's own. Created by [`Client::custom_grant`].
#[derive(Clone, Debug)]
pub struct CustomGrant {
    grant: Grant,
    params: PerCall<GrantParams>,
}

// === impl Client ===

impl Client {
    /// Creates a refresher for any other grant, whose parameters a closure makes for each call.
    ///
    /// The closure sees why a token is needed, the current token and the challenges. If it fails, no request is
    /// sent, and its error is that of the refresh, so it says itself which kind of failure that is.
    ///
    /// # What is sent
    ///
    /// The first request has the closure's parameters. If a response has a refresh token, the next refresh sends
    /// `grant_type=refresh_token` with that, and the closure isn't called. Without a refresh token, or if the
    /// endpoint refuses it with `invalid_grant`, the closure is called again, with a context that has no refresh
    /// token. All requests carry the client's scopes, resources and extra parameters.
    ///
    /// An `invalid_grant` in response to the closure's parameters ends the session: they aren't sent again until a
    /// token is set. A request without a response is repeated once, with new parameters; the context's reason is
    /// then [`Repeated`](crate::refresh::RefreshReason::Repeated). So that no user is prompted twice, pass a grant
    /// whose closure prompts to [`or_else`](crate::RefresherExt::or_else) of a
    /// [`refresh_token_grant`](Self::refresh_token_grant): that repeats nothing, and its docs name the timeouts to
    /// raise.
    ///
    /// # Examples
    ///
    /// The password grant, for a provider that has nothing better:
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefreshError, Refresher, oauth2::{Client, GrantParams}};
    ///
    /// async fn read_password() -> std::io::Result<String> {
    ///     Ok("p".to_owned())
    /// }
    ///
    /// fn refresher(client: &Client) -> impl Refresher {
    ///     client.custom_grant(|_: RefreshContext| async {
    ///         let password = read_password().await.map_err(RefreshError::transient)?;
    ///         Ok(GrantParams::new("password").param("username", "ada").param("password", password))
    ///     })
    /// }
    /// ```
    pub fn custom_grant<F, Fut>(&self, params: F) -> CustomGrant
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<GrantParams, RefreshError>> + Send + 'static,
    {
        CustomGrant { grant: Grant::new(self, true), params: PerCall::new(params, |params| params) }
    }
}

// === impl CustomGrant ===

impl Refresher for CustomGrant {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        self.grant.run_with(cx, &self.params).await
    }
}
