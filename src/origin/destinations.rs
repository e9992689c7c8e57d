//! Which destinations a token may be sent to.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};

use crate::error::{Error, ErrorKind};

use super::parse::Origin;

/// The user's settings about destinations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations {
    /// Empty: any.
    pub(crate) allowed: Vec<Origin>,
    /// The origin of requests whose URI has no host.
    pub(crate) default: Option<Origin>,
    pub(crate) allow_cleartext: bool,
    /// A request whose URI has no host may carry the token without a default origin.
    pub(crate) trusts_connection: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Allowed,
    /// Not one of the allowed origins: the request is sent without the token.
    Untrusted,
}

// === impl Destinations ===

impl Destinations {
    /// Whether a token may be sent to `uri`. Checked before each attempt.
    #[inline]
    pub(crate) fn check(&self, uri: &Uri) -> Result<Destination, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return self.check_partial(uri);
        };
        if !self.allowed.is_empty() && !self.allowed.iter().any(|origin| origin.matches(scheme, authority)) {
            return Ok(Destination::Untrusted);
        }
        // Only parse the host if needed: that costs more than everything else here.
        if *scheme == Scheme::HTTPS {
            return Ok(Destination::Allowed);
        }
        self.check_transport(scheme.as_str(), authority.host())
    }

    #[cold]
    fn check_partial(&self, uri: &Uri) -> Result<Destination, Error> {
        match uri.authority() {
            None => self.check_default(),
            // As in `CONNECT host:port`: the connection to that host isn't known to be encrypted.
            Some(_) if !self.allowed.is_empty() => Ok(Destination::Untrusted),
            Some(authority) => self.check_transport("", authority.host()),
        }
    }

    fn check_default(&self) -> Result<Destination, Error> {
        let Some(origin) = &self.default else {
            let trusted = self.trusts_connection.then_some(Destination::Allowed);
            return trusted.ok_or_else(|| Error::new(ErrorKind::MissingHost));
        };
        if !self.allowed.is_empty() && !self.allowed.contains(origin) {
            return Ok(Destination::Untrusted);
        }
        self.check_transport(&origin.scheme, &origin.host)
    }

    #[inline]
    fn check_transport(&self, scheme: &str, host: &str) -> Result<Destination, Error> {
        if scheme == "https" || self.allow_cleartext || scheme == "wss" || is_loopback(host) {
            Ok(Destination::Allowed)
        } else {
            Err(Error::new(ErrorKind::Cleartext))
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

    fn check(destinations: &Destinations, uri: &str) -> &'static str {
        match destinations.check(&uri.parse().unwrap()) {
            Ok(Destination::Allowed) => "allowed",
            Ok(Destination::Untrusted) => "untrusted",
            Err(error) if error.is_cleartext() => "cleartext",
            Err(error) if error.is_missing_host() => "missing host",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn p15_an_origin_with_a_wildcard_is_invalid() {
        assert!("https://*.example.com".parse::<Origin>().is_err());
    }

    #[test]
    fn p15_cleartext_is_allowed_only_to_loopback() {
        let destinations = Destinations::default();
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
            assert_eq!(check(&destinations, uri), "allowed", "{uri}");
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
            assert_eq!(check(&destinations, uri), "cleartext", "{uri}");
        }
        let dangerous = Destinations { allow_cleartext: true, ..Destinations::default() };
        assert_eq!(check(&dangerous, "http://api.example.com/"), "allowed");
    }

    #[test]
    fn p15_only_allowed_origins_are_trusted() {
        let allowed =
            vec!["https://api.example.com".parse().unwrap(), "http://internal:8080".parse().unwrap()];
        let destinations = Destinations { allowed, ..Destinations::default() };
        assert_eq!(check(&destinations, "https://api.example.com/x?y"), "allowed");
        assert_eq!(check(&destinations, "https://API.example.com:443/"), "allowed");
        for uri in [
            "https://api.example.com:8443/",
            "http://api.example.com/",
            "https://api.example.com.evil.example/",
            "https://evil.example/",
            "https://api.example.com@evil.example/",
            "http://localhost/",
        ] {
            assert_eq!(check(&destinations, uri), "untrusted", "{uri}");
        }
        assert_eq!(check(&destinations, "http://internal:8080/"), "cleartext");
    }

    #[test]
    fn p15_without_a_host_the_default_origin_is_checked() {
        let mut destinations = Destinations::default();
        assert_eq!(check(&destinations, "/path"), "missing host");
        destinations.default = Some("https://api.example.com".parse().unwrap());
        assert_eq!(check(&destinations, "/path"), "allowed");
        destinations.default = Some("http://api.example.com".parse().unwrap());
        assert_eq!(check(&destinations, "/path"), "cleartext");
        destinations.allowed = vec!["https://other.example".parse().unwrap()];
        assert_eq!(check(&destinations, "/path"), "untrusted");
    }

    #[test]
    fn p15_a_host_without_a_scheme_is_not_the_default_origin() {
        let api: Origin = "https://api.example.com".parse().unwrap();
        let mut destinations = Destinations { default: Some(api.clone()), ..Destinations::default() };
        assert_eq!(check(&destinations, "evil.example:443"), "cleartext");
        destinations.allowed = vec![api];
        assert_eq!(check(&destinations, "evil.example:443"), "untrusted");
    }

    #[test]
    fn p14_an_invalid_origin_is_not_shown() {
        let error = "https://user:SENTINEL@a.example".parse::<Origin>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SENTINEL"));
    }

    #[test]
    fn an_origin_with_a_path_or_a_user_is_invalid() {
        for origin in
            ["https://a.example/path", "https://u@a.example", "a.example", "", "https://", "foo://a"]
        {
            assert!(Origin::try_from(origin).is_err(), "{origin}");
        }
    }
}
