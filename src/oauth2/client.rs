//! Who asks, where, and for what.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::{claims, client_auth::ClientAuth, form::Form};
use crate::error::BoxError;
use crate::{
    endpoint::{
        EndpointUrl, ErrorClassifier, Exchange, InvalidEndpointUrl, Lifetime, RequestBody, Shape, Transport,
    },
    refresh::RefreshContext,
    token::Secret,
};

/// An OAuth 2.0 client: who asks which token endpoint for what.
///
/// See the [module docs](super). It is cheap to clone, and makes any number of refreshers.
#[derive(Clone)]
#[must_use]
pub struct Client {
    pub(super) exchange: Exchange,
    client_id: Arc<str>,
    auth: ClientAuth,
    /// What each token request carries besides, in this order.
    pinned: Vec<(Cow<'static, str>, Secret)>,
    answers_claims: bool,
}

// === impl Client ===

impl Client {
    /// Names the token endpoint and the client, which is a public one until a secret is set. Requests are sent by
    /// a client of its own (HTTP/1.1, rustls, the platform's root certificates).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is none, or cleartext to another machine, or if this machine has no root
    /// certificates.
    #[cfg(feature = "https-ring")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https-ring")))]
    pub fn try_new<U>(token_endpoint: U, client_id: impl Into<Arc<str>>) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        let url = token_endpoint.try_into().map_err(Into::into)?;
        let transport = Transport::ready(&url)?;
        Ok(Self::with(url, client_id.into(), transport))
    }

    /// Names the token endpoint and the client, which is a public one until a secret is set, and the tower service that
    /// sends requests. The service must not have the layer on it whose tokens it is to fetch.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is none, or cleartext to another machine.
    pub fn try_with_transport<U, S, B>(
        token_endpoint: U,
        client_id: impl Into<Arc<str>>,
        transport: S,
    ) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let url = token_endpoint.try_into().map_err(Into::into)?;
        Ok(Self::with(url, client_id.into(), Transport::new(transport)))
    }

    fn with(url: EndpointUrl, client_id: Arc<str>, transport: Transport) -> Self {
        let shape = Shape {
            access_token: "access_token".into(),
            refresh_token: "refresh_token".into(),
            lifetime: Lifetime::seconds("expires_in"),
            scheme: None,
            codes: vec!["error".into()],
            scopes: Vec::new(),
        };
        let exchange = Exchange::new(url, transport, shape);
        Self { exchange, client_id, auth: ClientAuth::None, pinned: Vec::new(), answers_claims: false }
    }

    /// Sets the secret, sent in the `Authorization` header: `client_secret_basic` (RFC 6749 §2.3.1), which each server
    /// that gives out secrets must support.
    pub fn client_secret_basic(mut self, secret: impl Into<String>) -> Self {
        self.auth = ClientAuth::SecretBasic(Secret::new(secret.into()));
        self
    }

    /// Sets the secret, sent in the body: `client_secret_post` (RFC 6749 §2.3.1).
    pub fn client_secret_post(mut self, secret: impl Into<String>) -> Self {
        self.auth = ClientAuth::SecretPost(Secret::new(secret.into()));
        self
    }

    /// Sets what makes a signed assertion: `private_key_jwt` or `client_secret_jwt` (RFC 7523 §2.2). It is called for
    /// each request, so that none is used twice, and must not block. Its failure is one of the configuration.
    pub fn client_assertion<F, E>(mut self, make: F) -> Self
    where
        F: Fn() -> Result<String, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.auth = ClientAuth::Assertion(Arc::new(move || make().map_err(Into::into)));
        self
    }

    /// Sets the scopes that each token request asks for (RFC 6749 §3.3). Default: none are named, and the server gives
    /// what was granted before. A scope that is asked for and not granted is told by the event
    /// [`Noticed`](crate::event::EventKind::Warning).
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.exchange.shape.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a resource that each token request asks for (RFC 8707 §2).
    pub fn resource(self, resource: impl Into<String>) -> Self {
        self.extra_param("resource", resource)
    }

    /// Adds an audience that each token request asks for (RFC 8693 §2.1, and what some providers have for a resource).
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.extra_param("audience", audience)
    }

    /// Adds a parameter that each token request carries.
    pub fn extra_param(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.pinned.push((name.into(), Secret::new(value.into())));
        self
    }

    /// Asks for the claims that a server missed when it refused a token (`error="insufficient_claims"`), in the parameter
    /// `claims`, as Microsoft's continuous access evaluation wants it. Default: they are not asked for. A server's text
    /// goes to the token endpoint then: allow the layer's origins.
    pub fn request_missing_claims(mut self) -> Self {
        self.answers_claims = true;
        self
    }

    /// Sets where an answer says how long its token lives. Default: `expires_in`, in seconds (RFC 6749 §5.1).
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.exchange.shape.lifetime = lifetime;
        self
    }

    /// Sets the scheme that tokens are sent with, whatever `token_type` says. Default: `Bearer`, and an answer with
    /// another type is refused.
    pub fn scheme(mut self, scheme: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.shape.scheme = Some(scheme.into());
        self
    }

    /// Adds what this provider means by its error codes and statuses.
    pub fn error_classifier(mut self, verdicts: ErrorClassifier) -> Self {
        self.exchange.verdicts.add(verdicts);
        self
    }

    /// Sets how long an exchange may take. Default: 10 s, so that the repeat of one that was not answered falls within
    /// the time in which servers tolerate it.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.exchange.timeout = limit;
        self
    }

    /// Sets how long an answer may be, in bytes. Default: 256 KiB.
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.exchange.max_response_size = bytes;
        self
    }

    /// One token request, made anew for each sending.
    pub(super) fn token_request(
        &self,
        url: &EndpointUrl,
        grant: &[(&str, &str)],
        cx: &RefreshContext,
    ) -> Result<Request<Bytes>, BoxError> {
        let scopes = self.exchange.shape.scopes.join(" ");
        let scope = (!scopes.is_empty()).then_some(("scope", scopes.as_str()));
        let pinned = self.pinned.iter().map(|(name, value)| (&**name, value.expose()));
        let claims = self.answers_claims.then(|| claims::asked_for(cx.challenges())).flatten();
        let claims = claims.as_deref().map(|claims| ("claims", claims));
        self.request(url, grant.iter().copied().chain(scope).chain(pinned).chain(claims))
    }

    pub(super) fn request<'a>(
        &self,
        url: &EndpointUrl,
        params: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Request<Bytes>, BoxError> {
        let mut request = Request::post(url.uri().clone()).body(Bytes::new())?;
        let mut form = Form::new();
        params.for_each(|(name, value)| form.add(name, value));
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // Some answer with a form unless they are asked for JSON.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.auth.put_on(&self.client_id, headers, &mut form)?;
        *request.body_mut() = form.into_bytes();
        Ok(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("client_id", &self.client_id)
            .field("auth", &self.auth)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
