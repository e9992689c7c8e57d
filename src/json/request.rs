//! What a request carries, and where.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::endpoint::JsonEndpoint;
use crate::{
    endpoint::{EndpointUrl, PerCall},
    error::BoxError,
    refresh::{RefreshContext, RefreshError},
    token::Secret,
};

/// Where a request carries a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlace {
    kind: PlaceKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PlaceKind {
    Field(Cow<'static, str>),
    Query(Cow<'static, str>),
    Header(HeaderName),
    Bearer,
}

/// A value in a JSON object: a string, or an object with fields in the order in which they are sent.
#[derive(Default)]
struct Node<'a> {
    /// `None`: an object.
    string: Option<&'a str>,
    fields: Vec<(String, Node<'a>)>,
}

// === impl TokenPlace ===

impl TokenPlace {
    /// A field of the body. A leading slash makes it a JSON pointer: `/auth/token`.
    pub fn field(name: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: PlaceKind::Field(name.into()) }
    }

    /// The header `Authorization`, with the scheme `Bearer`.
    pub fn bearer() -> Self {
        Self { kind: PlaceKind::Bearer }
    }

    /// A header with nothing but the token.
    pub fn header(name: HeaderName) -> Self {
        Self { kind: PlaceKind::Header(name) }
    }

    /// A query parameter. Servers and proxies often log URLs: use it only if the endpoint leaves no choice.
    pub fn query(name: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: PlaceKind::Query(name.into()) }
    }
}

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Sets where a request carries the refresh token.
    ///
    /// Default: the field `refresh_token`.
    ///
    /// # Examples
    ///
    /// As the bearer, by GET:
    ///
    /// ```
    /// use tower_reauth::json::{JsonEndpoint, TokenPlace};
    ///
    /// fn configured(endpoint: JsonEndpoint) -> JsonEndpoint {
    ///     endpoint.get().send_refresh_token(TokenPlace::bearer())
    /// }
    /// ```
    pub fn send_refresh_token(mut self, place: TokenPlace) -> Self {
        self.refresh_token = Some(place);
        self.endpoint.has_no_grant = false;
        self
    }

    /// Also sends the current access token, even if it has expired. Default: it isn't sent.
    ///
    /// With [`without_refresh_token`](Self::without_refresh_token) it takes the refresh token's place: without one
    /// the refresh fails as *grant ended*, without a request, and errors can end the grant.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::json::{JsonEndpoint, TokenPlace};
    ///
    /// fn configured(endpoint: JsonEndpoint) -> JsonEndpoint {
    ///     endpoint.without_refresh_token().send_access_token(TokenPlace::bearer())
    /// }
    /// ```
    pub fn send_access_token(mut self, place: TokenPlace) -> Self {
        self.access_token = Some(place);
        self.endpoint.has_no_grant = false;
        self
    }

    /// Sends no refresh token, for endpoints that identify the caller otherwise.
    ///
    /// Errors then never end a grant: they count as misconfiguration, unless the
    /// [access token is sent](Self::send_access_token).
    pub fn without_refresh_token(mut self) -> Self {
        self.refresh_token = None;
        self.endpoint.has_no_grant = self.access_token.is_none();
        self
    }

    /// Sends GET requests. They have no body: fields become query parameters, under their names as written.
    ///
    /// Default: POST.
    pub fn get(mut self) -> Self {
        self.method = Method::GET;
        self
    }

    /// Adds a field whose value a closure obtains for each call, as from a secret file that is rotated.
    /// Surrounding whitespace is trimmed.
    ///
    /// If the closure fails, no request is sent, and its error is that of the refresh.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefreshError, json::JsonEndpoint};
    ///
    /// fn configured(endpoint: JsonEndpoint) -> JsonEndpoint {
    ///     endpoint.extra_field_with("/client/secret", |_: RefreshContext| async {
    ///         std::fs::read_to_string("/run/secrets/client").map_err(RefreshError::misconfigured)
    ///     })
    /// }
    /// ```
    pub fn extra_field_with<F, Fut>(mut self, name: impl Into<Cow<'static, str>>, value: F) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        self.fields_per_call.push((name.into(), PerCall::new(value, Secret::trimmed)));
        self
    }

    /// Adds a header whose value a closure makes for each call. It is treated as a secret.
    ///
    /// If the closure fails, no request is sent, and its error is that of the refresh.
    pub fn header_with<F, Fut>(mut self, name: HeaderName, value: F) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderValue, RefreshError>> + Send + 'static,
    {
        self.headers_per_call.add(name, value);
        self
    }

    /// An endpoint with the fields and headers of one call.
    pub(super) async fn prepared(&self, cx: &RefreshContext) -> Result<Self, RefreshError> {
        let mut endpoint = self.clone();
        for (name, value) in &self.fields_per_call {
            endpoint.set_extra_field(name.clone(), value.make(cx).await?);
        }
        self.headers_per_call.make(cx, &mut endpoint.endpoint.headers).await?;
        Ok(endpoint)
    }

    pub(super) fn request(
        &self,
        url: &EndpointUrl,
        refresh_token: Option<&str>,
        access_token: Option<&str>,
    ) -> Result<Request<Bytes>, BoxError> {
        let mut headers = HeaderMap::new();
        let (mut fields, mut query) = (Vec::new(), Vec::new());
        let is_get = self.method == Method::GET;
        let is_replaced = |name| self.extra_fields.iter().any(|(extra, _)| extra == name);
        for (place, token) in [(&self.refresh_token, refresh_token), (&self.access_token, access_token)] {
            let Some((place, token)) = place.as_ref().zip(token) else { continue };
            match &place.kind {
                PlaceKind::Field(name) if is_replaced(name) => {}
                PlaceKind::Query(name) if is_get && is_replaced(name) => {}
                PlaceKind::Field(name) => fields.push((&**name, token)),
                PlaceKind::Query(name) => query.push((&**name, token)),
                PlaceKind::Header(name) => drop(headers.insert(name, secret_header(token.to_owned())?)),
                PlaceKind::Bearer => {
                    let value = secret_header(format!("Bearer {token}"))?;
                    headers.insert(header::AUTHORIZATION, value);
                }
            }
        }
        fields.extend(self.extra_fields.iter().map(|(name, value)| (&**name, value.expose())));
        let json = || HeaderValue::from_static("application/json");
        headers.entry(header::ACCEPT).or_insert_with(json);
        let body = if is_get {
            query.append(&mut fields);
            Bytes::new()
        } else {
            headers.insert(header::CONTENT_TYPE, json());
            Bytes::from_owner(body(&fields)?)
        };
        let uri = with_query(url.uri(), query.into_iter())?;
        let mut request = Request::builder().method(self.method.clone()).uri(uri).body(body)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

// === impl Node ===

impl<'a> Node<'a> {
    /// Sets the string at a path. It replaces what is there, and a string at a part of the path.
    fn insert(&mut self, path: impl IntoIterator<Item = String>, string: &'a str) {
        let mut node = self;
        for name in path {
            node.string = None;
            let at = node.fields.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                node.fields.push((name, Node::default()));
                node.fields.len() - 1
            });
            node = &mut node.fields[at].1;
        }
        *node = Self { string: Some(string), fields: Vec::new() };
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.string {
            Some(string) => serializer.serialize_str(string),
            None => serializer.collect_map(self.fields.iter().map(|(name, node)| (name, node))),
        }
    }
}

/// A header value from a secret.
fn secret_header(value: String) -> Result<HeaderValue, BoxError> {
    let bytes = Bytes::from_owner(Zeroizing::new(value));
    let mut value = HeaderValue::from_maybe_shared(bytes)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Adds parameters to a URI's query, except those that it has: a redirect's target may have them already.
fn with_query<'a>(uri: &Uri, params: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Uri, BoxError> {
    let query = uri.query().unwrap_or_default();
    let has = |name: &str| form_urlencoded::parse(query.as_bytes()).any(|(known, _)| known == name);
    let mut added = form_urlencoded::Serializer::new(String::new());
    added.extend_pairs(params.filter(|(name, _)| !has(name)));
    let added = Zeroizing::new(added.finish());
    if added.is_empty() {
        return Ok(uri.clone());
    }
    let separator = if query.is_empty() { "" } else { "&" };
    let path_and_query = Zeroizing::new(format!("{}?{query}{separator}{}", uri.path(), *added));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse()?);
    Ok(Uri::from_parts(parts)?)
}

fn body(fields: &[(&str, &str)]) -> Result<Zeroizing<Vec<u8>>, BoxError> {
    let mut object = Node::default();
    for (name, value) in fields {
        match name.strip_prefix('/') {
            // RFC 6901 §4
            Some(path) => object.insert(path.split('/').map(unescape), value),
            None => object.insert([(*name).to_owned()], value),
        }
    }
    let mut body = Zeroizing::new(Vec::new());
    serde_json::to_writer(&mut *body, &object)?;
    Ok(body)
}

fn unescape(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
