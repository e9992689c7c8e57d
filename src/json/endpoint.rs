//! [`JsonEndpoint`].

use std::{borrow::Cow, fmt};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::request::TokenPlace;
use crate::{
    endpoint::{
        Endpoint, EndpointError, EndpointUrl, ErrorClassifier, FailureKind, HeadersPerCall, InvalidEndpoint,
        Lifetime, PerCall, RequestBody, endpoint_settings,
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
    pub(super) endpoint: Endpoint,
    /// In the order in which they are sent.
    pub(super) extra_fields: Vec<(Cow<'static, str>, Secret)>,
    pub(super) fields_per_call: Vec<(Cow<'static, str>, PerCall<Secret>)>,
    pub(super) refresh_token: Option<TokenPlace>,
    pub(super) access_token: Option<TokenPlace>,
    pub(super) method: Method,
    pub(super) headers_per_call: HeadersPerCall,
}

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Creates a refresher for an endpoint.
    ///
    /// Its `token_type` isn't checked: the scheme is `Bearer` unless one was set.
    pub fn new(mut endpoint: Endpoint) -> Self {
        endpoint.format.scheme.get_or_insert("Bearer".into());
        Self {
            endpoint,
            extra_fields: Vec::new(),
            fields_per_call: Vec::new(),
            refresh_token: Some(TokenPlace::field("refresh_token")),
            access_token: None,
            method: Method::POST,
            headers_per_call: HeadersPerCall::default(),
        }
    }

    /// Creates a refresher for `url`, with the built-in HTTPS client, see the module [`https`](crate::https).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback, or if there is no
    /// crypto provider or no root certificate, see [`tls_error`](InvalidEndpoint::tls_error).
    #[cfg(feature = "https")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https")))]
    pub fn try_new<U>(url: U) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
    {
        Ok(Self::new(Endpoint::try_new(url)?))
    }

    /// Creates a refresher for `url`; a tower service sends its requests.
    ///
    /// Don't pass a service that carries the layer itself.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback.
    pub fn try_with_transport<U, S, B>(url: U, transport: S) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Ok(Self::new(Endpoint::try_with_transport(url, transport)?))
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
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

    /// Adds a field to each request. It replaces one of that name, even the one for the refresh token.
    ///
    /// A leading slash makes it a JSON pointer: `/device/id`.
    pub fn extra_field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.set_extra_field(name.into(), Secret::new(value.into()));
        self
    }

    pub(super) fn set_extra_field(&mut self, name: Cow<'static, str>, value: Secret) {
        match self.extra_fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.extra_fields.push((name, value)),
        }
    }
}

endpoint_settings!(JsonEndpoint);

impl Refresher for JsonEndpoint {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let access_token = cx.token().map(Token::access_token);
        if self.refresh_token.is_some() && cx.presentable().is_none() {
            return Err(RefreshError::grant_ended(EndpointError::missing_refresh_token()));
        }
        if self.refresh_token.is_none() && self.access_token.is_some() && access_token.is_none() {
            return Err(RefreshError::grant_ended("no access token to refresh: sign in"));
        }
        let this = self.prepared(&cx).await?;
        let make = |url: &_| this.request(url, cx.presentable(), access_token);
        this.endpoint.run(&cx, &make).await
    }
}

impl fmt::Debug for JsonEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonEndpoint").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
