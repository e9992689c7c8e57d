//! The destinations that a token may be sent to.

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::error::{Error, ErrorKind};

use super::{host::HostPort, parse::Origin};

/// The user's settings about destinations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations {
    /// Empty: any.
    pub(crate) allowed: Vec<Origin>,
    /// The origin of requests whose URI has no host.
    pub(crate) default: Option<Origin>,
    /// Plain `http` is allowed to any host, not only to loopback.
    pub(crate) allow_cleartext: bool,
    /// A request whose URI has no host may carry the token, as long as no origins are set.
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
            return host_port(authority).map(|_| Destination::Untrusted);
        }
        // Only parse the host if needed: that costs more than everything else here.
        if *scheme == Scheme::HTTPS {
            return Ok(Destination::Allowed);
        }
        self.check_transport(scheme.as_str(), host_port(authority)?.is_loopback())
    }

    #[cold]
    fn check_partial(&self, uri: &Uri) -> Result<Destination, Error> {
        match uri.authority() {
            None => self.check_default(),
            // As in `CONNECT host:port`: the connection to that host isn't known to be encrypted.
            Some(_) if !self.allowed.is_empty() => Ok(Destination::Untrusted),
            Some(authority) => self.check_transport("", host_port(authority)?.is_loopback()),
        }
    }

    fn check_default(&self) -> Result<Destination, Error> {
        let Some(origin) = &self.default else {
            // A connection to an unknown origin doesn't satisfy the restriction.
            let is_trusted = self.trusts_connection && self.allowed.is_empty();
            return if is_trusted {
                Ok(Destination::Allowed)
            } else {
                Err(Error::new(ErrorKind::MissingHost))
            };
        };
        if !self.allowed.is_empty() && !self.allowed.contains(origin) {
            return Ok(Destination::Untrusted);
        }
        self.check_transport(&origin.scheme, origin.host_port().is_loopback())
    }

    #[inline]
    fn check_transport(&self, scheme: &str, is_loopback: bool) -> Result<Destination, Error> {
        if scheme == "https" || self.allow_cleartext || scheme == "wss" || is_loopback {
            Ok(Destination::Allowed)
        } else {
            Err(Error::new(ErrorKind::Cleartext))
        }
    }
}

fn host_port(authority: &Authority) -> Result<HostPort<'_>, Error> {
    HostPort::parse(authority.as_str()).ok_or_else(|| Error::new(ErrorKind::MissingHost))
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
            "http://localhost:00080/",
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
            "ws://api.example.com/",
            "ftp://api.example.com/",
        ] {
            assert_eq!(check(&destinations, uri), "cleartext", "{uri}");
        }
        let dangerous = Destinations { allow_cleartext: true, ..Destinations::default() };
        assert_eq!(check(&dangerous, "http://api.example.com/"), "allowed");
    }

    /// glibc looks them up in DNS.
    #[test]
    fn d62_names_below_localhost_are_not_loopback() {
        for uri in
            ["http://api.localhost/", "http://a.b.LOCALHOST:80/", "http://.localhost/", "http://localhost./"]
        {
            assert_eq!(check(&Destinations::default(), uri), "cleartext", "{uri}");
        }
    }

    #[test]
    fn d62_anything_but_a_plain_host_and_port_is_an_error() {
        let origins = ["https://api.example.com".parse().unwrap(), "https://[::1]".parse().unwrap()];
        let restricted = Destinations { allowed: origins.into(), ..Destinations::default() };
        for authority in [
            "[::1].evil.example",
            "[::1]x",
            "[::1]:",
            "[::1]:99999",
            "[127.0.0.1]",
            "[v1.localhost]",
            "127.0.0.1@evil.example",
            "localhost:80@evil.example",
            "localhost:99999",
            "localhost:",
            "localh%6fst",
            "api.example.com@evil.example",
            "user@api.example.com",
            "api.example.com[:1]x",
            "api.example.com:99999",
            "api.example.com:",
        ] {
            for (destinations, scheme) in [(Destinations::default(), "http"), (restricted.clone(), "https")] {
                let Ok(uri) = format!("{scheme}://{authority}/").parse::<Uri>() else { continue };
                let outcome = destinations.check(&uri);
                assert!(outcome.is_err_and(|error| error.is_missing_host()), "{uri}");
            }
        }
    }

    #[test]
    fn p15_only_allowed_origins_are_trusted() {
        let allowed =
            vec!["https://api.example.com".parse().unwrap(), "http://internal:8080".parse().unwrap()];
        let destinations = Destinations { allowed, ..Destinations::default() };
        assert_eq!(check(&destinations, "https://api.example.com/x?y"), "allowed");
        assert_eq!(check(&destinations, "https://API.example.com:443/"), "allowed");
        assert_eq!(check(&destinations, "wss://api.example.com/"), "allowed");
        assert_eq!(check(&destinations, "wss://api.example.com:8443/"), "untrusted");
        for uri in [
            "https://api.example.com:8443/",
            "http://api.example.com/",
            "https://api.example.com.evil.example/",
            "https://evil.example/",
            "http://localhost/",
        ] {
            assert_eq!(check(&destinations, uri), "untrusted", "{uri}");
        }
        assert_eq!(check(&destinations, "http://internal:8080/"), "cleartext");
        assert_eq!(check(&destinations, "ws://internal:8080/"), "cleartext");
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
    fn d38_a_connection_is_trusted_only_without_origins() {
        let mut destinations = Destinations { trusts_connection: true, ..Destinations::default() };
        assert_eq!(check(&destinations, "/path"), "allowed");
        destinations.allowed = vec!["https://api.example.com".parse().unwrap()];
        assert_eq!(check(&destinations, "/path"), "missing host");
        destinations.default = Some("https://other.example".parse().unwrap());
        assert_eq!(check(&destinations, "/path"), "untrusted");
        destinations.default = Some("https://api.example.com".parse().unwrap());
        assert_eq!(check(&destinations, "/path"), "allowed");
        destinations.allowed = Vec::new();
        destinations.default = Some("http://other.example".parse().unwrap());
        assert_eq!(check(&destinations, "/path"), "cleartext");
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

    #[test]
    fn d62_an_origin_is_a_plain_host_and_port() {
        for origin in [
            "https://api.example.com[:1]x",
            "https://api.example.com[:1]",
            "https://[::1].evil.example",
            "https://[::1]x:443",
            "https://api.example.com:99999",
            "https://api.example.com:",
            "https://api%2eexample.com",
            "https://[api.example.com]",
            &format!("https://{}", "a".repeat(254)),
        ] {
            assert!(Origin::try_from(origin).is_err(), "{origin}");
        }
        for (origin, shown) in [
            ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
            ("http://my_service:8080", "http://my_service:8080"),
            ("https://10.0.0.1:65535/", "https://10.0.0.1:65535"),
        ] {
            assert_eq!(Origin::try_from(origin).unwrap().to_string(), shown);
        }
    }
}
