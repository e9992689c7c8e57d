//! Challenges in `WWW-Authenticate` fields (RFC 9110 §11.6.1).

use std::{fmt, slice, sync::Arc};

use http::{HeaderMap, header::WWW_AUTHENTICATE};

mod lenient;
mod parser;

use parser::Parser;

/// The challenges in a response's `WWW-Authenticate` fields.
///
/// The status decides whether a token was rejected; challenges add detail: required claims, where to ask and
/// for which scope, or that a refresh won't help (RFC 6750 §3, RFC 9449 §9).
///
/// Many servers violate the grammar: conforming fields are parsed strictly, others leniently, and unreadable
/// parts are skipped, so parsing never fails. At most 16 KiB per field, 64 challenges and 64 parameters each
/// are read.
///
/// Cheap to clone. `Debug` shows schemes and counts alone, as a server may echo the token in the rest.
///
/// # Examples
///
/// Two fields, one malformed:
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// use tower_reauth::challenge::Challenges;
///
/// let mut headers = HeaderMap::new();
/// headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="a", Bearer error="invalid_token""#));
/// // Without a comma, as some gateways send it.
/// headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="b" error="invalid_token""#));
/// let challenges = Challenges::from_headers(&headers);
/// let schemes: Vec<&str> = challenges.iter().map(|challenge| challenge.scheme()).collect();
/// assert_eq!(schemes, ["Basic", "Bearer", "Bearer"]);
/// assert_eq!(challenges.iter().last().and_then(|bearer| bearer.param("realm")), Some("b"));
/// assert!(!challenges.is_step_up());
/// ```
///
/// A Docker registry:
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// use tower_reauth::challenge::Challenges;
///
/// let field = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#;
/// let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(field))]);
/// let challenges = Challenges::from_headers(&headers);
/// let bearer = challenges.find("bearer").expect("the field has a Bearer challenge");
/// assert_eq!(bearer.param("realm"), Some("https://auth.docker.io/token"));
/// assert_eq!(bearer.param("Scope"), Some("repository:a:pull"));
/// ```
///
/// Step-up, and a missing DPoP nonce:
///
/// ```
/// # use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// # use tower_reauth::challenge::Challenges;
/// let parse = |field| {
///     Challenges::from_headers(&HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(field))]))
/// };
/// assert!(parse(r#"Bearer error="insufficient_scope", scope="files:write""#).is_step_up());
/// assert!(parse(r#"Bearer error="insufficient_user_authentication", max_age="5""#).is_step_up());
/// assert!(parse(r#"DPoP error="use_dpop_nonce""#).is_use_dpop_nonce());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Challenges {
    all: Arc<[Challenge]>,
    unreadable: bool,
}

/// One challenge: a scheme with parameters or a token68 value.
///
/// See [`Challenges`].
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    token68: Option<String>,
    params: Vec<(String, String)>,
}

// === impl Challenges ===

impl Challenges {
    /// Parses all `WWW-Authenticate` fields.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut parser = Parser::default();
        for field in headers.get_all(WWW_AUTHENTICATE) {
            parser.field(field.as_bytes());
        }
        let Parser { mut challenges, unreadable } = parser;
        challenges.retain(|challenge| !challenge.scheme.is_empty() || !challenge.params.is_empty());
        Self { all: challenges.into(), unreadable }
    }

    /// The challenges, in the order of their fields.
    pub fn iter(&self) -> slice::Iter<'_, Challenge> {
        self.all.iter()
    }

    /// Whether there are no readable challenges.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether some part was malformed or exceeded the limits.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// The first challenge with this scheme, which is case-insensitive. There may be more, see
    /// [`iter`](Self::iter).
    pub fn find(&self, scheme: &str) -> Option<&Challenge> {
        self.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
    }

    /// Whether the token is valid, but its scope (RFC 6750 §3.1) or the way in which the user authenticated
    /// (RFC 9470 §3) is insufficient. A refreshed token won't help.
    ///
    /// True for `error="insufficient_scope"` and `error="insufficient_user_authentication"` with any scheme,
    /// unless the token itself is also blamed.
    pub fn is_step_up(&self) -> bool {
        let is_insufficient =
            self.has_error("insufficient_scope") || self.has_error("insufficient_user_authentication");
        is_insufficient && !self.blames_token()
    }

    /// Whether the proof sent with the token lacks the server's nonce (RFC 9449 §9); the token itself is
    /// fine.
    ///
    /// True for `error="use_dpop_nonce"` with any scheme, unless the token itself is also blamed.
    pub fn is_use_dpop_nonce(&self) -> bool {
        self.has_error("use_dpop_nonce") && !self.blames_token()
    }

    /// Whether the token is invalid (RFC 6750 §3.1), or lacks claims that a refresh adds (Entra).
    fn blames_token(&self) -> bool {
        self.has_error("invalid_token") || self.has_error("insufficient_claims")
    }

    fn has_error(&self, code: &str) -> bool {
        // A parameter must not be repeated (RFC 9110 §11.2). If it is, every value counts.
        let mut errors = self.iter().flat_map(|challenge| challenge.values("error"));
        errors.any(|error| error.trim_matches([' ', '\t', '\'']).eq_ignore_ascii_case(code))
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges")
            .field("count", &self.all.len())
            .field("first", &&self.all[..self.all.len().min(MAX_SHOWN)])
            .field("unreadable", &self.unreadable)
            .finish()
    }
}

impl<'a> IntoIterator for &'a Challenges {
    type Item = &'a Challenge;
    type IntoIter = slice::Iter<'a, Challenge>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

// === impl Challenge ===

impl Challenge {
    /// The scheme as sent; empty if missing.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The value of a parameter, unquoted; the first if repeated. The name is case-insensitive.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The token68 value used instead of parameters, as in `Negotiate`.
    pub fn token68(&self) -> Option<&str> {
        self.token68.as_deref()
    }

    fn new(scheme: &str) -> Self {
        Self { scheme: scheme.to_owned(), token68: None, params: Vec::new() }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.params().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest is chosen by the server, which may echo the token.
        let scheme = if self.scheme.len() <= MAX_SHOWN_SCHEME { &self.scheme } else { "[long]" };
        f.debug_struct("Challenge")
            .field("scheme", &scheme)
            .field("has_token68", &self.token68.is_some())
            .field("params", &self.params.len())
            .finish()
    }
}

const MAX_SHOWN: usize = 4;

/// Registered schemes are shorter.
const MAX_SHOWN_SCHEME: usize = 20;

#[cfg(test)]
mod tests;
