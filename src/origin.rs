//! Where a token may go.
//!
//! A token goes over `https`, or to this machine; and where origins are given, to those alone.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::error::{Error, Kind};

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
/// # Ok::<(), tower_reauth::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// The text is no origin: it should look like `https://api.example.com` or `http://localhost:8080`.
#[derive(Clone, Debug)]
pub struct InvalidOrigin(());

/// What the user said about destinations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations {
    /// Empty: all.
    pub(crate) allowed: Vec<Origin>,
    /// Where a request goes whose URI names no host.
    pub(crate) assumed: Option<Origin>,
    pub(crate) allow_cleartext: bool,
    /// A request whose URI names no host goes over a connection that is known to be right.
    pub(crate) trust_connection: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Allowed,
    /// Not one of the user's: the request is sent without a token.
    Foreign,
}

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
    fn matches(&self, scheme: &Scheme, authority: &Authority) -> bool {
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

// === impl Destinations ===

impl Destinations {
    /// Whether a token may be sent to `uri`. Asked before each sending.
    #[inline]
    pub(crate) fn judge(&self, uri: &Uri) -> Result<Destination, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return self.judge_partial(uri);
        };
        if !self.allowed.is_empty() && !self.allowed.iter().any(|origin| origin.matches(scheme, authority)) {
            return Ok(Destination::Foreign);
        }
        // The host is looked for only where it matters: that costs more than all else here.
        if *scheme == Scheme::HTTPS {
            return Ok(Destination::Allowed);
        }
        self.judge_transport(scheme.as_str(), authority.host())
    }

    #[cold]
    fn judge_partial(&self, uri: &Uri) -> Result<Destination, Error> {
        match uri.authority() {
            None => self.judge_assumed(),
            // As in `CONNECT host:port`: a host that isn't known to be spoken to safely.
            Some(_) if !self.allowed.is_empty() => Ok(Destination::Foreign),
            Some(authority) => self.judge_transport("", authority.host()),
        }
    }

    fn judge_assumed(&self) -> Result<Destination, Error> {
        let Some(origin) = &self.assumed else {
            let trusted = self.trust_connection.then_some(Destination::Allowed);
            return trusted.ok_or_else(|| Error::new(Kind::NoAuthority));
        };
        if !self.allowed.is_empty() && !self.allowed.contains(origin) {
            return Ok(Destination::Foreign);
        }
        self.judge_transport(&origin.scheme, &origin.host)
    }

    #[inline]
    fn judge_transport(&self, scheme: &str, host: &str) -> Result<Destination, Error> {
        if scheme == "https" || self.allow_cleartext || scheme == "wss" || is_loopback(host) {
            Ok(Destination::Allowed)
        } else {
            Err(Error::new(Kind::Cleartext))
        }
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let suffix = host.len().checked_sub("localhost".len()).and_then(|at| host.split_at_checked(at));
            suffix.is_some_and(|(rest, name)| {
                name.eq_ignore_ascii_case("localhost") && (rest.is_empty() || rest.ends_with('.'))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(destinations: &Destinations, uri: &str) -> &'static str {
        match destinations.judge(&uri.parse().unwrap()) {
            Ok(Destination::Allowed) => "allowed",
            Ok(Destination::Foreign) => "foreign",
            Err(error) if error.is_cleartext() => "cleartext",
            Err(error) if error.is_no_authority() => "no authority",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn p15_an_origin_with_a_wildcard_is_none() {
        assert!("https://*.example.com".parse::<Origin>().is_err());
    }

    #[test]
    fn p15_cleartext_goes_to_this_machine_alone() {
        let default = Destinations::default();
        for uri in [
            "https://api.example.com/a",
            "HTTPS://api.example.com",
            "wss://api.example.com/",
            "http://127.0.0.1:8080/",
            "http://127.9.9.9/",
            "http://[::1]:80/",
            "http://localhost/",
            "http://LOCALHOST:1/",
            "http://api.localhost/",
        ] {
            assert_eq!(judge(&default, uri), "allowed", "{uri}");
        }
        for uri in [
            "http://api.example.com/",
            "http://10.0.0.1/",
            "http://[::2]/",
            "http://notlocalhost/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1@evil.example/",
            "http://localhost:80@evil.example/",
            "ws://api.example.com/",
            "ftp://api.example.com/",
        ] {
            assert_eq!(judge(&default, uri), "cleartext", "{uri}");
        }
        let dangerous = Destinations { allow_cleartext: true, ..Destinations::default() };
        assert_eq!(judge(&dangerous, "http://api.example.com/"), "allowed");
    }

    #[test]
    fn p15_outside_the_allowed_origins_nothing_is_put_on() {
        let allowed =
            vec!["https://api.example.com".parse().unwrap(), "http://internal:8080".parse().unwrap()];
        let destinations = Destinations { allowed, ..Destinations::default() };
        assert_eq!(judge(&destinations, "https://api.example.com/x?y"), "allowed");
        assert_eq!(judge(&destinations, "https://API.example.com:443/"), "allowed");
        for uri in [
            "https://api.example.com:8443/",
            "http://api.example.com/",
            "https://api.example.com.evil.example/",
            "https://evil.example/",
            "https://api.example.com@evil.example/",
            "http://localhost/",
        ] {
            assert_eq!(judge(&destinations, uri), "foreign", "{uri}");
        }
        assert_eq!(judge(&destinations, "http://internal:8080/"), "cleartext");
    }

    #[test]
    fn p15_without_a_host_the_assumed_origin_counts() {
        let mut destinations = Destinations::default();
        assert_eq!(judge(&destinations, "/path"), "no authority");
        destinations.assumed = Some("https://api.example.com".parse().unwrap());
        assert_eq!(judge(&destinations, "/path"), "allowed");
        destinations.assumed = Some("http://api.example.com".parse().unwrap());
        assert_eq!(judge(&destinations, "/path"), "cleartext");
        destinations.allowed = vec!["https://other.example".parse().unwrap()];
        assert_eq!(judge(&destinations, "/path"), "foreign");
    }

    #[test]
    fn p15_a_host_without_a_scheme_is_not_the_assumed_origin() {
        let api: Origin = "https://api.example.com".parse().unwrap();
        let mut destinations = Destinations { assumed: Some(api.clone()), ..Destinations::default() };
        assert_eq!(judge(&destinations, "evil.example:443"), "cleartext");
        destinations.allowed = vec![api];
        assert_eq!(judge(&destinations, "evil.example:443"), "foreign");
    }

    #[test]
    fn p14_an_invalid_origin_is_not_shown() {
        let error = "https://user:SENTINEL@a.example".parse::<Origin>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SENTINEL"));
    }

    #[test]
    fn an_origin_has_no_path_and_no_user() {
        for text in ["https://a.example/path", "https://u@a.example", "a.example", "", "https://", "foo://a"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
