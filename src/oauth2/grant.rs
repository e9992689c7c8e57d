//! What the grants with parameters of their own share.

use super::{client::Client, grant_params::GrantParams};
use crate::{
    endpoint::PerCall,
    refresh::{RefreshContext, RefreshError},
    token::Token,
};

/// A grant whose parameters are made for each call. A refresh token that it returned takes precedence.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    client: Client,
    /// An `invalid_grant` in response to the grant itself ends the session.
    ends: bool,
}

// === impl Grant ===

impl Grant {
    pub(super) fn new(client: &Client, ends: bool) -> Self {
        Self { client: client.clone(), ends }
    }

    /// Exchanges the refresh token, if there is one. Without one, or once it was refused, `None`: the grant
    /// itself is due.
    pub(super) async fn refresh(&self, cx: &RefreshContext) -> Option<Result<Token, RefreshError>> {
        let refresh_token = cx.presentable()?;
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        match self.client.run(cx, &grant).await {
            // With a successor, the refresh token's grant may still be alive.
            Err(error) if error.is_grant_ended() && !error.has_successor() && cx.is_wanted() => None,
            result => Some(result),
        }
    }

    pub(super) async fn run(&self, cx: &RefreshContext, params: GrantParams) -> Result<Token, RefreshError> {
        let mut client = self.client.clone();
        client.endpoint.has_no_grant = !self.ends;
        client.run(cx, &params.pairs()).await
    }

    /// The whole course of a grant whose parameters come from one closure.
    pub(super) async fn run_with(
        &self,
        cx: RefreshContext,
        make: &PerCall<GrantParams>,
    ) -> Result<Token, RefreshError> {
        if let Some(result) = self.refresh(&cx).await {
            return result;
        }
        let cx = cx.without_refresh_token();
        let params = make.make(&cx).await?;
        self.run(&cx, params).await
    }
}
