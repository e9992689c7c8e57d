//! The endpoint of a backend that isn't OAuth.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::object;
use crate::error::BoxError;
use crate::{
    endpoint::{
        EndpointError, EndpointUrl, ErrorClassifier, Exchange, FailureKind, InvalidEndpointUrl, Lifetime,
        RequestBody, Shape, Transport,
    },
    refresh::{RefreshContext, RefreshError, Refresher},
    token::{Secret, Token},
};

/// A refresher for an endpoint that takes and gives JSON.
///
/// See the [module docs](super).
#[derive(Clone)]
#[must_use]
pub struct JsonEndpoint {
    pub(super) exchange: Exchange,
    /// What is sent besides the refresh token, in this order.
    fields: Vec<(Cow<'static, str>, Secret)>,
    refresh_token_field: Option<Cow<'static, str>>,
    headers: HeaderMap,
}

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Names the endpoint. Requests are sent by a client of its own (HTTP/1.1, rustls, the platform's root
    /// certificates).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is none, or cleartext to another machine, or if this machine has no root
    /// certificates.
    #[cfg(feature = "https-ring")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https-ring")))]
    pub fn try_new<U>(url: U) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        let url = url.try_into().map_err(Into::into)?;
        let transport = Transport::ready(&url)?;
        Ok(Self::with(url, transport))
    }

    /// Names the endpoint, and the tower service that sends requests. The service must not have the layer on it whose
    /// tokens it is to fetch.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is none, or cleartext to another machine.
    pub fn try_with_transport<U, S, B>(url: U, transport: S) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let url = url.try_into().map_err(Into::into)?;
        Ok(Self::with(url, Transport::new(transport)))
    }

    fn with(url: EndpointUrl, transport: Transport) -> Self {
        let shape = Shape {
            access_token: "access_token".into(),
            refresh_token: "refresh_token".into(),
            lifetime: Lifetime::seconds("expires_in"),
            scheme: Some("Bearer".into()),
            codes: vec!["error".into(), "code".into()],
            scopes: Vec::new(),
        };
        Self {
            exchange: Exchange::new(url, transport, shape),
            fields: Vec::new(),
            refresh_token_field: Some("refresh_token".into()),
            headers: HeaderMap::new(),
        }
    }

    /// Sets the names and codes of Django REST framework's simplejwt: `refresh` is sent, `access` and `refresh` come
    /// back, the life is the JWT's `exp`, and the code `token_not_valid` ends the grant.
    pub fn for_simplejwt(self) -> Self {
        self.refresh_token_field("refresh")
            .access_token_path("access")
            .new_refresh_token_path("refresh")
            .lifetime(Lifetime::jwt_exp())
            .error_classifier(
                ErrorClassifier::new()
                    .code("token_not_valid", FailureKind::GrantEnded)
                    .code("no_active_account", FailureKind::GrantEnded),
            )
    }

    /// Sets the member that the refresh token is sent as. Default: `refresh_token`.
    pub fn refresh_token_field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.refresh_token_field = Some(name.into());
        self.exchange.never_ends = false;
        self
    }

    /// Sends no refresh token: for an endpoint that knows the caller by a field or a header. No refusal ends a grant
    /// then, as there is none: each is one of the configuration.
    pub fn without_refresh_token(mut self) -> Self {
        self.refresh_token_field = None;
        self.exchange.never_ends = true;
        self
    }

    /// Adds a member that each request carries.
    pub fn extra_field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), Secret::new(value.into())));
        self
    }

    /// Adds a header that each request carries. It counts as a secret.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    /// Sets the member that holds the access token. Default: `access_token`. A name that begins with a slash is a way
    /// through nested objects: `/data/jwt`.
    pub fn access_token_path(mut self, member: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.shape.access_token = member.into();
        self
    }

    /// Sets the member that holds the new refresh token. Default: `refresh_token`. An answer without one keeps the old.
    pub fn new_refresh_token_path(mut self, member: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.shape.refresh_token = member.into();
        self
    }

    /// Sets where an answer says how long its token lives. Default: `expires_in`, in seconds.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.exchange.shape.lifetime = lifetime;
        self
    }

    /// Sets the scheme that tokens are sent with. Default: `Bearer`.
    pub fn scheme(mut self, scheme: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.shape.scheme = Some(scheme.into());
        self
    }

    /// Sets the member that holds the code of a refusal. Default: `error` and `code`, of which the first counts whose
    /// text is known, by a verdict of yours too.
    pub fn error_code_path(mut self, member: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.shape.codes = vec![member.into()];
        self
    }

    /// Adds what this backend means by its error codes and statuses. Of a backend of which nothing is told, each 4xx but
    /// 429 and the like is tried again at leisure, and ends no grant.
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

    pub(super) fn request(
        &self,
        url: &EndpointUrl,
        refresh_token: Option<&str>,
    ) -> Result<Request<Bytes>, BoxError> {
        let refresh_token = self.refresh_token_field.as_deref().zip(refresh_token);
        let fields = self.fields.iter().map(|(name, value)| (&**name, value.expose()));
        let body = object::write(refresh_token.into_iter().chain(fields));
        let mut request = Request::post(url.uri().clone()).body(body)?;
        *request.headers_mut() = self.headers.clone();
        let json = || HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json());
        request.headers_mut().entry(header::ACCEPT).or_insert_with(json);
        Ok(request)
    }
}

impl Refresher for JsonEndpoint {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        if self.refresh_token_field.is_some() && cx.presentable().is_none() {
            return Err(RefreshError::grant_ended(EndpointError::no_refresh_token()));
        }
        self.exchange.run(&cx, &|url| self.request(url, cx.presentable())).await
    }
}

impl fmt::Debug for JsonEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonEndpoint").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
