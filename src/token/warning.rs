//! What was odd about an answer that brought a token all the same.

use std::{fmt, sync::Arc};

/// Something odd about an answer that brought a token all the same.
///
/// A refresher adds it to its token; the session tells it as an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// What should be the token's life can't be read: it is used until a server refuses it.
    InvalidLifetime,
    /// Where the token's life was said to be there is nothing: it is used until a server refuses it.
    MissingLifetime,
    /// The answer doesn't name a token type: it is taken for Bearer.
    MissingTokenType,
    /// Scopes that were asked for were not granted (RFC 6749 §5.1).
    #[non_exhaustive]
    MissingScopes {
        /// Which.
        scopes: Arc<[String]>,
    },
}

// === impl Warning ===

impl Warning {
    /// Names scopes that were asked for and not granted.
    pub fn missing_scopes(scopes: impl IntoIterator<Item = String>) -> Self {
        Self::MissingScopes { scopes: scopes.into_iter().collect() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidLifetime => f.write_str("the token's life can't be read"),
            Self::MissingLifetime => f.write_str("the token's life isn't where it was said to be"),
            Self::MissingTokenType => f.write_str("the answer names no token type"),
            Self::MissingScopes { scopes } => write!(f, "not granted: {}", scopes.join(" ")),
        }
    }
}
