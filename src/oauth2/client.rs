//! [`Client`].

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use tower_service::Service;
use zeroize::Zeroizing;

use super::{claims, client_auth::ClientAuth, request::SecretPerCall};
use crate::{
    endpoint::{Endpoint, EndpointUrl, HeadersPerCall, InvalidEndpoint, RequestBody, endpoint_settings},
    error::BoxError,
    refresh::RefreshContext,
    token::Secret,
};

/// An OAuth 2.0 client registration.
///
/// See the [module docs](super). It is cheap to clone and creates any number of refreshers.
#[derive(Clone)]
#[must_use]
pub struct Client {
    pub(super) endpoint: Endpoint,
    client_id: Arc<str>,
    pub(super) auth: ClientAuth,
    pub(super) secret_per_call: Option<SecretPerCall>,
    pub(super) headers_per_call: HeadersPerCall,
    /// In the order in which they are sent.
    extra_params: Vec<(Cow<'static, str>, Secret)>,
    requests_missing_claims: bool,
}

// === impl Client ===

impl Client {
    /// Creates a public client for a token endpoint.
    pub fn new(token_endpoint: Endpoint, client_id: impl Into<Arc<str>>) -> Self {
        Self {
            endpoint: token_endpoint,
            client_id: client_id.into(),
            auth: ClientAuth::None,
            secret_per_call: None,
            headers_per_call: HeadersPerCall::default(),
            extra_params: Vec::new(),
            requests_missing_claims: false,
        }
    }

    /// Creates a public client for the URL of a token endpoint, with the built-in HTTPS client, see the module
    /// [`https`](crate::https).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback, or if there is no
    /// crypto provider or no root certificate, see [`tls_error`](InvalidEndpoint::tls_error).
    #[cfg(feature = "https")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https")))]
    pub fn try_new<U>(token_endpoint: U, client_id: impl Into<Arc<str>>) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
    {
        Ok(Self::new(Endpoint::try_new(token_endpoint)?, client_id))
    }

    /// Creates a public client for the URL of a token endpoint; a tower service sends its requests.
    ///
    /// Don't pass a service that carries the layer itself.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback.
    pub fn try_with_transport<U, S, B>(
        token_endpoint: U,
        client_id: impl Into<Arc<str>>,
        transport: S,
    ) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Ok(Self::new(Endpoint::try_with_transport(token_endpoint, transport)?, client_id))
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// Sets the client secret and sends it in the `Authorization` header: `client_secret_basic` (RFC 6749
    /// §2.3.1), which servers must support.
    pub fn client_secret_basic(mut self, secret: impl Into<String>) -> Self {
        self.auth = ClientAuth::SecretBasic(Secret::new(secret.into()));
        self
    }

    /// Sets the client secret and sends it in the body: `client_secret_post` (RFC 6749 §2.3.1).
    pub fn client_secret_post(mut self, secret: impl Into<String>) -> Self {
        self.auth = ClientAuth::SecretPost(Secret::new(secret.into()));
        self
    }

    /// Sets a function that creates signed assertions: `private_key_jwt` or `client_secret_jwt` (RFC 7523
    /// §2.2).
    ///
    /// It is called for each request, so none is reused, and must not block. Errors count as
    /// misconfiguration.
    pub fn client_assertion<F, E>(mut self, make: F) -> Self
    where
        F: Fn() -> Result<String, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.auth = ClientAuth::Assertion(Arc::new(move || make().map_err(Into::into)));
        self
    }

    /// Sets the scopes to request (RFC 6749 §3.3).
    ///
    /// Default: none; the server keeps the granted ones. Missing scopes are reported by the event
    /// [`Warning`](crate::event::EventKind::Warning).
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoint.format.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a `resource` parameter (RFC 8707 §2).
    pub fn resource(self, resource: impl Into<String>) -> Self {
        self.extra_param("resource", resource)
    }

    /// Adds an `audience` parameter (RFC 8693 §2.1), used by some providers instead of `resource`.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.extra_param("audience", audience)
    }

    /// Adds a parameter to each token request. It replaces a parameter of that name which the request would have,
    /// such as `grant_type`.
    pub fn extra_param(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.extra_params.push((name.into(), Secret::new(value.into())));
        self
    }

    /// Requests the claims listed in a claims challenge (`error="insufficient_claims"`), as in Microsoft's
    /// continuous access evaluation.
    ///
    /// Default: off. This forwards text from a server to the token endpoint, so restrict the layer's origins.
    pub fn request_missing_claims(mut self) -> Self {
        self.requests_missing_claims = true;
        self
    }

    /// Builds a token request. Called again for each attempt.
    pub(super) fn token_request(
        &self,
        url: &EndpointUrl,
        grant: &[(&str, &str)],
        cx: &RefreshContext,
    ) -> Result<Request<Bytes>, BoxError> {
        let scopes = self.endpoint.format.scopes.join(" ");
        let scope = (!scopes.is_empty()).then_some(("scope", scopes.as_str()));
        let extra = self.extra_params.iter().map(|(name, value)| (&**name, value.expose()));
        let claims = self.requests_missing_claims.then(|| claims::missing_claims(cx.challenges())).flatten();
        let claims = claims.as_deref().map(|claims| ("claims", claims));
        let has = |name: &str| grant.iter().any(|(known, _)| *known == name);
        let own = scope.into_iter().chain(claims).filter(|(name, _)| !has(name));
        let ours = grant.iter().copied().chain(own).filter(|(name, _)| !self.has_extra(name));
        self.request(url, ours.chain(extra), |name| has(name) || self.has_extra(name))
    }

    fn has_extra(&self, name: &str) -> bool {
        self.extra_params.iter().any(|(extra, _)| extra == name)
    }

    /// `is_replaced`: a parameter of the client's authentication is among `params` already.
    pub(super) fn request<'a>(
        &self,
        url: &EndpointUrl,
        params: impl Iterator<Item = (&'a str, &'a str)>,
        is_replaced: impl Fn(&str) -> bool,
    ) -> Result<Request<Bytes>, BoxError> {
        let mut request = Request::post(url.uri().clone()).body(Bytes::new())?;
        // RFC 6749 appendix B
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params);
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // Some servers return a form unless JSON is requested.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let add = |name: &str, value: &str| {
            if !is_replaced(name) {
                form.append_pair(name, value);
            }
        };
        self.auth.authenticate(&self.client_id, headers, add)?;
        *request.body_mut() = Bytes::from_owner(Zeroizing::new(form.finish()));
        Ok(request)
    }
}

endpoint_settings!(Client);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("client_id", &self.client_id)
            .field("auth", &self.auth)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
