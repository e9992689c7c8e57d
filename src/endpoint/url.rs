//! Where a token endpoint is.

use std::{convert::Infallible, fmt, str::FromStr};

use http::{Uri, uri::Scheme};

use crate::origin::{Origin, is_loopback};

/// The URL of a token endpoint: `https`, or a port of this machine.
///
/// What takes one takes a text as well.
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
/// # Ok::<(), tower_reauth::endpoint::InvalidEndpointUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    uri: Uri,
}

/// The text is no URL that a token may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEndpointUrl {
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    NotAUrl,
    Cleartext,
    Fragment,
    User,
    NoRoots,
}

// === impl EndpointUrl ===

impl EndpointUrl {
    /// Takes a URL of any scheme: whoever listens on the way can read the refresh token and the client's secret.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] where the text is no URL.
    pub fn dangerous_allow_cleartext(url: &str) -> Result<Self, InvalidEndpointUrl> {
        Self::parse(url)
    }

    fn parse(url: &str) -> Result<Self, InvalidEndpointUrl> {
        let invalid = |flaw| InvalidEndpointUrl { flaw };
        // RFC 6749 §3.2: no fragment.
        if url.contains('#') {
            return Err(invalid(Flaw::Fragment));
        }
        let uri: Uri = url.trim().parse().map_err(|_| invalid(Flaw::NotAUrl))?;
        let authority = uri.authority().ok_or(invalid(Flaw::NotAUrl))?;
        if authority.as_str().contains('@') {
            return Err(invalid(Flaw::User));
        }
        if Origin::of(&uri).is_none() {
            return Err(invalid(Flaw::NotAUrl));
        }
        Ok(Self { uri })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    #[cfg(feature = "https-ring")]
    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        Origin::of(&self.uri)
    }

    /// The URL that a `Location` names (RFC 9110 §10.2.2), if it is one of this origin.
    pub(super) fn same_origin(&self, location: &str) -> Result<Self, Option<Origin>> {
        if location.starts_with('/') && !location.starts_with("//") {
            let mut parts = self.uri.clone().into_parts();
            parts.path_and_query = Some(location.parse().map_err(|_| None)?);
            return Ok(Self { uri: Uri::from_parts(parts).map_err(|_| None)? });
        }
        let uri: Uri = location.parse().map_err(|_| None)?;
        let names_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let target = Origin::of(&uri).filter(|_| !names_user);
        if target.is_some() && target == Origin::of(&self.uri) { Ok(Self { uri }) } else { Err(target) }
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, where some put a key.
        let Self { uri } = self;
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", uri.path())
    }
}

impl FromStr for EndpointUrl {
    type Err = InvalidEndpointUrl;

    fn from_str(url: &str) -> Result<Self, InvalidEndpointUrl> {
        let this = Self::parse(url)?;
        let is_safe = this.uri.scheme() == Some(&Scheme::HTTPS) || this.uri.host().is_some_and(is_loopback);
        if is_safe { Ok(this) } else { Err(InvalidEndpointUrl { flaw: Flaw::Cleartext }) }
    }
}

impl TryFrom<&str> for EndpointUrl {
    type Error = InvalidEndpointUrl;

    fn try_from(url: &str) -> Result<Self, InvalidEndpointUrl> {
        url.parse()
    }
}

impl TryFrom<&String> for EndpointUrl {
    type Error = InvalidEndpointUrl;

    fn try_from(url: &String) -> Result<Self, InvalidEndpointUrl> {
        url.parse()
    }
}

impl TryFrom<String> for EndpointUrl {
    type Error = InvalidEndpointUrl;

    fn try_from(url: String) -> Result<Self, InvalidEndpointUrl> {
        url.parse()
    }
}

// === impl InvalidEndpointUrl ===

impl InvalidEndpointUrl {
    #[cfg(feature = "https-ring")]
    pub(super) fn no_roots() -> Self {
        Self { flaw: Flaw::NoRoots }
    }

    /// Whether this machine has no root certificates, by which the endpoint could be known: install them (the package
    /// is mostly called `ca-certificates`), or bring a transport.
    pub fn is_missing_root_certificates(&self) -> bool {
        self.flaw == Flaw::NoRoots
    }

    /// Whether the refresh token would go over cleartext `http` to another machine.
    pub fn is_cleartext(&self) -> bool {
        self.flaw == Flaw::Cleartext
    }
}

/// So that an [`EndpointUrl`] is taken where a text is.
impl From<Infallible> for InvalidEndpointUrl {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for InvalidEndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the text: it may hold a password.
        f.write_str(match self.flaw {
            Flaw::NotAUrl => "no URL of an endpoint: it should look like https://id.example.com/token",
            Flaw::Cleartext => {
                "the endpoint's URL is cleartext: use https, or `EndpointUrl::dangerous_allow_cleartext`"
            }
            Flaw::Fragment => "the endpoint's URL has a fragment, which none may have (RFC 6749 §3.2)",
            Flaw::NoRoots => "this machine has no root certificates to know the endpoint by",
            Flaw::User => "the endpoint's URL holds a user: credentials are set apart from it",
        })
    }
}

impl std::error::Error for InvalidEndpointUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(url: &str) -> Option<Flaw> {
        url.parse::<EndpointUrl>().err().map(|error| error.flaw)
    }

    #[test]
    fn p15_an_endpoint_is_https_or_this_machine() {
        for url in
            ["https://id.example.com", "https://[2001:db8::1]:8443/t?x=1", "http://localhost:8000/o/token/"]
        {
            assert_eq!(flaw(url), None, "{url}");
        }
        for url in ["http://id.example.com/token", "ftp://id.example.com/", "http://127.0.0.1.evil.com/"] {
            assert!(matches!(flaw(url), Some(Flaw::Cleartext | Flaw::NotAUrl)), "{url}");
        }
        assert_eq!(flaw("http://id.example.com/token"), Some(Flaw::Cleartext));
        assert!(EndpointUrl::dangerous_allow_cleartext("http://id.example.com/token").is_ok());
    }

    #[test]
    fn what_is_no_url_is_told_without_its_text() {
        for url in ["", "/token", "id.example.com/token", "https://", "https:///token", "https://h:99999/"] {
            assert_eq!(flaw(url), Some(Flaw::NotAUrl), "{url}");
        }
        assert_eq!(flaw("https://id.example.com/token#x"), Some(Flaw::Fragment));
        let error = "https://web:s3cret@id.example.com/".parse::<EndpointUrl>().unwrap_err();
        assert_eq!(error.flaw, Flaw::User);
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn p14_a_key_in_the_query_is_not_shown() {
        let url: EndpointUrl = "https://id.example.com/token?key=s3cret".parse().unwrap();
        assert_eq!(format!("{url:?}"), "https://id.example.com/token");
    }

    #[test]
    fn c59_a_location_is_followed_within_the_origin_alone() {
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
        for unclear in ["//evil.com/token", "token/", "", "\u{0}", "?x=1"] {
            assert!(target(unclear).is_err(), "{unclear}");
        }
    }

    proptest::proptest! {
        #[test]
        fn c59_whatever_a_location_is_the_origin_stays(
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
}
