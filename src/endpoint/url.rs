//! [`EndpointUrl`] and [`InvalidEndpoint`].

use std::{convert::Infallible, fmt, str::FromStr};

use http::{Uri, uri::Scheme};

#[cfg(feature = "https")]
use crate::https::TlsError;
use crate::origin::Origin;

/// The URL of a token endpoint: `https`, or plain `http` to loopback (127.0.0.0/8, `::1` or `localhost`).
///
/// Functions that take one also accept strings.
///
/// # Examples
///
/// ```
/// use tower_reauth::endpoint::EndpointUrl;
///
/// assert!("https://id.example.com/token".parse::<EndpointUrl>().is_ok());
/// assert!("http://127.0.0.1:8080/token".parse::<EndpointUrl>().is_ok());
///
/// let error = "http://id.example.com/token".parse::<EndpointUrl>().unwrap_err();
/// assert!(error.is_cleartext());
/// let allowed = EndpointUrl::dangerous_allow_cleartext("http://id.example.com/token")?;
/// # let _ = allowed;
/// # Ok::<(), tower_reauth::endpoint::InvalidEndpoint>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    uri: Uri,
}

/// An endpoint that can't be used: its URL is invalid, or plain `http` to a host that isn't loopback, or
/// something that TLS needs is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint {
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Malformed,
    Cleartext,
    Fragment,
    Credentials,
    #[cfg(feature = "https")]
    Tls(TlsError),
}

// === impl EndpointUrl ===

impl EndpointUrl {
    /// Accepts any scheme: an eavesdropper can read the refresh token and the client secret.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid.
    pub fn dangerous_allow_cleartext(url: &str) -> Result<Self, InvalidEndpoint> {
        Self::parse(url)
    }

    fn parse(url: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |flaw| InvalidEndpoint { flaw };
        // RFC 6749 §3.2
        if url.contains('#') {
            return Err(invalid(Flaw::Fragment));
        }
        let uri: Uri = url.trim().parse().map_err(|_| invalid(Flaw::Malformed))?;
        let authority = uri.authority().ok_or(invalid(Flaw::Malformed))?;
        if authority.as_str().contains('@') {
            return Err(invalid(Flaw::Credentials));
        }
        if Origin::of(&uri).is_none() {
            return Err(invalid(Flaw::Malformed));
        }
        Ok(Self { uri })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    #[cfg(feature = "https")]
    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        Origin::of(&self.uri)
    }

    /// Resolves a `Location` (RFC 9110 §10.2.2) within this origin. The error is the other origin, if valid.
    pub(super) fn same_origin(&self, location: &str) -> Result<Self, Option<Origin>> {
        if location.starts_with('/') && !location.starts_with("//") {
            let mut parts = self.uri.clone().into_parts();
            parts.path_and_query = Some(location.parse().map_err(|_| None)?);
            return Ok(Self { uri: Uri::from_parts(parts).map_err(|_| None)? });
        }
        let uri: Uri = location.parse().map_err(|_| None)?;
        let target = Origin::of(&uri);
        if target.is_some() && target == Origin::of(&self.uri) { Ok(Self { uri }) } else { Err(target) }
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, as it may contain a key.
        let Self { uri } = self;
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", uri.path())
    }
}

impl FromStr for EndpointUrl {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        let this = Self::parse(url)?;
        let is_safe = this.uri.scheme() == Some(&Scheme::HTTPS)
            || this.origin().is_some_and(|origin| origin.host_port().is_loopback());
        if is_safe { Ok(this) } else { Err(InvalidEndpoint { flaw: Flaw::Cleartext }) }
    }
}

impl TryFrom<&str> for EndpointUrl {
    type Error = InvalidEndpoint;

    fn try_from(url: &str) -> Result<Self, InvalidEndpoint> {
        url.parse()
    }
}

impl TryFrom<&String> for EndpointUrl {
    type Error = InvalidEndpoint;

    fn try_from(url: &String) -> Result<Self, InvalidEndpoint> {
        url.parse()
    }
}

impl TryFrom<String> for EndpointUrl {
    type Error = InvalidEndpoint;

    fn try_from(url: String) -> Result<Self, InvalidEndpoint> {
        url.parse()
    }
}

// === impl InvalidEndpoint ===

impl InvalidEndpoint {
    /// What the built-in client needs for an `https` URL and is missing, if that is the reason.
    #[cfg(feature = "https")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https")))]
    pub fn tls_error(&self) -> Option<TlsError> {
        match self.flaw {
            Flaw::Tls(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the refresh token would be sent in cleartext to a host that isn't loopback.
    pub fn is_cleartext(&self) -> bool {
        self.flaw == Flaw::Cleartext
    }
}

#[cfg(feature = "https")]
impl From<TlsError> for InvalidEndpoint {
    fn from(error: TlsError) -> Self {
        Self { flaw: Flaw::Tls(error) }
    }
}

/// Lets functions accept both [`EndpointUrl`]s and strings.
impl From<Infallible> for InvalidEndpoint {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL itself, as it may contain a password.
        f.write_str(match self.flaw {
            Flaw::Malformed => "invalid endpoint URL: expected something like https://id.example.com/token",
            Flaw::Cleartext => {
                "cleartext endpoint URL: use https, a loopback host, or `EndpointUrl::dangerous_allow_cleartext`"
            }
            Flaw::Fragment => "an endpoint URL must not have a fragment (RFC 6749 §3.2)",
            #[cfg(feature = "https")]
            Flaw::Tls(error) => return error.fmt(f),
            Flaw::Credentials => "an endpoint URL must not contain credentials: set them on the client",
        })
    }
}

impl std::error::Error for InvalidEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(url: &str) -> Option<Flaw> {
        url.parse::<EndpointUrl>().err().map(|error| error.flaw)
    }

    #[test]
    fn p15_an_endpoint_is_https_or_loopback() {
        for url in
            ["https://id.example.com", "https://[2001:db8::1]:8443/t?x=1", "http://localhost:8000/o/token/"]
        {
            assert_eq!(flaw(url), None, "{url}");
        }
        for url in ["http://id.example.com/token", "ftp://id.example.com/", "http://127.0.0.1.evil.com/"] {
            assert!(matches!(flaw(url), Some(Flaw::Cleartext | Flaw::Malformed)), "{url}");
        }
        assert_eq!(flaw("http://id.example.com/token"), Some(Flaw::Cleartext));
        assert!(EndpointUrl::dangerous_allow_cleartext("http://id.example.com/token").is_ok());
    }

    #[test]
    fn d62_an_endpoint_has_a_plain_host_and_port_and_loopback_is_localhost_itself() {
        for url in ["http://id.localhost/token", "http://LOCALHOST./token"] {
            assert_eq!(flaw(url), Some(Flaw::Cleartext), "{url}");
        }
        for url in [
            "http://[::1].evil.example/token",
            "http://[::1]x/token",
            "http://localhost:99999/token",
            "https://id.example.com:99999/token",
            "https://id.example.com:/token",
            "https://id.example.com[:1]x/token",
        ] {
            assert_eq!(flaw(url), Some(Flaw::Malformed), "{url}");
            assert!(EndpointUrl::dangerous_allow_cleartext(url).is_err(), "{url}");
        }
        for url in ["http://localhost/", "http://127.1.2.3:80/", "http://[::1]:8080/", "http://[0:0::1]/"] {
            assert_eq!(flaw(url), None, "{url}");
        }
    }

    #[test]
    fn errors_dont_show_the_url() {
        for url in ["", "/token", "id.example.com/token", "https://", "https:///token", "https://h:99999/"] {
            assert_eq!(flaw(url), Some(Flaw::Malformed), "{url}");
        }
        assert_eq!(flaw("https://id.example.com/token#x"), Some(Flaw::Fragment));
        let error = "https://web:s3cret@id.example.com/".parse::<EndpointUrl>().unwrap_err();
        assert_eq!(error.flaw, Flaw::Credentials);
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn p14_a_key_in_the_query_is_not_shown() {
        let url: EndpointUrl = "https://id.example.com/token?key=s3cret".parse().unwrap();
        assert_eq!(format!("{url:?}"), "https://id.example.com/token");
    }

    #[test]
    fn c59_a_location_is_followed_only_within_the_origin() {
        let url: EndpointUrl = "https://id.example.com/token".parse().unwrap();
        let target = |location| url.same_origin(location).map(|url| url.uri.to_string());
        assert_eq!(target("/token/").unwrap(), "https://id.example.com/token/");
        assert_eq!(target("https://ID.example.com:443/t").unwrap(), "https://ID.example.com:443/t");
        for foreign in
            ["https://evil.com/token", "http://id.example.com/token", "https://id.example.com:444/"]
        {
            assert!(matches!(target(foreign), Err(Some(_))), "{foreign}");
        }
        assert!(target("https://user@id.example.com/token").is_err());
        for invalid in ["//evil.com/token", "token/", "", "\u{0}", "?x=1"] {
            assert!(target(invalid).is_err(), "{invalid}");
        }
    }

    proptest::proptest! {
        #[test]
        fn c59_no_location_leaves_the_origin(
            location in "(https?://|//|/|\\\\)?[ -~]{0,30}|https://(id.example.com|ID.EXAMPLE.COM)(:443|:80|@|[.])?[ -~]{0,20}",
        ) {
            let url: EndpointUrl = "https://id.example.com/token".parse().unwrap();
            if let Ok(target) = url.same_origin(&location) {
                proptest::prop_assert_eq!(target.origin(), url.origin());
                let host = target.uri.host().map(str::to_ascii_lowercase);
                proptest::prop_assert_eq!(host.as_deref(), Some("id.example.com"));
            }
        }
    }

    #[test]
    fn p15_an_invalid_url_says_what_to_do() {
        for (url, is_cleartext, text) in [
            ("http://id.example.com/token", true, "cleartext endpoint URL: use https"),
            ("id.example.com", false, "invalid endpoint URL: expected something like"),
            ("https://id.example.com/#a", false, "an endpoint URL must not have a fragment"),
        ] {
            let error = url.parse::<EndpointUrl>().unwrap_err();
            assert_eq!(
                (error.is_cleartext(), error.to_string().starts_with(text)),
                (is_cleartext, true),
                "{error}"
            );
            #[cfg(feature = "https")]
            assert!(error.tls_error().is_none(), "{url}");
        }
    }

    #[cfg(feature = "https")]
    #[test]
    fn p15_what_tls_is_missing_is_reported_for_https_only() {
        for (url, is_https) in
            [("https://id.example.com/token", true), ("http://localhost:8000/token", false)]
        {
            assert_eq!(url.parse::<EndpointUrl>().unwrap().is_https(), is_https, "{url}");
        }
        let missing = TlsError::MISSING_ROOTS;
        assert_eq!(InvalidEndpoint::from(missing).tls_error(), Some(missing));
    }
}
