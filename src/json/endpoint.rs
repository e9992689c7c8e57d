//! [`JsonEndpoint`].

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use serde::Serializer as _;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    endpoint::{
        Endpoint, EndpointError, EndpointUrl, ErrorClassifier, FailureKind, InvalidEndpointUrl, Lifetime,
        RequestBody, endpoint_settings,
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
    extra_fields: Vec<(Cow<'static, str>, Secret)>,
    refresh_token_field: Option<Cow<'static, str>>,
}

// === impl JsonEndpoint ===

impl JsonEndpoint {
    /// Creates a refresher for an endpoint.
    ///
    /// Its `token_type` isn't checked: the scheme is `Bearer` unless one was set.
    pub fn new(mut endpoint: Endpoint) -> Self {
        endpoint.format.scheme.get_or_insert("Bearer".into());
        Self { endpoint, extra_fields: Vec::new(), refresh_token_field: Some("refresh_token".into()) }
    }

    /// Creates a refresher for `url`, with a built-in HTTPS client (HTTP/1.1, rustls, the platform's root
    /// certificates).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointUrl`] if the URL is invalid or insecure, or if no root certificates were found.
    #[cfg(feature = "https-ring")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https-ring")))]
    pub fn try_new<U>(url: U) -> Result<Self, InvalidEndpointUrl>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpointUrl>,
    {
        Ok(Self::new(Endpoint::try_new(url)?))
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
    /// Default: `refresh_token`.
    pub fn refresh_token_field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.refresh_token_field = Some(name.into());
        self.endpoint.has_no_grant = false;
        self
    }

    /// Sends no refresh token, for endpoints that identify the caller otherwise.
    ///
    /// Errors then never end a grant: they count as misconfiguration.
    pub fn without_refresh_token(mut self) -> Self {
        self.refresh_token_field = None;
        self.endpoint.has_no_grant = true;
        self
    }

    /// Adds a field to each request. It replaces one of that name, even the one for the refresh token.
    pub fn extra_field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.extra_fields.retain(|(known, _)| *known != name);
        self.extra_fields.push((name, Secret::new(value.into())));
        self
    }

    pub(super) fn request(
        &self,
        url: &EndpointUrl,
        refresh_token: Option<&str>,
    ) -> Result<Request<Bytes>, BoxError> {
        let is_replaced = |name: &&str| self.extra_fields.iter().any(|(extra, _)| extra == name);
        let field = self.refresh_token_field.as_deref().filter(|name| !is_replaced(name));
        let refresh_token = field.zip(refresh_token);
        let fields = self.extra_fields.iter().map(|(name, value)| (&**name, value.expose()));
        let mut body = Zeroizing::new(Vec::new());
        serde_json::Serializer::new(&mut *body).collect_map(refresh_token.into_iter().chain(fields))?;
        let mut request = Request::post(url.uri().clone()).body(Bytes::from_owner(body))?;
        for name in [header::CONTENT_TYPE, header::ACCEPT] {
            request.headers_mut().insert(name, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }
}

endpoint_settings!(JsonEndpoint);

impl Refresher for JsonEndpoint {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        if self.refresh_token_field.is_some() && cx.presentable().is_none() {
            return Err(RefreshError::grant_ended(EndpointError::missing_refresh_token()));
        }
        self.endpoint.run(&cx, &|url| self.request(url, cx.presentable())).await
    }
}

impl fmt::Debug for JsonEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonEndpoint").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
