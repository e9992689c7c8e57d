//! Tokens to revoke.

use std::fmt;

use super::{Secret, Token};

/// The tokens a session had when it was signed out, or those of a [`Token`].
///
/// Returned by [`Session::sign_out`](crate::Session::sign_out). A session that was given only a refresh token
/// and hasn't used it yet has no access token; a signed-out session has neither.
#[derive(Clone, Default)]
#[must_use = "the tokens stay valid unless they are revoked"]
pub struct RevocableTokens {
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
}

// === impl RevocableTokens ===

impl RevocableTokens {
    pub(crate) fn new(token: Option<&Token>, refresh_token: Option<Secret>) -> Self {
        let access_token = token.map(|token| Secret::new(token.access_token().to_owned()));
        Self { access_token, refresh_token }
    }

    #[cfg(feature = "store")]
    pub(crate) fn of_secrets(access_token: Option<Secret>, refresh_token: Option<Secret>) -> Self {
        Self { access_token, refresh_token }
    }

    /// The access token.
    pub fn access_token(&self) -> Option<&str> {
        self.access_token.as_ref().map(Secret::expose)
    }

    /// The current refresh token.
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    /// Whether there is nothing to revoke.
    pub fn is_empty(&self) -> bool {
        self.access_token.is_none() && self.refresh_token.is_none()
    }
}

impl From<&Token> for RevocableTokens {
    fn from(token: &Token) -> Self {
        Self::new(Some(token), token.refresh_secret().cloned())
    }
}

impl From<Token> for RevocableTokens {
    fn from(token: Token) -> Self {
        Self::from(&token)
    }
}

impl fmt::Debug for RevocableTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocableTokens")
            .field("has_access_token", &self.access_token.is_some())
            .field("has_refresh_token", &self.refresh_token.is_some())
            .finish()
    }
}
