//! Warnings about a token response.

use std::{fmt, sync::Arc};

/// A warning about a token response.
///
/// Added by a refresher; the session reports it as an event.
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
        }
    }
}
