//! [`Origin`].

use std::{fmt, str::FromStr};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use super::host::HostPort;

/// A scheme, a host and a port: a destination for tokens (RFC 9110 §4.3.1, RFC 6454).
///
/// A token is sent to an `http` origin only if it is loopback; see [`origin`](crate::origin).
///
/// # Examples
///
/// ```
/// use tower_reauth::Origin;
///
/// let origin = Origin::try_from("https://API.example.com/")?;
/// assert_eq!(origin, "https://api.example.com:443".parse()?);
/// assert!(Origin::try_from("api.example.com").is_err());
/// # Ok::<(), tower_reauth::origin::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub(super) scheme: String,
    pub(super) host: String,
    port: u16,
    /// The port is the scheme's own, so a URI may leave it out.
    is_default_port: bool,
}

/// Not a valid origin such as `https://api.example.com` or `http://localhost:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin(());

// === impl Origin ===

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?;
        let HostPort { host, port } = HostPort::parse(uri.authority()?.as_str())?;
        let port = port.or(default_port(scheme))?;
        let is_default_port = default_port(scheme) == Some(port);
        Some(Self { scheme: scheme.to_owned(), host: host.to_ascii_lowercase(), port, is_default_port })
    }

    pub(crate) fn host_port(&self) -> HostPort<'_> {
        HostPort { host: &self.host, port: Some(self.port) }
    }

    #[inline]
    pub(super) fn matches(&self, scheme: &Scheme, authority: &Authority) -> bool {
        if scheme.as_str() != self.scheme && !is_websocket_of(scheme.as_str(), &self.scheme) {
            return false;
        }
        // Fast path: parsing the authority dominates the cost here.
        if authority.as_str() == self.host {
            return self.is_default_port;
        }
        HostPort::parse(authority.as_str()).is_some_and(|HostPort { host, port }| {
            port.map_or(self.is_default_port, |port| port == self.port)
                && host.eq_ignore_ascii_case(&self.host)
        })
    }
}

/// Whether one scheme is that of WebSockets over the other (RFC 6455 §3).
#[cold]
fn is_websocket_of(scheme: &str, other: &str) -> bool {
    matches!((scheme, other), ("wss", "https") | ("https", "wss") | ("ws", "http") | ("http", "ws"))
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

    fn from_str(origin: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(());
        let uri: Uri = origin.parse().map_err(|_| invalid())?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        Self::of(&uri).filter(|_| is_bare).ok_or_else(invalid)
    }
}

impl TryFrom<&str> for Origin {
    type Error = InvalidOrigin;

    fn try_from(origin: &str) -> Result<Self, InvalidOrigin> {
        origin.parse()
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
        // Without the string, which may contain a password.
        f.write_str("invalid origin: expected something like https://api.example.com")
    }
}

impl std::error::Error for InvalidOrigin {}
