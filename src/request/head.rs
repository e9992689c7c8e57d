//! The head of a request, kept for a retry.
//!
//! It is written for each request and read only after a rejection, so it must be cheap to write and to drop.
//! A clone of the parts goes through a vtable for each header value, and again for its drop; this is one
//! buffer.

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{Authority, PathAndQuery, Scheme},
};

/// The head of a request in one buffer, except for what doesn't fit into one.
pub(super) struct Head {
    method: Method,
    version: Version,
    is_https: bool,
    /// Authority, path and query, and for each header the lengths of name and value, then both.
    buffer: Vec<u8>,
    authority: usize,
    path: usize,
    headers: usize,
    names: usize,
    extras: Option<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    /// A URI that isn't `https` or `http` with a host.
    uri: Option<Uri>,
    /// Values that are sensitive or long, in the order of the headers.
    values: Vec<HeaderValue>,
    extensions: Extensions,
}

/// Stands for a length: the value is in the extras.
const IN_EXTRAS: u16 = u16::MAX;
/// A longer value is cheaper to share than to copy.
const MAX_COPIED: usize = 256;
const LENGTHS: usize = 2 * size_of::<u16>();

// === impl Head ===

impl Head {
    /// Copies a head. The values of the `credentials` are left out: a retry has others.
    pub(super) fn pack<B>(request: &Request<B>, credentials: &[HeaderName]) -> Self {
        let mut extras = None;
        let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
        let is_web = is_https || request.uri().scheme() == Some(&Scheme::HTTP);
        let (authority, path) = match request.uri().authority() {
            Some(authority) if is_web => {
                (authority.as_str(), request.uri().path_and_query().map_or("", PathAndQuery::as_str))
            }
            _ => {
                extras_of(&mut extras).uri = Some(request.uri().clone());
                ("", "")
            }
        };
        let headers = request.headers();
        let is_credential = |name: &HeaderName| match credentials {
            // The usual case, without a loop.
            [only] => name == only,
            several => several.contains(name),
        };
        let copied = |name: &HeaderName, value: &HeaderValue| match is_credential(name) {
            true => Some(0),
            false => Some(value.len()).filter(|length| *length <= MAX_COPIED && !value.is_sensitive()),
        };
        let length: usize = headers
            .iter()
            .map(|(name, value)| LENGTHS + name.as_str().len() + copied(name, value).unwrap_or(0))
            .sum();
        let mut buffer = Vec::with_capacity(authority.len() + path.len() + length);
        buffer.extend_from_slice(authority.as_bytes());
        buffer.extend_from_slice(path.as_bytes());
        for (name, value) in headers {
            let copied = copied(name, value);
            // Header names have less than 64 KiB.
            buffer.extend_from_slice(&(name.as_str().len() as u16).to_ne_bytes());
            buffer.extend_from_slice(&copied.map_or(IN_EXTRAS, |length| length as u16).to_ne_bytes());
            buffer.extend_from_slice(name.as_str().as_bytes());
            match copied {
                Some(length) => buffer.extend_from_slice(&value.as_bytes()[..length]),
                None => extras_of(&mut extras).values.push(value.clone()),
            }
        }
        if !request.extensions().is_empty() {
            extras_of(&mut extras).extensions = request.extensions().clone();
        }
        Self {
            method: request.method().clone(),
            version: request.version(),
            is_https,
            buffer,
            authority: authority.len(),
            path: path.len(),
            headers: headers.len(),
            names: headers.keys_len(),
            extras,
        }
    }

    pub(super) fn extensions(&self) -> Option<&Extensions> {
        self.extras.as_ref().map(|extras| &extras.extensions)
    }

    /// The request again, without its body and with empty credentials.
    pub(super) fn unpack(self) -> Request<()> {
        const INVARIANT: &str = "copied from a valid head";
        let Self { method, version, is_https, buffer, authority, path, headers: count, names, extras } = self;
        let Extras { uri, values, extensions } = extras.map_or_else(Extras::default, |extras| *extras);
        let mut values = values.into_iter();
        let mut rest = &buffer[..];
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at(length);
            rest = left;
            taken
        };
        let (authority, path) = (take(authority), take(path));
        let uri = uri.unwrap_or_else(|| {
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(if is_https { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = Some(Authority::try_from(authority).expect(INVARIANT));
            parts.path_and_query = Some(PathAndQuery::try_from(path).expect(INVARIANT));
            Uri::from_parts(parts).expect(INVARIANT)
        });
        let mut headers = HeaderMap::with_capacity(names);
        for _ in 0..count {
            let mut length = || {
                let bytes = take(size_of::<u16>());
                u16::from_ne_bytes([bytes[0], bytes[1]])
            };
            let (name, value) = (length(), length());
            let name = HeaderName::from_bytes(take(name.into())).expect(INVARIANT);
            let value = match value {
                IN_EXTRAS => values.next().expect(INVARIANT),
                length => HeaderValue::from_bytes(take(length.into())).expect(INVARIANT),
            };
            headers.append(name, value);
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = version;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.extensions_mut() = extensions;
        request
    }
}

#[cold]
fn extras_of(extras: &mut Option<Box<Extras>>) -> &mut Extras {
    extras.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};
    use proptest::prelude::*;

    use super::*;

    fn uri() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "https://[a-z]{1,8}(\\.[a-z]{1,8})?(:[1-9][0-9]{0,3})?(/[a-zA-Z0-9%._~-]{0,10}){0,3}(\\?[a-z=&%0-9]{0,12})?",
            1 => "http://[a-z]{1,8}/[a-z]{0,8}",
            1 => "/[a-z]{0,8}(\\?[a-z=]{0,8})?",
            1 => Just("*".to_owned()),
            1 => "HTTPS://user@[A-Za-z]{1,8}:443",
            1 => "https://\\[::1\\]:8443/",
            1 => "[a-z]{1,8}:443",
        ]
    }

    fn header() -> impl Strategy<Value = (String, Vec<u8>, bool)> {
        let name =
            prop_oneof![3 => "x-[a-d]", 1 => Just("cookie".to_owned()), 1 => Just("accept".to_owned())];
        let byte = prop_oneof![8 => 32..127_u8, 1 => Just(b'\t'), 1 => 128..=255_u8];
        let value = prop_oneof![9 => prop::collection::vec(byte, 0..40), 1 => Just(vec![b'v'; 300])];
        (name, value, prop::bool::weighted(0.1))
    }

    proptest! {
        #[test]
        fn p16_a_head_comes_back_as_it_was(
            uri in uri(),
            method in prop_oneof![Just("GET"), Just("POST"), Just("PROPFIND"), Just("a-method-longer-than-fifteen-bytes")],
            version in prop_oneof![
                Just(Version::HTTP_09), Just(Version::HTTP_10), Just(Version::HTTP_11), Just(Version::HTTP_2),
                Just(Version::HTTP_3),
            ],
            headers in prop::collection::vec(header(), 0..12),
            credential_at in 0..12_usize,
            extension in any::<Option<u32>>(),
        ) {
            let mut request = Request::builder().uri(&uri).method(method).version(version).body(()).unwrap();
            for (at, (name, value, sensitive)) in headers.iter().enumerate() {
                if at == credential_at {
                    let mut value = HeaderValue::from_static("Bearer A1");
                    value.set_sensitive(true);
                    request.headers_mut().append(AUTHORIZATION, value);
                }
                let mut value = HeaderValue::from_bytes(value).unwrap();
                value.set_sensitive(*sensitive);
                request.headers_mut().append(HeaderName::try_from(name).unwrap(), value);
            }
            if let Some(extension) = extension {
                request.extensions_mut().insert(extension);
            }

            let mut copy = Head::pack(&request, &[AUTHORIZATION]).unpack();
            if let Some(credential) = request.headers().get(AUTHORIZATION) {
                prop_assert_eq!(&copy.headers()[AUTHORIZATION], "");
                copy.headers_mut().insert(AUTHORIZATION, credential.clone());
            }
            prop_assert_eq!(copy.uri(), request.uri());
            prop_assert_eq!(copy.uri().to_string(), request.uri().to_string());
            prop_assert_eq!(copy.method(), request.method());
            prop_assert_eq!(copy.version(), request.version());
            prop_assert_eq!(copy.extensions().get::<u32>(), request.extensions().get::<u32>());
            let in_order = |headers: &HeaderMap| -> Vec<_> {
                let each = |(name, value): (&HeaderName, &HeaderValue)| {
                    (name.clone(), value.clone(), value.is_sensitive())
                };
                headers.iter().map(each).collect()
            };
            prop_assert_eq!(in_order(copy.headers()), in_order(request.headers()));
        }
    }

    #[test]
    fn p14_a_sensitive_value_is_not_copied() {
        let mut cookie = HeaderValue::from_static("SENTINEL");
        cookie.set_sensitive(true);
        let request = Request::get("https://api.example.com/").header(COOKIE, cookie).body(()).unwrap();
        let head = Head::pack(&request, &[AUTHORIZATION]);
        assert!(!head.buffer.windows(8).any(|window| window == b"SENTINEL"));
        assert_eq!(head.unpack().headers()[COOKIE], "SENTINEL");
    }

    #[test]
    fn p16_a_usual_head_is_one_buffer_of_its_exact_size() {
        let long = "v".repeat(MAX_COPIED);
        for uri in ["https://api.example.com/path?query", "http://api.example.com/"] {
            let request = Request::get(uri).header("accept", "*/*").header("x-long", &long).body(()).unwrap();
            let head = Head::pack(&request, &[AUTHORIZATION]);
            assert!(head.extras.is_none(), "{uri}");
            assert_eq!(head.buffer.len(), head.buffer.capacity(), "{uri}");
        }
        let longer = "v".repeat(MAX_COPIED + 1);
        let request = Request::get("https://api.example.com/").header("x-longer", &longer).body(()).unwrap();
        let head = Head::pack(&request, &[AUTHORIZATION]);
        assert!(head.buffer.len() < MAX_COPIED, "a long value is shared");
        assert_eq!(head.unpack().headers()["x-longer"], longer);
    }
}
