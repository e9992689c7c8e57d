//! Origins, and the destinations that a token is sent to.

use http::Uri;
use tower_reauth::{AuthLayer, Origin, endpoint::EndpointUrl};
use url::{Host, Url};

/// A token goes only where a client that reads URLs as browsers do would agree that it is allowed.
///
/// The input is an origin, and on the next line a request's URL.
pub fn origins(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (first, second) = input.split_once('\n').unwrap_or((input, input));
    let [origin, _] = [first, second].map(|text| {
        check_endpoint(text);
        parse(text)
    });
    let Ok(uri) = second.parse::<Uri>() else { return };
    check_cleartext(&uri);
    if let Some(origin) = origin {
        check_restricted(&origin, &uri);
    }
}

/// Parses an origin, which its text stands for.
fn parse(text: &str) -> Option<Origin> {
    match Origin::try_from(text) {
        Ok(origin) => {
            let shown = origin.to_string();
            let again: Origin = shown.parse().expect("an origin's text is an origin");
            assert_eq!(again, origin, "{shown}");
            assert_eq!(again.to_string(), shown);
            assert!(shown.is_ascii() && !shown.contains('@'), "{shown}");
            Some(origin)
        }
        Err(error) => {
            assert_eq!(error.to_string(), "invalid origin: expected something like https://api.example.com");
            None
        }
    }
}

fn check_endpoint(text: &str) {
    match text.parse::<EndpointUrl>() {
        Ok(url) => {
            let shown = format!("{url:?}");
            assert!(!shown.contains(['?', '#']), "{shown}");
            let uri: Uri = text.trim().parse().expect("it is a URI, too");
            let authority = uri.authority().expect("it has a host");
            assert!(!authority.as_str().contains('@'), "{authority}");
            assert!(is_safe(&uri), "{text}");
        }
        Err(error) => assert!(error.to_string().len() < 200),
    }
}

fn check_cleartext(uri: &Uri) {
    if AuthLayer::per_request().allows(uri).is_ok_and(|allowed| allowed) {
        assert!(is_safe(uri), "{uri}");
    }
}

fn check_restricted(origin: &Origin, uri: &Uri) {
    let layer = AuthLayer::per_request().restrict_to_origin(origin.clone());
    if !layer.allows(uri).is_ok_and(|allowed| allowed) {
        return;
    }
    assert!(is_safe(uri), "{uri}");
    // Some hosts aren't valid for browsers, so that no request can be made.
    let (Ok(allowed), Ok(url)) = (origin.to_string().parse::<Url>(), uri.to_string().parse::<Url>()) else {
        return;
    };
    // The hosts of schemes that browsers don't know keep their case.
    let host = |url: &Url| url.host_str().map(str::to_ascii_lowercase);
    assert_eq!(host(&allowed), host(&url), "{origin} and {uri}");
    assert_eq!(allowed.port_or_known_default(), url.port_or_known_default(), "{origin} and {uri}");
}

/// Whether the connection is encrypted, or stays on this host.
fn is_safe(uri: &Uri) -> bool {
    // A browser would read `localhost:80` as a URL with the scheme `localhost`.
    let text = match (uri.scheme(), uri.authority()) {
        (None, Some(authority)) => format!("http://{authority}"),
        _ => uri.to_string(),
    };
    let Ok(url) = text.parse::<Url>() else { return true };
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    matches!(url.scheme(), "https" | "wss") || is_loopback
}
