//! Where a token may go.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};

use crate::error::{Error, ErrorKind};

use super::parse::Origin;

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
            return trusted.ok_or_else(|| Error::new(ErrorKind::MissingHost));
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

    fn judge(destinations: &Destinations, uri: &str) -> &'static str {
        match destinations.judge(&uri.parse().unwrap()) {
            Ok(Destination::Allowed) => "allowed",
            Ok(Destination::Foreign) => "foreign",
            Err(error) if error.is_cleartext() => "cleartext",
            Err(error) if error.is_missing_host() => "no authority",
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
