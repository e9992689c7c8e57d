//! [`JsonEndpoint`].

use std::{borrow::Cow, fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::request::TokenPlace;
use crate::{
    endpoint::{
        EndpointError, EndpointUrl, ErrorClassifier, Exchange, FailureKind, HeadersPerCall,
        InvalidEndpointUrl, Lifetime, PerCall, RequestBody, ResponseFormat, Transport,
    },
    error::BoxError,
    refresh::{RefreshContext, RefreshError, Refresher},
    token::{Secret, Token},
};

/// A refresher for JSON endpoints.
///
/// See the [module docs](super).
#[derive(Clone)]
#[must_use]
pub struct JsonEndpoint {
    pub(super) exchange: Exchange,
    /// In the order in which they are sent.
    pub(super) extra_fields: Vec<(Cow<'static, str>, Secret)>,
    pub(super) fields_per_call: Vec<(Cow<'static, str>, PerCall<Secret>)>,
    pub(super) refresh_token: Option<TokenPlace>,
    pub(super) access_token: Option<TokenPlace>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) headers_per_call: HeadersPerCall,
}

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Creates a refresher for `url`, with the built-in HTTPS client, see the module [`https`](crate::https).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is invalid or insecure, or if there is no crypto provider or no root
    /// certificate, see [`tls_error`](InvalidEndpointUrl::tls_error).
    #[cfg(feature = "https")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https")))]
    pub fn try_new<U>(url: U) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        let url = url.try_into().map_err(Into::into)?;
        let transport = Transport::built_in(&url)?;
        Ok(Self::with(url, transport))
    }

    /// Creates a refresher for `url`; a tower service sends its requests.
    ///
    /// Don't pass a service that carries the layer itself.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is invalid or insecure.
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
        let format = ResponseFormat {
            access_token: "access_token".into(),
            refresh_token: "refresh_token".into(),
            lifetime: Lifetime::seconds("expires_in"),
            scheme: Some("Bearer".into()),
            codes: vec!["error".into(), "code".into()],
            scopes: Vec::new(),
        };
        Self {
            exchange: Exchange::new(url, transport, format),
            extra_fields: Vec::new(),
            fields_per_call: Vec::new(),
            refresh_token: Some(TokenPlace::field("refresh_token")),
            access_token: None,
            method: Method::POST,
            headers: HeaderMap::new(),
            headers_per_call: HeadersPerCall::default(),
        }
    }

    /// Configures it for Django REST framework's simplejwt: sends `refresh`, reads `access` and `refresh`,
    /// takes the lifetime from the JWT, and treats `token_not_valid` and `no_active_account` as the end of
    /// the grant.
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

    /// Sets the field for the refresh token.
    ///
    /// Default: `refresh_token`. For other places see [`send_refresh_token`](Self::send_refresh_token).
    ///
    /// A leading slash makes it a JSON pointer: `/auth/token`.
    pub fn refresh_token_field(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.send_refresh_token(TokenPlace::field(name))
    }

    /// Adds a field to each request.
    ///
    /// A leading slash makes it a JSON pointer: `/device/id`.
    pub fn extra_field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.extra_fields.push((name.into(), Secret::new(value.into())));
        self
    }

    /// Adds a header to each request. It is treated as a secret.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    /// Sets the field with the access token.
    ///
    /// Default: `access_token`.
    ///
    /// A leading slash makes it a JSON pointer: `/data/jwt`.
    pub fn access_token_path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.format.access_token = path.into();
        self
    }

    /// Sets the field with the new refresh token.
    ///
    /// Default: `refresh_token`. If missing, the current one is kept.
    ///
    /// A leading slash makes it a JSON pointer.
    pub fn new_refresh_token_path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.format.refresh_token = path.into();
        self
    }

    /// Sets where a response states the token's lifetime.
    ///
    /// Default: `expires_in`, in seconds.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.exchange.format.lifetime = lifetime;
        self
    }

    /// Sets the scheme of the tokens.
    ///
    /// Default: `Bearer`.
    pub fn scheme(mut self, scheme: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.format.scheme = Some(scheme.into());
        self
    }

    /// Sets the field with the error code.
    ///
    /// Default: `error` and `code`; the first known code is used, including your own.
    ///
    /// A leading slash makes it a JSON pointer.
    pub fn error_code_path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.exchange.format.codes = vec![path.into()];
        self
    }

    /// Adds backend-specific error codes and statuses.
    ///
    /// By default, unknown 4xx errors are retried slowly and never end the grant.
    pub fn error_classifier(mut self, errors: ErrorClassifier) -> Self {
        self.exchange.errors.add(errors);
        self
    }

    /// Sets the timeout of an exchange.
    ///
    /// Default: 10 s, so that a repeated exchange is still tolerated by rotating servers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.exchange.timeout = timeout;
        self
    }

    /// Sets the maximum response size in bytes.
    ///
    /// Default: 256 KiB.
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.exchange.max_response_size = bytes;
        self
    }
}

impl Refresher for JsonEndpoint {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let access_token = cx.token().map(Token::access_token);
        if self.refresh_token.is_some() && cx.presentable().is_none() {
            return Err(RefreshError::grant_ended(EndpointError::missing_refresh_token()));
        }
        if self.refresh_token.is_none() && self.access_token.is_some() && access_token.is_none() {
            return Err(RefreshError::grant_ended("no access token to refresh: sign in"));
        }
        let endpoint = self.prepared(&cx).await?;
        let make = |url: &_| endpoint.request(url, cx.presentable(), access_token);
        endpoint.exchange.run(&cx, &make).await
    }
}

impl fmt::Debug for JsonEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonEndpoint").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
