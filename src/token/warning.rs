//! [`Warning`].

use std::{fmt, sync::Arc, time::SystemTime};

/// A warning about a token response, or about the refresh token.
///
/// The session reports each as an event. Those about a response are added by the refresher.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// The lifetime is malformed; the token is used until a server rejects it.
    InvalidLifetime,
    /// The configured lifetime field is missing; the token is used until a server rejects it.
    MissingLifetime,
    /// No token type was given; Bearer is assumed.
    MissingTokenType,
    /// Some requested scopes were not granted (RFC 6749 §5.1).
    #[non_exhaustive]
    MissingScopes {
        /// The missing scopes.
        scopes: Arc<[String]>,
    },
    /// The refresh token expires soon: unless a refresh replaces it, the user must sign in again.
    ///
    /// Reported once for each refresh token whose
    /// [expiry](crate::Token::refresh_token_expires_at) is known, by a call in the last 10 % of its lifetime, at
    /// most 7 days before it expires. The lifetime counts from when the token was received. A call that gets a
    /// fresh access token at once doesn't check this. A refresh that moves the expiry of the same refresh token
    /// causes another warning.
    #[non_exhaustive]
    RefreshTokenExpiresSoon {
        /// When it expires.
        expires_at: SystemTime,
    },
}

// === impl Warning ===

impl Warning {
    /// Creates a warning about scopes that were requested but not granted.
    pub fn missing_scopes(scopes: impl IntoIterator<Item = String>) -> Self {
        Self::MissingScopes { scopes: scopes.into_iter().collect() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidLifetime => f.write_str("malformed token lifetime"),
            Self::MissingLifetime => f.write_str("missing token lifetime"),
            Self::MissingTokenType => f.write_str("missing token type"),
            Self::MissingScopes { scopes } => write!(f, "scopes not granted: {}", scopes.join(" ")),
            Self::RefreshTokenExpiresSoon { .. } => f.write_str(
                "refresh token expires soon: unless a refresh replaces it, the user must sign in again",
            ),
        }
    }
}
