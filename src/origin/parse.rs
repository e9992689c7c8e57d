//! [`Origin`].

use std::{fmt, str::FromStr};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

/// A scheme, a host and a port: what a token may be sent to (RFC 9110 §4.3.1, RFC 6454).
///
/// # Examples
///
/// ```
/// use tower_reauth::Origin;
///
/// let origin: Origin = "https://API.example.com/".parse()?;
/// assert_eq!(origin.to_string(), "https://api.example.com:443");
/// assert!("api.example.com".parse::<Origin>().is_err());
/// # Ok::<(), tower_reauth::origin::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub(super) scheme: String,
    pub(super) host: String,
    port: u16,
}

/// The text is no origin: it should look like `https://api.example.com` or `http://localhost:8080`.
#[derive(Clone, Debug)]
pub struct InvalidOrigin(());

// === impl Origin ===

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?;
        let authority = uri.authority()?;
        // A port that is none, as in `h:99999`, is not left out either.
        let is_told = authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        let port = if is_told { authority.port_u16()? } else { default_port(scheme)? };
        let host = authority.host();
        if host.is_empty() {
            return None;
        }
        Some(Self { scheme: scheme.to_owned(), host: host.to_ascii_lowercase(), port })
    }

    #[inline]
    pub(super) fn matches(&self, scheme: &Scheme, authority: &Authority) -> bool {
        if scheme.as_str() != self.scheme {
            return false;
        }
        let default = default_port(&self.scheme);
        // Without a user and a port there is nothing to be taken apart, which costs more than all else here.
        if authority.as_str() == self.host && default == Some(self.port) {
            return true;
        }
        authority.port_u16().or(default) == Some(self.port)
            && authority.host().eq_ignore_ascii_case(&self.host)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" | "wss" => Some(443),
        "http" | "ws" => Some(80),
        _ => None,
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        // It would match nothing.
        if text.contains('*') {
            return Err(invalid());
        }
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        Self::of(&uri).filter(|_| is_bare && !has_user).ok_or_else(invalid)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

// === impl InvalidOrigin ===

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the text: it may hold a password.
        f.write_str("no origin: it should look like https://api.example.com")
    }
}

impl std::error::Error for InvalidOrigin {}
